// Tether: what a worker's parent does beside calls, for each kind of worker.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/carrier_access.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/call/typed_hub.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>
#include <tether/stream.hpp>
#include <tether/subscription.hpp>

#include <asio/any_io_executor.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// Members of `Worker`, `LoopbackWorker`, `AnyWorker` and pools, each of which is a `Face`:
/// streams, requests without an answer, questions and notifications. Not to be named by users.
///
/// **Threads.** As for `Worker::call`. **Forked copies.** All throw `errc::forked`.
template <class Face, class P>
class LiveCalls {
public:
    /// Begins a call of a request that has an `Item`, an `Upload` or both; see `Stream`. Waits for
    /// nothing, except that a process may have to be started. `options` as for `call`; throws only
    /// where the request cannot be encoded (`errc::codec`, `errc::message_too_large`), and
    /// `errc::forked`. All other errors are those of the stream.
    template <class R>
    requires(detail::has_items<R> || detail::has_upload<R>)
        [[nodiscard]] Stream<P, R> stream(R request, CallOptions<R> options = {}) const {
        static_assert(detail::check_request<P, R>());
        return {carrier(), executor(), std::move(request), options};
    }

    /// Sends a request whose `Response` is `void`, and waits for no answer: the handler handles it
    /// in its turn, among the calls, and what it throws becomes a line of the worker's output. It
    /// may be lost when the worker ends, and is not sent again. Waits only for a process to be
    /// started, and while the worker is far behind, at most until the call's timeout.
    ///
    /// Throws as `call` for what happens before it has left.
    template <class R>
    void notify(const R& request) const {
        static_assert(detail::check_one_way<P, R>());
        detail::one_way_call<P>(*carrier(), request);
    }

    /// Answers the questions of type `Question`, one of the protocol's `Callbacks`, which handlers
    /// ask by `CallContext::ask`: `function(const Question&)` returns its `Response`. For this
    /// worker and each process that it will have; a later function takes the place of an earlier
    /// one.
    ///
    /// It runs on the thread that waits for the call whose handler asks: in `call`, or in a member
    /// of a `Stream`. For async calls it runs on the executor that the call completes on. With an
    /// executor of its own (below) it runs there. What it throws, the handler gets as
    /// `RemoteError`. Where there is no function for a question, the handler gets `errc::codec`,
    /// and for an answer of more than `WorkerOptions::max_message_bytes`,
    /// `errc::message_too_large`.
    ///
    /// The function may call this worker if a handler is left to answer: with
    /// `WorkerOptions::concurrency` above one, or with an `AsyncHandler`. Otherwise a blocking call
    /// fails with `errc::would_deadlock` at once.
    ///
    /// It may also return an `asio::awaitable` of the response, which runs on the executor, or on
    /// `get_executor()`; include `<asio/co_spawn.hpp>` for that.
    ///
    ///     worker.provide<Overwrite>([](const Overwrite& question) { return ask_user(question); });
    template <class Question, class Function>
    requires(!std::convertible_to<Function, asio::any_io_executor>) void provide(
        Function function) const {
        provide_on<Question>(std::nullopt, std::move(function));
    }

    /// The same with an executor that the function runs on.
    template <class Question, class Function>
    void provide(asio::any_io_executor executor, Function function) const {
        provide_on<Question>(std::move(executor), std::move(function));
    }

    /// Calls `function(const Notification&)` for each notification of that type, one of the
    /// protocol's `Notifications`, which the worker says by `CallContext::notify` or
    /// `Handler::notify`; as long as the result exists. For this worker and each process that it
    /// will have; it starts none and keeps none alive. What a process says before it has heard of
    /// the subscription is not sent.
    ///
    /// The function runs on `get_executor()`, one notification at a time and in the order in which
    /// they were sent, also where that executor has several threads. It need not be fast, but the
    /// worker waits once some 256 KiB are unread. What it throws leaves the executor's `run()`, and
    /// the next notification comes all the same. The context of the executor must be there as long
    /// as the subscription.
    template <class Notification, class Function>
    requires(!std::convertible_to<Function, asio::any_io_executor>) [[nodiscard]] Subscription
        on(Function function) const {
        return on<Notification>(executor(), std::move(function));
    }

    /// The same with another executor.
    template <class Notification, class Function>
    [[nodiscard]] Subscription on(asio::any_io_executor executor, Function function) const {
        static_assert(detail::is_notification_of<P, Notification>,
                      "this type is not in the Notifications of the worker's protocol");
        auto subscriber = detail::make_subscriber<P, Notification>(executor, std::move(function));
        const auto hub = carrier()->hub();
        hub->subscribe(subscriber);
        return {hub, std::move(subscriber)};
    }

private:
    friend Face;
    LiveCalls() = default;
    LiveCalls(const LiveCalls&) = default;
    LiveCalls& operator=(const LiveCalls&) = default;
    ~LiveCalls() = default;

    template <class Question, class Function>
    void provide_on(std::optional<asio::any_io_executor> executor, Function function) const {
        static_assert(detail::is_callback_of<P, Question>,
                      "this type is not in the Callbacks of the worker's protocol");
        carrier()->hub()->provide(
            static_cast<std::uint16_t>(detail::index_in<detail::CallbacksOf<P>, Question>),
            detail::make_provider<P, Question>(std::move(executor), this->executor(),
                                               std::move(function)));
    }

    [[nodiscard]] const Face& face() const noexcept { return static_cast<const Face&>(*this); }
    [[nodiscard]] asio::any_io_executor executor() const { return face().get_executor(); }
    // Kept by the caller, should the worker be destroyed meanwhile.
    [[nodiscard]] std::shared_ptr<detail::CallCarrier> carrier() const {
        std::shared_ptr<detail::CallCarrier> carrier = detail::CarrierAccess::of(face());
        carrier->check_not_forked();
        return carrier;
    }
};

TETHER_NAMESPACE_END
