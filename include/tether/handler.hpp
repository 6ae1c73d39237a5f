// Tether: the worker's side of a protocol.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/handles.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/error.hpp>
#include <tether/logging.hpp>
#include <tether/protocol.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// One running call, as its handler sees it. Passed to `handle`; valid until `handle` returns.
/// All members may be called from any thread in that time.
///
///     Diagnostics Linter::handle(const Lint& request, tether::CallContext<Lint>& call) {
///         call.log(tether::Severity::info, "linting " + request.file);
///         Diagnostics result{.clean = true};
///         for (const auto& rule : rules_) {
///             if (call.stop_requested()) break;  // nobody waits any more
///             rule.check(request.file, result);
///         }
///         return result;
///     }
template <class Request>
class CallContext {
public:
    /// Made by Tether.
    explicit CallContext(detail::CallControl& control) noexcept : control_(control) {}
    CallContext(const CallContext&) = delete;
    CallContext& operator=(const CallContext&) = delete;

    /// True once nobody waits for the answer any more: the caller cancelled, its deadline passed,
    /// the call had its `run_timeout`, the worker is being stopped, or the parent has died. Costs
    /// one atomic load; ask often. A handler that returns or throws once it has seen this may do so
    /// with anything: whoever should wait after all, as when a stranger sends the worker SIGTERM,
    /// gets an error.
    [[nodiscard]] bool stop_requested() const noexcept { return control_.stop_requested(); }

    /// The same as a token, for `std::condition_variable_any` and callbacks. The first use in a
    /// worker starts one helper thread, on which stop callbacks run; they must not block. Throws
    /// `std::system_error` where the system has no thread to give.
    [[nodiscard]] std::stop_token stop_token() const { return control_.stop_token(); }

    /// When the time for this call is over, by `std::chrono::steady_clock`: that of its caller, or
    /// its `run_timeout`, whichever is first; nothing where there is no limit. For planning, such
    /// as what to begin at all: `stop_requested()` says when it *is* over.
    ///
    /// The parent sends how much time is left, and a worker counts that from when it takes the
    /// request up. One that waited in line behind others has less time than this says.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept {
        return control_.deadline();
    }

    /// Says something to the parent's `Output`: as a line in order with what this process writes
    /// to stderr, with its severity when the output is a callback. Newlines make several lines.
    /// Survives a crash right after it, and comes before the answer of this call: see `Output`.
    /// Like a write to stderr it waits while the parent's side takes nothing. Does nothing when the
    /// parent is gone; throws only `std::bad_alloc`.
    void log(Severity severity, std::string_view text) const { control_.log(severity, text); }

    /// The number of this call, unique in its process: 1, 2, 3, ... as they are made. Error reports
    /// show it (`CallInFlight::id`).
    [[nodiscard]] std::uint64_t id() const noexcept { return control_.id(); }

private:
    detail::CallControl& control_;
};

/// The base of a worker's handler: one pure virtual `handle` for each request of the protocol.
///
///     class Linter final : public tether::Handler<LintProtocol> {
///         Diagnostics handle(const Lint& request, tether::CallContext<Lint>& call) override;
///     };
///
/// Given to `serve_if_worker`, `serve` or `LoopbackWorker`. A missing override does not compile,
/// and what `handle` returns is the request's `Response`.
///
/// **Lifetime.** The handler is constructed by its default constructor, once in each worker
/// process, before the first call; when that throws, the start fails and the caller gets
/// `errc::start_failed` with the exception's text. What it keeps lasts from call to call, until the
/// process ends: `Worker::generation()` tells the parent of a new one. It is destroyed when the
/// worker is stopped or its parent dies, unless the process is killed; it has the time that
/// `StopPolicy::drain` and `terminate`, or `WorkerOptions::orphan_grace`, give.
///
/// **Errors.** Whatever `handle` throws becomes a `RemoteError` of that call, with what it was
/// nested in; throw `HandlerError` to give it a code. Each text is cut after 1 MiB, and a null
/// `what()` is an empty text. The worker goes on, except after `std::bad_alloc`: then it is
/// replaced. `pthread_exit` in a handler is answered with an error, too, and ends the worker with
/// whatever else it was doing. A `what()` that throws ends the worker, since it is `noexcept`.
///
/// **Threads.** With `WorkerOptions::concurrency` 1 (the default) everything runs on the thread
/// that called `serve_if_worker`, the main one; with more, `handle` is called from that many
/// threads at once. In a `LoopbackWorker` it never runs on the caller's thread.
template <class P>
class Handler : public detail::HandlesAll<typename P::Requests> {
public:
    /// The protocol whose requests it answers.
    using protocol_type = P;

    /// Not copied, since its state is the worker's.
    Handler() { static_assert(detail::check_protocol<P>()); }
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;
    /// A destructor that throws becomes a line on stderr and an exit code of 1.
    virtual ~Handler() noexcept(false) = default;
};

TETHER_NAMESPACE_END
