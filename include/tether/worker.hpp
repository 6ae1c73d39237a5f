// Tether: a worker process, as its parent sees it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/options_check.hpp>
#include <tether/detail/call/executor_hold.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/parent/supervisor.hpp>
#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/error.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>
#include <tether/worker_state.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// One supervised child process that answers the requests of protocol `P`.
///
///     tether::Worker<LintProtocol> worker;                       // this executable, started again
///     Diagnostics now = worker.call(Lint{"a.cpp"});              // blocks
///     auto later = worker.async_call(Lint{"b.cpp"}, asio::use_future);
///
/// **Lifetime.** The process is started by the constructor and ended by the destructor, by `stop()`
/// or by `kill()`; whatever way the parent ends, the process and all it started end too. An idle
/// worker holds nobody up: `main` may return, and an `io_context::run()` returns when no call is
/// pending. One that crashed is started again by the next call, within
/// `WorkerOptions::restart`. When the program exits, blocking calls of other
/// threads end with `errc::stopped`, and completion handlers of pending calls are dropped, not
/// called.
///
/// **Errors** of calls are `CallError`s; `errc` tells for each cause what can be done.
///
/// **Threads.** All members but move and destruction may be called from any threads at once. A
/// worker may be destroyed while others are inside `call`, as a static one is at exit: that ends
/// their calls with `errc::stopped`. The first worker of a program starts one background thread for
/// all of them.
///
/// **Daemons.** A program that closes all its descriptors loses its workers: their calls, pending
/// or later, fail with `errc::stopped`. Make a new `Worker` then; better, become a daemon first.
///
/// **Forked copies.** In a child made by `fork()`, members that use the process throw
/// `errc::forked`; the destructor leaves the original's worker alone.
template <class P>
class Worker {
    static_assert(detail::check_protocol<P>());

public:
    /// The protocol that it was made for.
    using protocol_type = P;

    /// The executor that `async_call` completes on where the handler has none of its own.
    using executor_type = asio::any_io_executor;

    /// Starts the process and returns without waiting for it; calls may be made at once.
    /// Completion handlers without an executor of their own run on Tether's background thread:
    /// keep them short, make no blocking calls there, and let no exception escape: that ends the
    /// program. Small requests that they make leave together, once the handlers that became ready
    /// with them have run or there are some: a handler that goes on for long holds its own requests
    /// back.
    ///
    /// Throws `std::invalid_argument` for options that make no sense, and nothing else but
    /// `std::bad_alloc`, or `std::system_error` where the system has no descriptors for the library
    /// itself. A start that fails surfaces at the first call, as `errc::start_failed`; the next
    /// call tries again. In a process that was itself started as a worker, and has not called
    /// `serve_if_worker` yet, nothing is started before the first call: a `Worker` may be a global.
    explicit Worker(WorkerOptions options = {})
        : Worker(executor_type{detail::Runtime::usable().context().get_executor()},
                 std::move(options)) {}

    /// The same with the caller's executor: completion handlers without an executor of their own
    /// run there. A pending call keeps that context's `run()` alive, an idle worker does not (see
    /// `ref()`). When the context is destroyed first, the handlers of pending calls are destroyed
    /// with it, uncalled, and the worker may be destroyed later.
    explicit Worker(executor_type executor, WorkerOptions options = {})
        : executor_(std::move(executor)) {
        detail::check_options(options);
        hold_ = detail::ExecutorHold::make(executor_);
        supervisor_ = std::make_shared<detail::Supervisor>(
            std::move(options),
            detail::ProtocolId{std::string{P::name}, P::version, detail::fingerprint<P>()});
        supervisor_->begin();
    }

    /// The same with the executor of a context, such as an `asio::io_context`.
    template <class Context>
    requires std::derived_from<Context, asio::execution_context>
    explicit Worker(Context& context, WorkerOptions options = {})
        : Worker(executor_type{context.get_executor()}, std::move(options)) {}

    /// Takes the process over, with its pending calls. A moved-from worker may only be destroyed or
    /// assigned to.
    Worker(Worker&&) noexcept = default;

