// Tether: the face of a worker without a process behind it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/options_check.hpp>
#include <tether/detail/call/executor_hold.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/loopback/loopback.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/exit_status.hpp>
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

/// Answers the requests of protocol `P` by a handler `H` inside this process: for unit tests of
/// code that uses a worker, and as a fallback where processes are forbidden. Write such code as a
/// template over the worker's type, and it takes either.
///
///     tether::LoopbackWorker<LintProtocol, Linter> worker;
///     Diagnostics now = worker.call(Lint{"a.cpp"});
///
/// Requests and responses go through the codec, and errors, deadlines and cancellation behave as
/// with a `Worker`. What only a process can give is missing: a crash of the handler is a crash of
/// this program; a handler that ignores `stop_requested()` cannot be ended: `stop()`, `kill()`,
/// `restart()` and the destructor wait for it as long as `StopPolicy` says, then leave its thread
/// behind and say so in the output. Such a thread owns the handler and all else of Tether's that it
/// uses; what the handler refers to must live on as well.
///
/// **Options.** `name` (empty: "loopback"), `call_timeout`, `concurrency`, `max_message_bytes` and
/// `output` (for `CallContext::log` alone) and `stop` count; the others are checked and have no
/// effect.
///
/// **Threads.** As thread-safe as `Worker` is. The first call makes the handler, on the thread that
/// makes the call, and starts `concurrency` threads on which requests are handled; one more, where
/// needed, keeps deadlines and runs stop callbacks. An output callback is called on the thread of
/// the handler that logs, one at a time. In a child made by `fork()` those threads do not exist: a
/// worker of the original must not be used there.
template <class P, class H>
class LoopbackWorker {
    static_assert(detail::check_protocol<P>());
    static_assert(detail::check_handler<H>());
    static_assert(std::is_same_v<typename H::protocol_type, P>,
                  "the handler serves another protocol");

public:
    /// The protocol that it was made for.
    using protocol_type = P;

    /// The executor that `async_call` completes on where the handler has none of its own.
    using executor_type = asio::any_io_executor;

    /// Completion handlers without an executor of their own run on Tether's background thread. The
    /// handler is not made yet. Throws as the constructor of `Worker` does, and
    /// `std::system_error` where the system has no thread to give.
    explicit LoopbackWorker(WorkerOptions options = {})
        : LoopbackWorker(detail::Runtime::usable().started_executor(), std::move(options)) {}

    /// The same with the caller's executor, as with a `Worker`: a pending call keeps that context's
    /// `run()` alive, an idle worker does not.
    explicit LoopbackWorker(executor_type executor, WorkerOptions options = {})
        : executor_(std::move(executor)) {
        detail::check_options(options);
        hold_ = detail::ExecutorHold::make(executor_);
        carrier_ = std::make_shared<detail::LoopbackCarrier>(std::move(options),
                                                             detail::handler_type<H>());
    }

    /// The same with the executor of a context, such as an `asio::io_context`.
    template <class Context>
    requires std::derived_from<Context, asio::execution_context>
    explicit LoopbackWorker(Context& context, WorkerOptions options = {})
        : LoopbackWorker(executor_type{context.get_executor()}, std::move(options)) {}

    /// Takes the handler over, with its pending calls. A moved-from worker may only be destroyed.
    LoopbackWorker(LoopbackWorker&&) noexcept = default;

    /// Cannot be assigned to.
    LoopbackWorker& operator=(LoopbackWorker&&) = delete;

    /// As `stop()`: waits for handlers that run, for a bounded time.
    ~LoopbackWorker() {
        if (carrier_ != nullptr) carrier_->retire();
    }

    /// As `Worker::call`, with the errors that need no process: `timeout`, `cancelled`,
    /// `start_failed` (the handler's constructor threw; the next call tries again),
    /// `worker_killed` (`kill()`), `message_too_large`, `codec` and `stopped`, or `RemoteError`. A
    /// handler that calls its own worker waits for a free thread. When all its other handlers wait
    /// in such calls, there will be none, and the call fails with `would_deadlock` at once.
    template <class R>
    typename R::Response call(const R& request, CallOptions<R> options = {}) {
        static_assert(detail::check_request<P, R>());
        return detail::blocking_call<P>(*carrier_, request, options);
    }

    /// As `Worker::async_call`, with the errors of `call`. A request has left when its handler has
    /// begun.
    template <class R, class Token>
    auto async_call(R request, CallOptions<R> options, Token&& token) {
        static_assert(detail::check_request<P, R>());
        return detail::initiate_call<P>(carrier_, executor_, std::move(request), std::move(options),
                                        std::forward<Token>(token));
    }

    /// The same with the default options.
    template <class R, class Token>
    auto async_call(R request, Token&& token) {
        return async_call(std::move(request), CallOptions<R>{}, std::forward<Token>(token));
    }

    /// Ends pending calls with `errc::stopped`, tells handlers that run to stop, waits for them,
    /// and destroys the handler. Later calls fail until `restart()`. May be called again, and from
    /// several threads. No process has ended: always nothing.
    std::optional<ExitStatus> stop() {
        carrier_->stop();
        return std::nullopt;
    }

    /// The same with `errc::worker_killed`, and the next call makes a fresh handler, unless
    /// `stop()` was called.
    void kill() { carrier_->kill(); }

    /// As `stop()`; but the next call makes a fresh handler.
    void restart() { carrier_->restart(); }

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
    [[nodiscard]] std::uint64_t generation() const { return carrier_->generation(); }

    /// `ended` while there is no handler, as before the first call; `ready` while there is one;
    /// `stopped` after `stop()`. Never `starting`.
    [[nodiscard]] WorkerState state() const { return carrier_->state(); }

    /// The executor that it was made with, or that of Tether's background thread.
    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

private:
    executor_type executor_;
    std::shared_ptr<detail::ExecutorHold> hold_;
    std::shared_ptr<detail::LoopbackCarrier> carrier_;
};

TETHER_NAMESPACE_END
