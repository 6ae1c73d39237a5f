// Tether: the worker's side of a protocol.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call_control.hpp>
#include <tether/detail/handles.hpp>
#include <tether/detail/protocol_check.hpp>
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
template <class Request>
class CallContext {
public:
    explicit CallContext(detail::CallControl& control) noexcept : control_(control) {}
    CallContext(const CallContext&) = delete;
    CallContext& operator=(const CallContext&) = delete;

    /// True once nobody waits for the answer any more: the caller cancelled, its deadline passed,
    /// the worker is being stopped, or the parent has died. Costs one atomic load; ask often. A
    /// handler that returns or throws once it has seen this may do so with anything: whoever should
    /// wait after all, as when a stranger sends the worker SIGTERM, gets an error.
    [[nodiscard]] bool stop_requested() const noexcept { return control_.stop_requested(); }

    /// The same as a token, for `std::condition_variable_any` and callbacks. The first use in a
    /// worker starts one helper thread, on which stop callbacks run; they must not block. Throws
    /// `std::system_error` where the system has no thread to give.
    [[nodiscard]] std::stop_token stop_token() const { return control_.stop_token(); }

    /// When the caller stops waiting; nothing where it waits for ever. Counted from the arrival of
    /// the request, by this machine's monotonic clock.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept {
        return control_.deadline();
    }

    /// Says something to the parent's `Output`: as a line in order with what this process writes
    /// to stderr, with its severity when the output is a callback. Newlines make several lines.
    /// Survives a crash right after it. Never throws for a parent that is gone.
    void log(Severity severity, std::string_view text) const { control_.log(severity, text); }

    /// The number of this call, unique in its process; shown in error reports.
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
/// A missing override does not compile. The handler is constructed by its default constructor, once
/// in each worker process, before the first call; when that throws, the start fails and the caller
/// gets `errc::start_failed` with the exception's text. It is destroyed when the worker is stopped
/// or its parent dies, unless the process is killed. Whatever `handle` throws becomes a
/// `RemoteError` of that call; throw `HandlerError` to give it a code.
///
/// With `WorkerOptions::concurrency` 1 (the default) everything runs on the main thread of the
/// worker; with more, `handle` is called from that many threads at once.
template <class P>
class Handler : public detail::HandlesAll<typename P::Requests> {
public:
    using protocol_type = P;

    Handler() { static_assert(detail::check_protocol<P>()); }
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;
    virtual ~Handler() = default;
};

TETHER_NAMESPACE_END
