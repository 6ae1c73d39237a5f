// Tether: the face of a worker without a process behind it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/executor_hold.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/loopback/make_loopback.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/exit_status.hpp>
#include <tether/live_calls.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>
#include <tether/worker_state.hpp>

#include <asio/any_io_executor.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// Answers the requests of protocol `P` by a handler inside this process: for unit tests of code
/// that uses a worker, and as a fallback where processes are forbidden. Write such code as a
/// template over the worker's type, and it takes either.
///
///     tether::LoopbackWorker<LintProtocol, Linter> worker;
///     Diagnostics now = worker.call(Lint{"a.cpp"});
///
/// A handler that needs something is made by a function, which returns a `std::unique_ptr` to it:
///
///     const auto make = [&] { return std::make_unique<FakeLinter>(log); };
///     tether::LoopbackWorker<LintProtocol> worker{make};
///
/// **The same as a `Worker`**, by the same code: requests and responses go through the codec and
/// over a pair of sockets to the request loop of a worker process, which runs on threads of this
/// one. Errors, limits, deadlines, cancellation and the order of requests are those of a `Worker`.
/// What only a process can give is missing: a crash of the handler is a crash of this program; a
/// handler that ignores `stop_requested()` cannot be ended: `stop()`, `kill()`, `restart()` and the
/// destructor wait for it as long as `StopPolicy` says, then leave its thread behind and say so in
/// the output. Such a thread owns the handler and all else of Tether's that it uses; what the
/// handler refers to must live on as well. A handler that lets `std::bad_alloc` escape, or ends its
/// thread, is not replaced. No request goes from one handler to the next, and one can be taken back
/// until its handler begins.
///
/// **Options.** `name` (empty: "loopback"), `call_timeout`, `concurrency`, `max_message_bytes` and
/// `output` (for `CallContext::log` alone) and `stop` count; the others are checked and have no
/// effect.
///
/// **Threads.** As thread-safe as `Worker` is. The first call makes the handler, on the thread that
/// makes the call, and starts `concurrency` threads on which requests are handled; one more, where
/// needed, runs stop callbacks and sends answers that a slow handler would hold up. Tether's
/// background thread keeps the deadlines of async calls. An output callback is called on the thread
/// of the handler that logs, one at a time.
///
/// **Descriptors.** While there is a handler: four, and up to four more while threads wait for
/// calls. In a program that closes descriptors which it does not know, as a daemon does, pending
/// calls end with `errc::stopped`: where a blocking call waits or a request is made, within some
/// seconds, otherwise once the handler has returned. The next call makes a fresh handler.
///
/// **Forks.** In a child made by `fork()` every use of a worker of the original throws
/// `errc::forked`, its destructor does nothing, and a new worker works. A handler that forks must
/// end the child itself, or have it `exec`; a child that returns from the handler ends at once.
///
/// **Exit.** As with a `Worker`: nothing holds it up, and async calls that are pending then are
/// dropped, uncalled. Blocking calls work until the worker is destroyed.
template <class P, class H = void>
class LoopbackWorker : public LiveCalls<LoopbackWorker<P, H>, P> {
    static_assert(detail::check_protocol<P>());

public:
    /// The protocol that it was made for.
    using protocol_type = P;

    /// The executor that `async_call` completes on where the handler has none of its own.
    using executor_type = asio::any_io_executor;

    /// Handlers are default-constructed. Completion handlers without an executor of their own run
    /// on Tether's background thread. The handler is not made yet. Throws as the constructor of
    /// `Worker` does, and `std::system_error` where the system has no thread to give.
    explicit LoopbackWorker(WorkerOptions options = {})
        : LoopbackWorker(detail::started_background_executor(), std::move(options)) {}

    /// The same with the caller's executor, as with a `Worker`: a pending call keeps that context's
    /// `run()` alive, an idle worker does not.
    explicit LoopbackWorker(executor_type executor, WorkerOptions options = {})
        : LoopbackWorker(Private{}, std::move(executor), std::move(options), make_by_default()) {}

    /// The same with the executor of a context, such as an `asio::io_context`.
    template <class Context>
    requires std::derived_from<Context, asio::execution_context>
    explicit LoopbackWorker(Context& context, WorkerOptions options = {})
        : LoopbackWorker(executor_type{context.get_executor()}, std::move(options)) {}

    /// The same with handlers that `factory()` makes: it returns a `std::unique_ptr` to a class
    /// that derives from `Handler<P>`. It is called for the first call and for the first one after
    /// `kill()` or `restart()`, by the thread that makes the call, never by two at once. It is
    /// destroyed with the worker. What it throws, and a null pointer, is `errc::start_failed`.
    template <class Factory>
    requires std::invocable<Factory&>
    explicit LoopbackWorker(Factory factory, WorkerOptions options = {})
        : LoopbackWorker(detail::started_background_executor(), std::move(factory),
                         std::move(options)) {}

    /// The same with the caller's executor.
    template <class Factory>
    requires std::invocable<Factory&> LoopbackWorker(executor_type executor, Factory factory,
                                                     WorkerOptions options = {})
        : LoopbackWorker(Private{}, std::move(executor), std::move(options),
                         make_by(std::move(factory))) {}

    /// The same with the executor of a context.
    template <class Context, class Factory>
    requires std::derived_from<Context, asio::execution_context> && std::invocable<Factory&>
    LoopbackWorker(Context& context, Factory factory, WorkerOptions options = {})
        : LoopbackWorker(executor_type{context.get_executor()}, std::move(factory),
                         std::move(options)) {}

