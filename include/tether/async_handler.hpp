// Tether: handlers that wait instead of computing.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/coroutine/coroutine_runner.hpp>
#include <tether/detail/protocol/coroutines.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/detail/protocol/side_types.hpp>
#include <tether/handler.hpp>

#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// One running call, as an `AsyncHandler` sees it. Passed to `handle`; valid until the awaitable
/// that `handle` has returned is done. What does not wait (`progress`, `log`, `stop_requested`,
/// `deadline`, `id`, `notify`) is as in `CallContext`, and may be used from any thread; `notify`
/// blocks its thread while the parent is behind by 256 KiB.
///
/// What waits is awaited, and gives the thread away meanwhile; only a socket that is full, because
/// the parent does not read at all, blocks it. **Cancellation**: once the answer is no longer
/// wanted, the wait of the call ends: an `async_*` of its own with `CallCancelled`, one of Asio's
/// with `asio::error::operation_aborted`; and every further `co_await` throws a `std::system_error`
/// of that code at once, as in any cancelled coroutine of Asio's. Let them pass. A call that never
/// waits asks `stop_requested()`. It reaches what `handle` itself awaits, not what it has spawned.
///
/// An `async_*` that is cancelled by its own slot, as by `operator||`, ends with `CallCancelled`
/// unless it was done by then; an item that had room by then is sent.
template <class Request>
class AsyncCallContext : public detail::BasicCallContext<Request> {
    using Base = detail::BasicCallContext<Request>;

public:
    /// Made by Tether.
    AsyncCallContext(detail::AsyncCallControl& control, const detail::SideTypes& types) noexcept
        : Base(control, types), control_(control) {}

    /// Sends an item of the stream, where the request has an `Item`, once there is room: see
    /// `CallContext::send`. `item` is moved or copied in. One at a time: a second one throws
    /// `std::logic_error`. On the strand of the call, as all members that wait.
    ///
    /// Throws `CallCancelled` where it was cancelled before there was room, what the codec throws,
    /// and `std::length_error` for more than `WorkerOptions::max_message_bytes`.
    template <class Q = Request>
    requires(detail::has_items<Q>)
        [[nodiscard]] asio::awaitable<void> async_send(typename Q::Item item) const {
        const Alone alone{sending_};
        const auto has_room = [this, &item](detail::Resume resume) {
            return control_.prepare_item({&item, this->types().item}, std::move(resume));
        };
        co_await completes(has_room);
        control_.send_prepared_item();
    }

    /// The next item that the caller has written, where the request has an `Upload`; nothing once
    /// it has said that there are no more: see `CallContext::next`. One at a time, as above.
    ///
    /// Throws `CallCancelled` where it was cancelled before an item came, which is then left for
    /// the next time, and what the codec throws.
    template <class Q = Request>
    requires(detail::has_upload<Q>)
        [[nodiscard]] asio::awaitable<std::optional<typename Q::Upload>> async_next() const {
        const Alone alone{taking_};
        const auto has_come = [this](detail::Resume resume) {
            return control_.await_item(std::move(resume));
        };
        co_await completes(has_come);
        std::optional<typename Q::Upload> item;
        control_.next_item({&item, this->types().upload});
        co_return item;
    }

    /// Asks the parent: see `CallContext::ask`. `question` is moved or copied in. Several of one
    /// call may wait at once.
    ///
    /// Throws `RemoteError` where the parent's function threw; `CallError` with `errc::timeout`
    /// after `options.timeout`, with `errc::codec` where the parent provides no answer to it;
    /// `CallCancelled` where it was cancelled, after which an answer is dropped; and
    /// `std::logic_error` for a type that is not in the `Callbacks`.
    template <class Question>
    [[nodiscard]] asio::awaitable<typename Question::Response> async_ask(
        Question question, AskOptions options = {}) const {
        const auto& type = detail::find_side_type<Question>(this->types().questions, "Callbacks");
        const auto asked = control_.prepare_question(type, &question);
        asio::steady_timer timer{co_await asio::this_coro::executor,
                                 detail::deadline_after(detail::Clock::now(), options.timeout)};
        // Shared: the timer may be about to tell when this has ended.
        const auto timed_out = std::make_shared<bool>(false);
        // The wait ends with the timer as well.
        const auto watch = [&timer, timed_out](const detail::GiveUp& give_up) {
            timer.async_wait([give_up, timed_out](const std::error_code& error) {
                if (error) return;
                *timed_out = true;
                give_up();
            });
            return give_up;
        };
        const auto has_room = [&](detail::Resume resume) {
            return watch(asked->await_room(std::move(resume)));
        };
        const auto is_answered = [&](detail::Resume resume) {
            return watch(asked->await_answer(std::move(resume)));
        };
        try {
            co_await completes(has_room);
            asked->send();
            co_await completes(is_answered);
        } catch (const CallCancelled&) {
            if (*timed_out) asked->throw_timeout(options.timeout);
            throw;
        }
        if constexpr (std::is_void_v<typename Question::Response>) {
            asked->take_answer(nullptr);
        } else {
            std::optional<typename Question::Response> response;
            asked->take_answer(&response);
            co_return std::move(*response);
        }
    }

private:
    // While an operation of its kind waits.
    class Alone {
    public:
        explicit Alone(bool& busy) : busy_(busy) {
            if (busy) {
                throw std::logic_error("a call has one operation of a kind at a time");
            }
            busy = true;
        }
        Alone(const Alone&) = delete;
        Alone& operator=(const Alone&) = delete;
        ~Alone() { busy_ = false; }