    /// The same; the process that this worker had is ended as by the destructor.
    Worker& operator=(Worker&& other) noexcept {
        if (this != &other) {
            Worker old{std::move(*this)};
            executor_ = std::move(other.executor_);
            hold_ = std::move(other.hold_);
            supervisor_ = std::move(other.supervisor_);
        }
        return *this;
    }

    /// Ends the process as `stop()` does, and waits for that. Pending calls end with
    /// `errc::stopped`. In a forked copy it does nothing to the process.
    ~Worker() {
        if (supervisor_ == nullptr) return;
        if (supervisor_->forked()) {
            leave_to_the_original();
        } else if (detail::is_interrupted()) {
            detail::Supervisor::leave(std::move(supervisor_), std::move(hold_));
        } else {
            if (!supervisor_->retire()) {
                detail::Supervisor::leave(std::move(supervisor_), std::move(hold_));
            }
        }
    }

    /// Sends `request` and waits for its answer. The calling thread does the work itself; several
    /// threads share the connection. `request` is used in place, and not after the call.
    ///
    /// Returns what the handler returned. Throws `RemoteError` when the handler threw, or
    /// `CallError` with one of: `timeout`, `cancelled`, `start_failed`, `start_timeout`,
    /// `protocol_mismatch`, `hook_missing`, `worker_exited`, `worker_killed`, `worker_stuck`,
    /// `restart_budget_spent`, `framing`, `message_too_large`, `codec`, `would_deadlock` (on
    /// Tether's background thread), `stopped`, `forked`. Each settles this call only once, and by
    /// the deadline at the latest.
    ///
    /// When the worker ends, whatever the way except `stop()` and the destructor, a request whose
    /// handler had not begun goes to the next process, as if it had never left, and again should
    /// that one end. An `idempotent` request whose worker died by itself is sent once more although
    /// its handler had begun. Both within the call's deadline and the `RestartPolicy`.
    ///
    /// **Cancellation** through `CallOptions::stop_token`, from another thread: the call ends at
    /// once with `errc::cancelled`. Before the request has left, nothing of it remains; afterwards
    /// the handler's `stop_requested()` becomes true and its answer is dropped. After the deadline
    /// the same is done for `errc::timeout`.
    template <class R>
    typename R::Response call(const R& request, CallOptions<R> options = {}) {
        static_assert(detail::check_request<P, R>());
        const auto kept = supervisor();  // should the worker be destroyed meanwhile
        return detail::blocking_call<P>(*kept, request, options);
    }

    /// Sends `request` and completes later.
    ///
    /// `request` is kept until then. `options` as for `call`. `token` is any Asio completion token
    /// with the signature `void(std::exception_ptr, R::Response)`, or `void(std::exception_ptr)`
    /// where the response is `void`. The exception, when not null, is what `call` would throw;
    /// `would_deadlock` does not occur. Never completes inside this function, and calls complete
    /// in no particular order. The completion runs on the handler's associated executor, else on
    /// `get_executor()`; both are kept busy until then. The handler is kept in memory from its
    /// associated allocator, which has all of it back before the handler is called.
    ///
    ///     worker.async_call(request, [](std::exception_ptr error, Diagnostics result) {});
    ///
    ///     auto operation = worker.async_call(request, asio::use_awaitable);  // named for GCC 12,
    ///     Diagnostics result = co_await std::move(operation);                // see the README
    ///
    /// Throws `errc::forked` in a forked copy, and `std::bad_alloc`; every other failure is given
    /// to the handler, one of the encoding as well.
    ///
    /// **Cancellation** through the handler's slot, or `CallOptions::stop_token`: the call ends at
    /// once with `errc::cancelled`. Before the request has left, nothing of it remains; afterwards
    /// the handler's `stop_requested()` becomes true and its answer is dropped. The type `total`
    /// promises no side effects, and therefore works only before the request has left; `partial`
    /// and `terminal` always do. A request of up to 16 KiB counts as having left once it is
    /// queued, which is at once while the worker takes calls, full as the socket may be.
    template <class R, class Token>
    auto async_call(R request, CallOptions<R> options, Token&& token) {
        static_assert(detail::check_request<P, R>());
        return detail::initiate_call<P>(supervisor(), executor_, std::move(request),
                                        std::move(options), std::forward<Token>(token));
    }

