// Tether: a worker process, as its parent sees it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/end_wait.hpp>
#include <tether/detail/call/executor_hold.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/parent/make_supervisor.hpp>
#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/error.hpp>
#include <tether/live_calls.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>
#include <tether/worker_state.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
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
/// **Event loops** need not block: `async_call`, `async_stop` and `async_wait` wait for nothing.
/// Only the start of a process takes its time, some milliseconds on the thread that needs it: that
/// of the constructor, or of a call that finds no process.
///
/// **Executor.** `Executor` is the type of `get_executor()`. It names the completion token that is
/// the default, as with Asio's own objects:
///
///     using Plain = tether::Worker<LintProtocol>;
///     asio::use_awaitable_t<>::as_default_on_t<Plain> worker{context};
///     const Lint request{"a.cpp"};
///     Diagnostics result = co_await worker.async_call(request);
///
/// An executor that names none leaves the choice to Asio: recent versions take `asio::deferred`, so
/// that `co_await` works with every `Worker`; with older ones a token must be given.
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
template <class P, class Executor = asio::any_io_executor>
class Worker : public LiveCalls<Worker<P, Executor>, P> {
    static_assert(detail::check_protocol<P>());
    static_assert(std::is_convertible_v<Executor, asio::any_io_executor>,
                  "the executor must be one that asio::any_io_executor takes");

public:
    /// The protocol that it was made for.
    using protocol_type = P;

    /// The executor that `async_call` completes on where the handler has none of its own.
    using executor_type = Executor;

    /// The same with another type of executor; see "Executor" above.
    template <class Other>
    struct rebind_executor {             // NOLINT(readability-identifier-naming): as Asio has it
        using other = Worker<P, Other>;  ///< the type NOLINT(readability-identifier-naming)
    };

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
    explicit Worker(WorkerOptions options = {}) requires
        std::convertible_to<asio::any_io_executor, executor_type>
        : Worker(executor_type(detail::background_executor()), std::move(options)) {}

    /// The same with the caller's executor: completion handlers without an executor of their own
    /// run there. A pending call keeps that context's `run()` alive, an idle worker does not (see
    /// `ref()`). When the context is destroyed first, the handlers of pending calls are destroyed
    /// with it, uncalled, and the worker may be destroyed later.
    explicit Worker(executor_type executor, WorkerOptions options = {})
        : executor_(std::move(executor)) {
        hold_ = detail::ExecutorHold::make(executor_);
        carrier_ = detail::make_supervisor(std::move(options), P::name, P::version,
                                           detail::fingerprint<P>(), detail::is_live_protocol<P>);
    }

    /// The same with the executor of a context, such as an `asio::io_context`.
    template <class Context>
    requires std::derived_from<Context, asio::execution_context>
    explicit Worker(Context& context, WorkerOptions options = {})
        : Worker(executor_type{context.get_executor()}, std::move(options)) {}

    /// Takes the process over, with its pending calls. A moved-from worker may only be destroyed or
    /// assigned to.
    Worker(Worker&&) noexcept = default;

    /// The same from a worker with another type of executor.
    template <class Other>
    requires(!std::same_as<Other, Executor> && std::convertible_to<Other, Executor>)
        Worker(Worker<P, Other>&& other)
    noexcept  // NOLINT(google-explicit-constructor): as Asio's own
        : executor_(std::move(other.executor_)),
          hold_(std::move(other.hold_)),
          carrier_(std::move(other.carrier_)) {}

    /// The same; the process that this worker had is ended as by the destructor.
    Worker& operator=(Worker&& other) noexcept {
        if (this != &other) {
            Worker old{std::move(*this)};
            executor_ = std::move(other.executor_);
            hold_ = std::move(other.hold_);
            carrier_ = std::move(other.carrier_);
        }
        return *this;
    }