    private:
        bool& busy_;
    };

    // Waits for what begin(resume) waits for. Throws CallCancelled where that will not come.
    template <class Begin>
    static asio::awaitable<void> completes(Begin begin) {
        using Signature = void(std::exception_ptr, bool);
        const bool came = co_await asio::async_initiate<const asio::use_awaitable_t<>&, Signature>(
            [](auto handler, Begin begun) {
                auto shared = std::make_shared<decltype(handler)>(std::move(handler));
                const auto executor = asio::get_associated_executor(*shared);
                const auto slot = asio::get_associated_cancellation_slot(*shared);
                // Taken from the thread of the handler, which sets the slot first.
                auto give_up = std::make_shared<detail::GiveUp>();
                if (slot.is_connected()) {
                    auto cancel_by = slot;
                    cancel_by.assign([give_up](asio::cancellation_type) {
                        if (*give_up) (*give_up)();
                    });
                }
                const auto end = [shared, executor, slot](std::exception_ptr error, bool result) {
                    asio::post(executor, [shared, slot, error = std::move(error), result] {
                        auto done = slot;
                        if (done.is_connected()) done.clear();
                        std::move (*shared)(error, result);
                    });
                };
                try {
                    *give_up = begun([end](bool result) { end(nullptr, result); });
                } catch (...) {  // nothing waits; to throw here would end the process
                    end(std::current_exception(), false);
                }
            },
            asio::use_awaitable, std::move(begin));
        if (!came) throw CallCancelled{};
    }

    detail::AsyncCallControl& control_;
    mutable bool sending_ = false;
    mutable bool taking_ = false;
};

/// The base of a handler that waits instead of computing: for the network, for timers, for the
/// parent. Each `handle` returns an awaitable, and many calls run at once on one thread:
///
///     class Fetcher final : public tether::AsyncHandler<FetchProtocol> {
///         asio::awaitable<Page> handle(const Fetch& request,
///                                      tether::AsyncCallContext<Fetch>& call) override;
///     };
///
/// In its own header, `<tether/async_handler.hpp>`, because a worker that includes it includes
/// Asio. It is given to `serve_if_worker`, `serve` and `LoopbackWorker` as a `Handler` is, and what
/// is said there of its lifetime and of errors holds; the parent does not see the difference.
///
/// **Threads.** The awaitables run on `WorkerOptions::concurrency` threads, the main one among
/// them; one more thread reads. Each call has a strand of its own. Up to
/// `WorkerOptions::calls_in_work` calls are begun; the rest wait. Code that computes for long, or
/// blocks, holds up the other calls of its thread. A handler that ends its thread (`pthread_exit`)
/// ends the process.
///
/// **Ends.** The worker leaves once the calls that it has begun are done: see `AsyncCallContext`
/// for how they learn of it. What else was spawned on `executor()` is dropped after that, when the
/// members of the handler are gone: it must not use them in its destructors. An exception that
/// leaves a function posted there ends the process, that of a `LoopbackWorker` as well.
template <class P>
class AsyncHandler : public detail::HandlerBase<P>,
                     public detail::AwaitsToHandleAll<typename P::Requests> {
public:
    /// Made by Tether: what runs its calls.
    [[nodiscard]] detail::Coroutines& coroutines() noexcept { return runner_; }

protected:
    /// For what the handler needs beside its calls, from its constructor on: sockets, timers,
    /// resolvers, coroutines that go on in the background. Runs nothing before the handler's
    /// constructor has returned. Thread-safe; valid as long as the handler. Functions run on the
    /// threads of `WorkerOptions::concurrency`, on no strand.
    [[nodiscard]] asio::io_context::executor_type executor() noexcept {
        return runner_.context().get_executor();
    }

private:
    detail::CoroutineRunner<P, AsyncHandler> runner_{*this};
};

TETHER_NAMESPACE_END