    /// The same with the default options.
    template <class R, class Token>
    auto async_call(R request, Token&& token) {
        return async_call(std::move(request), CallOptions<R>{}, std::forward<Token>(token));
    }

    /// Ends the process: asks it to finish, waits as `StopPolicy` says, forces it in the end, and
    /// returns how it ended, only after it has been reaped. Pending calls end with `errc::stopped`.
    /// Later calls fail with it, until `restart()`.
    ///
    /// Without a process it returns how the last one ended, or nothing if there never was one. May
    /// be called again, from several threads, and from a completion handler, but not from an
    /// `Output` callback. Throws `errc::forked`, and `std::bad_alloc`.
    std::optional<ExitStatus> stop() { return supervisor()->stop(); }

    /// Kills the process with all it started, and returns when it is gone. Calls whose handlers had
    /// begun end with `errc::worker_killed`. The other pending calls start another process, as does
    /// the next one, and this counts as no crash; a worker that was stopped stays so. Nothing
    /// happens without a process. To be called and throws as
    /// `stop()`.
    ///
    /// Where this process may not signal the worker any more (after `setuid`, in a sandbox), its
    /// control channel is closed instead, and it ends itself. One that does not end for some
    /// seconds is given up, by `stop()` as well: `ExitReport::left_behind` and `note` say why.
    void kill() { supervisor()->kill(); }

    /// Stops the process as `stop()` does, forgets earlier crashes, and starts a new one. Calls
    /// whose handlers had begun end with `errc::stopped`; all others get the new process. Does not
    /// wait until that is ready, and does not throw when it fails to start: the first call does. To
    /// be called and throws as `stop()`.
    void restart() { supervisor()->restart(std::nullopt); }

    /// The same with other options from now on; the name stays. Throws `std::invalid_argument` for
    /// options that make no sense, before anything happens.
    void restart(WorkerOptions options) {
        detail::check_options(options);
        supervisor()->restart(std::move(options));
    }

    /// Keeps the executor's `run()` alive although no call is pending, until `unref()`. Without
    /// effect on a worker that was made without an executor. Not counted: calling twice is as good
    /// as once.
    void ref() { hold_->take(); }

    /// Takes `ref()` back. This is how a worker starts.
    void unref() { hold_->release(); }

    /// The process id, 0 while there is no process. For show: the process may end at any moment, so
    /// do not signal it by its number.
    [[nodiscard]] std::int64_t pid() const { return supervisor()->pid(); }

    /// Counts the starts, those that failed included: 1 for the first. A change tells that a
    /// handler has lost its state.
    [[nodiscard]] std::uint64_t generation() const { return supervisor()->generation(); }

    /// What the worker is doing at this moment.
    [[nodiscard]] WorkerState state() const { return supervisor()->state(); }

    /// How the process ended that was the last to end; nothing while the first one runs. A start
    /// that failed before there was a process leaves none.
    [[nodiscard]] std::optional<ExitReport> last_exit() const {
        const auto report = supervisor()->last_exit();
        return report == nullptr ? std::nullopt : std::optional{*report};
    }

    /// The executor that it was made with, or that of Tether's background thread.
    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

private:
    // Locks may be held by threads that do not exist here.
    void leave_to_the_original() noexcept {
        struct Left {
            std::shared_ptr<detail::ExecutorHold> hold;
            std::shared_ptr<detail::Supervisor> supervisor;
        };
        static_cast<void>(new Left{std::move(hold_), std::move(supervisor_)});
    }

    [[nodiscard]] const std::shared_ptr<detail::Supervisor>& supervisor() const {
        supervisor_->check_not_forked();
        return supervisor_;
    }

    executor_type executor_;
    std::shared_ptr<detail::ExecutorHold> hold_;
    std::shared_ptr<detail::Supervisor> supervisor_;
};

TETHER_NAMESPACE_END