    /// Ends the process as `stop()` does, and waits for that. Pending calls end with
    /// `errc::stopped`. In a forked copy it does nothing to the process.
    ///
    /// On an event loop's thread it holds the loop up: an idle worker ends within milliseconds, one
    /// whose handler ignores `stop_requested()` after `StopPolicy::drain` and `terminate`, 1.5 s by
    /// default. A process that SIGKILL does not end is given up 13 s after that. Once `async_stop`
    /// has completed, and there was no `restart()` since, it blocks for nothing.
    ~Worker() {
        // Not moved from: a thread that is inside a call has read it.
        if (carrier_ != nullptr) detail::release_supervisor(carrier_, hold_);
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
        static_assert(detail::check_call<P, R>());
        const auto kept = carrier();  // should the worker be destroyed meanwhile
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
    template <class R, class Token = asio::default_completion_token_t<executor_type>>
    auto async_call(R request, CallOptions<R> options, Token&& token = Token()) {
        static_assert(detail::check_call<P, R>());
        return detail::initiate_call<P>(carrier(), executor_, std::move(request),
                                        std::move(options), std::forward<Token>(token));
    }

    /// The same with the default options.
    template <class R, class Token = asio::default_completion_token_t<executor_type>>
    auto async_call(R request, Token&& token = Token()) {
        return async_call(std::move(request), CallOptions<R>{}, std::forward<Token>(token));
    }

    /// Ends the process: asks it to finish, waits as `StopPolicy` says, forces it in the end, and
    /// returns how it ended, only after it has been reaped. Pending calls end with `errc::stopped`.
    /// Later calls fail with it, until `restart()`.
    ///
    /// Without a process it returns how the last one ended, or nothing if there never was one. May
    /// be called again, from several threads, and from a completion handler, but not from an
    /// `Output` callback. Throws `errc::forked`, and `std::bad_alloc`.
    std::optional<ExitStatus> stop() { return carrier()->stop(); }

    /// Does what `stop()` does without blocking: the background thread takes the steps of
    /// `StopPolicy`. May be called on any thread, also in an `Output` callback.
    ///
    /// `token` is any Asio completion token with the signature
    /// `void(std::exception_ptr, std::optional<ExitStatus>)`. The exception is null, except after a
    /// cancellation, or where the system has no thread to give for it; the status is what `stop()`
    /// returns.
    ///
    /// From now on calls fail with `errc::stopped`; pending ones end with it, and their completions
    /// come in no particular order with this one. Executor, allocator and the end of the context as
    /// for `async_call`: the stop keeps `run()` alive until it has completed, never completes
    /// inside this function, and at the program's exit its handler is dropped. May be called again,
    /// and together with `stop()`: all of them complete.
    ///
    ///     worker.async_stop([&](std::exception_ptr, std::optional<tether::ExitStatus>) {
    ///         worker_pointer.reset();  // blocks for nothing any more
    ///     });
    ///
    /// Throws `errc::forked`, and `std::bad_alloc`.
    ///
    /// **Cancellation** through the handler's slot ends the wait with `errc::cancelled`; the stop
    /// itself goes on. The type `total` has no effect, because the stop has begun.
    template <class Token = asio::default_completion_token_t<executor_type>>
    auto async_stop(Token&& token = Token()) {
        return detail::initiate_end_wait<std::optional<ExitStatus>>(carrier(), executor_,
                                                                    std::forward<Token>(token));
    }

    /// Waits until the present process has ended, whatever the way, and completes with its report.
    /// Nothing is started, asked or ended for that.
    ///
    /// `token` is any Asio completion token with the signature
    /// `void(std::exception_ptr, ExitReport)`. Without a process it completes at once, with the
    /// report of the last; `ExitReport::generation` tells which that is, for a loop that must not
    /// spin. Where a later start has failed, it fails with the error of that, and with
    /// `errc::stopped` where none was tried. Executor, allocator and the end of the context as for
    /// `async_call`, except that the wait does not keep `run()` alive, as an idle worker does not.
    /// (A coroutine that awaits it keeps the `run()` of its own context alive.)
    ///
    ///     worker.async_wait([](std::exception_ptr error, const tether::ExitReport& report) {
    ///         if (!error) log(to_string(report));
    ///     });
    ///
    /// Throws as `async_stop`.
    ///
    /// **Cancellation** through the handler's slot, of any type: ends the wait with
    /// `errc::cancelled`, and nothing else.
    template <class Token = asio::default_completion_token_t<executor_type>>
    auto async_wait(Token&& token = Token()) {
        return detail::initiate_end_wait<ExitReport>(carrier(), executor_,
                                                     std::forward<Token>(token));
    }

    /// Kills the process with all it started, and returns when it is gone. Calls whose handlers had
    /// begun end with `errc::worker_killed`. The other pending calls start another process, as does
    /// the next one, and this counts as no crash; a worker that was stopped stays so. Nothing
    /// happens without a process. To be called and throws as
    /// `stop()`.
    ///
    /// Where this process may not signal the worker any more (after `setuid`, in a sandbox), its
    /// control channel is closed instead, and it ends itself. One that does not end for some
    /// seconds is given up, by `stop()` as well: `ExitReport::left_behind` and `note` say why.
    void kill() { carrier()->kill(); }

    /// Stops the process as `stop()` does, forgets earlier crashes, and starts a new one. Calls
    /// whose handlers had begun end with `errc::stopped`; all others get the new process. Does not
    /// wait until that is ready, and does not throw when it fails to start: the first call does. To
    /// be called and throws as `stop()`.
    void restart() { carrier()->restart(std::nullopt); }

    /// The same with other options from now on; the name stays. Throws `std::invalid_argument` for
    /// options that make no sense, before anything happens.
    void restart(WorkerOptions options) { carrier()->restart(std::move(options)); }

    /// Keeps the executor's `run()` alive although no call is pending, until `unref()`. Without
    /// effect on a worker that was made without an executor. Not counted: calling twice is as good
    /// as once.
    void ref() { hold_->take(); }

    /// Takes `ref()` back. This is how a worker starts.
    void unref() { hold_->release(); }

    /// The process id, 0 while there is no process. For show: the process may end at any moment, so
    /// do not signal it by its number.
    [[nodiscard]] std::int64_t pid() const { return carrier()->pid(); }

    /// Counts the starts, those that failed included: 1 for the first. A change tells that a
    /// handler has lost its state.
    [[nodiscard]] std::uint64_t generation() const { return carrier()->generation(); }

    /// What the worker is doing at this moment.
    [[nodiscard]] WorkerState state() const { return carrier()->state(); }

    /// How the process ended that was the last to end; nothing while the first one runs. A start
    /// that failed before there was a process leaves none.
    [[nodiscard]] std::optional<ExitReport> last_exit() const {
        const auto report = carrier()->last_exit();
        return report == nullptr ? std::nullopt : std::optional{*report};
    }

    /// The executor that it was made with, or that of Tether's background thread.
    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

private:
    friend struct detail::CarrierAccess;
    template <class, class>
    friend class Worker;

    [[nodiscard]] const std::shared_ptr<detail::ProcessCarrier>& carrier() const {
        carrier_->check_not_forked();
        return carrier_;
    }

    executor_type executor_;
    std::shared_ptr<detail::ExecutorHold> hold_;
    std::shared_ptr<detail::ProcessCarrier> carrier_;
};

TETHER_NAMESPACE_END