    /// Takes the handler over, with its pending calls. A moved-from worker may only be destroyed.
    LoopbackWorker(LoopbackWorker&&) noexcept = default;

    /// Cannot be assigned to.
    LoopbackWorker& operator=(LoopbackWorker&&) = delete;

    /// As `stop()`: waits for handlers that run, for a bounded time. In a forked copy it does
    /// nothing.
    ~LoopbackWorker() {
        // Not moved from: a thread that is inside a call has read it.
        if (carrier_ != nullptr) detail::release_loopback(carrier_, hold_);
    }

    /// As `Worker::call`, with the errors that need no process: `timeout`, `cancelled`,
    /// `start_failed` (the handler could not be made; the next call tries again), `worker_killed`
    /// (`kill()`), `worker_exited` and `framing` (what it lives on is gone: no memory for a
    /// request, or a descriptor that other code has closed), `message_too_large`, `codec`,
    /// `would_deadlock`, `stopped` and `forked`, or `RemoteError`. A handler that calls its own
    /// worker waits for a free thread. When all its other handlers wait in such calls, there will
    /// be none, and the call fails with `would_deadlock` at once.
    template <class R>
    typename R::Response call(const R& request, CallOptions<R> options = {}) {
        static_assert(detail::check_call<P, R>());
        const auto kept = carrier();  // should the worker be destroyed meanwhile
        return detail::blocking_call<P>(*kept, request, options);
    }

    /// As `Worker::async_call`, with the errors of `call`, except `would_deadlock`. A request has
    /// left when its handler has begun. Where there is no handler, this makes it, or waits until
    /// another thread has, within the call's deadline.
    template <class R, class Token>
    auto async_call(R request, CallOptions<R> options, Token&& token) {
        static_assert(detail::check_call<P, R>());
        return detail::initiate_call<P>(carrier(), executor_, std::move(request),
                                        std::move(options), std::forward<Token>(token));
    }

    /// The same with the default options.
    template <class R, class Token>
    auto async_call(R request, Token&& token) {
        return async_call(std::move(request), CallOptions<R>{}, std::forward<Token>(token));
    }

    /// Ends pending calls with `errc::stopped`, tells handlers that run to stop, waits for them,
    /// and destroys the handler. Later calls fail until `restart()`. May be called again, and from
    /// several threads. No process has ended: always nothing.
    std::optional<ExitStatus> stop() { return carrier()->stop(); }

    /// The same with `errc::worker_killed`, and the next call makes a fresh handler, unless
    /// `stop()` was called.
    void kill() { carrier()->kill(); }

    /// As `stop()`; but the next call makes a fresh handler.
    void restart() { carrier()->restart(std::nullopt); }

    /// As `Worker::ref`: keeps the executor's `run()` alive although no call is pending.
    void ref() { hold_->take(); }

    /// Takes `ref()` back. This is how a worker starts.
    void unref() { hold_->release(); }

    /// Always nothing: there is no process.
    [[nodiscard]] std::optional<ExitReport> last_exit() const { return std::nullopt; }

    /// Always 0: there is no process.
    [[nodiscard]] std::int64_t pid() const noexcept { return 0; }

    /// Counts the handlers that were made, those whose constructor threw included; 0 before the
    /// first call.
    [[nodiscard]] std::uint64_t generation() const { return carrier()->generation(); }

    /// `ended` while there is no handler, as before the first call; `ready` while there is one;
    /// `stopped` after `stop()`. Never `starting`.
    [[nodiscard]] WorkerState state() const { return carrier()->state(); }

    /// The executor that it was made with, or that of Tether's background thread.
    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

private:
    friend struct detail::CarrierAccess;

    struct Private {};

    LoopbackWorker(Private, executor_type executor, WorkerOptions options, detail::MakeHandler make)
        : executor_(std::move(executor)) {
        hold_ = detail::ExecutorHold::make(executor_);
        carrier_ = detail::make_loopback(std::move(options), std::move(make));
    }

    static detail::MakeHandler make_by_default() {
        static_assert(
            !std::is_void_v<H>,
            "name the handler, as in LoopbackWorker<Protocol, Handler>, or give a function "
            "that makes one");
        if constexpr (!std::is_void_v<H>) {
            static_assert(detail::check_handler<H>());
            static_assert(std::is_same_v<typename H::protocol_type, P>,
                          "the handler serves another protocol");
            return detail::handler_type<H>().make;
        } else {
            return {};
        }
    }

    template <class Factory>
    static detail::MakeHandler make_by(Factory factory) {
        static_assert(std::is_void_v<H>,
                      "a function makes the handlers of a LoopbackWorker<Protocol>, without a "
                      "second argument");
        static_assert(detail::check_factory<P, Factory>());
        // It may not be copyable.
        return [kept = std::make_shared<Factory>(std::move(factory))] {
            return detail::box_handler_of(*kept);
        };
    }

    [[nodiscard]] const std::shared_ptr<detail::WorkerCarrier>& carrier() const {
        carrier_->check_not_forked();
        return carrier_;
    }

    executor_type executor_;
    std::shared_ptr<detail::ExecutorHold> hold_;
    std::shared_ptr<detail::WorkerCarrier> carrier_;
};

TETHER_NAMESPACE_END
