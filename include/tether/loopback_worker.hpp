// Tether: the face of a worker without a process behind it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call_front.hpp>
#include <tether/detail/executor_hold.hpp>
#include <tether/detail/handler_box.hpp>
#include <tether/detail/loopback.hpp>
#include <tether/detail/options_check.hpp>
#include <tether/detail/protocol_check.hpp>
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
/// this program, and a handler that ignores `stop_requested()` cannot be ended, so that `stop()`
/// and the destructor wait for it.
///
/// Handlers run on `WorkerOptions::concurrency` threads that are started by the first call. Of the
/// options, `name`, `call_timeout`, `concurrency`, `max_message_bytes` and `output` (for
/// `CallContext::log`) count. Thread-safe as `Worker` is.
template <class P, class H>
class LoopbackWorker {
    static_assert(detail::check_protocol<P>());
    static_assert(detail::check_handler<H>());
    static_assert(std::is_same_v<typename H::protocol_type, P>,
                  "the handler serves another protocol");

public:
    using protocol_type = P;
    using executor_type = asio::any_io_executor;

    /// Completion handlers without an executor of their own run on Tether's background thread.
    explicit LoopbackWorker(WorkerOptions options = {})
        : LoopbackWorker(detail::Runtime::instance().started_executor(), std::move(options)) {}

    /// Completion handlers without an executor of their own run on `executor`.
    explicit LoopbackWorker(executor_type executor, WorkerOptions options = {})
        : executor_(std::move(executor)) {
        detail::check_options(options);
        hold_ = detail::ExecutorHold::make(executor_);
        carrier_ = std::make_shared<detail::LoopbackCarrier>(std::move(options),
                                                             detail::handler_type<H>());
    }

    /// The same with a context, such as an `asio::io_context`.
    template <class Context>
    requires std::derived_from<Context, asio::execution_context>
    explicit LoopbackWorker(Context& context, WorkerOptions options = {})
        : LoopbackWorker(executor_type{context.get_executor()}, std::move(options)) {}

    LoopbackWorker(LoopbackWorker&&) noexcept = default;
    LoopbackWorker& operator=(LoopbackWorker&&) = delete;

    /// As `stop()`.
    ~LoopbackWorker() {
        if (carrier_ != nullptr) carrier_->stop();
    }

    /// As `Worker::call`.
    template <class R>
    typename R::Response call(const R& request, CallOptions<R> options = {}) {
        static_assert(detail::check_request<P, R>());
        return detail::CallFront::instance().template call<P>(*carrier_, request, options);
    }

    /// As `Worker::async_call`.
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

    /// Ends pending calls with `errc::stopped`, waits for handlers that run, and destroys the
    /// handler. Later calls fail until `restart()`. No process has ended: always nothing.
    std::optional<ExitStatus> stop() {
        carrier_->stop();
        return std::nullopt;
    }

    /// The same with `errc::worker_killed`; the next call makes a fresh handler.
    void kill() { carrier_->kill(); }

    /// Stops it; the next call makes a fresh handler.
    void restart() { carrier_->restart(); }

    /// As `Worker::ref` and `Worker::unref`.
    void ref() { hold_->take(); }
    void unref() { hold_->release(); }

    /// Always nothing: there is no process.
    [[nodiscard]] std::optional<ExitReport> last_exit() const { return std::nullopt; }

    /// Always 0: there is no process.
    [[nodiscard]] std::int64_t pid() const noexcept { return 0; }

    /// Counts the handlers that were made.
    [[nodiscard]] std::uint64_t generation() const { return carrier_->generation(); }

    [[nodiscard]] WorkerState state() const { return carrier_->state(); }

    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

private:
    executor_type executor_;
    std::shared_ptr<detail::ExecutorHold> hold_;
    std::shared_ptr<detail::LoopbackCarrier> carrier_;
};

TETHER_NAMESPACE_END
