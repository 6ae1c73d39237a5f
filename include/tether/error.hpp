// Tether: what can go wrong with a call, and the exceptions that say so.
#pragma once

#include <tether/config.hpp>
#include <tether/exit_status.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN

/// The causes that a caller can act on. These are *conditions*: compare the code of an error with
/// them, `error.code() == tether::errc::timeout`.
///
/// An error has exactly one cause. Beside it, an error also equals `outcome_unknown` when the
/// request had left for the worker, was not declared `idempotent`, and no answer came: the handler
/// may have run, wholly, partly, or not at all. Where a portable `std::errc` fits, the code equals
/// that too.
enum class errc {
    timeout = 1,        ///< no answer before the call's deadline; equals `std::errc::timed_out`
    cancelled,          ///< the caller cancelled it; equals `std::errc::operation_canceled`
    start_failed,       ///< the worker could not be started; see `CallError::system_code()`
    start_timeout,      ///< started, but not ready within `WorkerOptions::start_timeout`
    protocol_mismatch,  ///< the worker's program speaks another protocol or version of it
    hook_missing,       ///< the program does not call `serve_if_worker` first in `main`
    worker_exited,      ///< the worker ended by itself; see `CallError::report()`
    worker_killed,      ///< a signal ended the worker; see `CallError::report()`
    worker_stuck,       ///< replaced: a handler ignored its deadline, or it hung; see `StuckPolicy`
    outcome_unknown,    ///< no cause of its own: the request may have taken effect
    restart_budget_spent,  ///< it crashed too often, see `RestartPolicy`
    framing,               ///< the connection ended early, or carried what is no message
    message_too_large,     ///< over `max_message_bytes`; equals `std::errc::message_size`
    codec,                 ///< a value could not be encoded or decoded
    handler,               ///< the handler threw; the error is a `RemoteError`
    queue_full,            ///< a pool's queue limit was reached
    would_deadlock,        ///< a blocking call on the thread that would have to answer it
    stopped,               ///< `stop()`, `restart()` or the destructor ended the worker
    forked,                ///< used in a forked copy of the process that owns the worker
};

namespace detail {

// The low byte of a code is the errc; this bit is set where the outcome is unknown.
inline constexpr int outcome_unknown_bit = 0x100;

inline std::string_view describe(errc cause) noexcept {
    switch (cause) {
        case errc::timeout:
            return "the call timed out";
        case errc::cancelled:
            return "the call was cancelled";
        case errc::start_failed:
            return "the worker could not be started";
        case errc::start_timeout:
            return "the worker was not ready in time";
        case errc::protocol_mismatch:
            return "the worker speaks another protocol";
        case errc::hook_missing:
            return "the program does not call tether::serve_if_worker";
        case errc::worker_exited:
            return "the worker exited";
        case errc::worker_killed:
            return "the worker was killed";
        case errc::worker_stuck:
            return "the worker was stuck";
        case errc::outcome_unknown:
            return "the outcome is unknown";
        case errc::restart_budget_spent:
            return "the worker crashed too often";
        case errc::framing:
            return "the connection ended early, or carried what is no message";
        case errc::message_too_large:
            return "the message is too large";
        case errc::codec:
            return "a message could not be encoded or decoded";
        case errc::handler:
            return "the handler raised an error";
        case errc::queue_full:
            return "the queue is full";
        case errc::would_deadlock:
            return "the call would block the thread that answers it";
        case errc::stopped:
            return "the worker was stopped";
        case errc::forked:
            return "the worker belongs to the process this one was forked from";
    }
    return "unknown error";
}

class Category final : public std::error_category {
public:
    const char* name() const noexcept override { return "tether"; }

    std::string message(int value) const override {
        std::string text{describe(static_cast<errc>(value & 0xff))};
        if ((value & outcome_unknown_bit) != 0) text += " (it may have taken effect)";
        return text;
    }

    std::error_condition default_error_condition(int value) const noexcept override {
        switch (static_cast<errc>(value & 0xff)) {
            case errc::timeout:
            case errc::start_timeout:
                return std::errc::timed_out;
            case errc::cancelled:
                return std::errc::operation_canceled;
            case errc::message_too_large:
                return std::errc::message_size;
            case errc::framing:
                return std::errc::protocol_error;
            case errc::would_deadlock:
                return std::errc::resource_deadlock_would_occur;
            case errc::queue_full:
                return std::errc::resource_unavailable_try_again;
            default:
                return {value & 0xff, *this};
        }
    }

    bool equivalent(int value, const std::error_condition& condition) const noexcept override {
        if (condition.category() != *this) return default_error_condition(value) == condition;
        if (condition.value() == (value & 0xff)) return true;
        return condition.value() == static_cast<int>(errc::outcome_unknown) &&
               (value & outcome_unknown_bit) != 0;
    }
};

// Never destroyed: codes may outlive static destruction. Without allocating: there may be no
// memory.
inline const std::error_category& category() noexcept {
    alignas(Category) static std::array<std::byte, sizeof(Category)> storage;
    static const Category& instance = *new (storage.data()) Category;
    return instance;
}

}  // namespace detail

/// The category of every code that Tether makes; its name is "tether".
[[nodiscard]] inline const std::error_category& error_category() noexcept {
    return detail::category();
}

/// A code with `cause` as its cause.
[[nodiscard]] inline std::error_code make_error_code(errc cause) noexcept {
    return {static_cast<int>(cause), detail::category()};
}

/// What the comparison with an `errc` uses; found by argument-dependent lookup.
[[nodiscard]] inline std::error_condition make_error_condition(errc cause) noexcept {
    return {static_cast<int>(cause), detail::category()};
}

/// One link in the chain of exceptions that a handler let escape (`std::throw_with_nested`).
struct RemoteCause {
    /// The code of a `HandlerError`; "category:value" of a `std::system_error`; "bad_alloc";
    /// "exception" for every other `std::exception`; "unknown" for anything else.
    std::string code{};
    std::string message{};  ///< `what()` of the exception, in the worker's words
};

/// Why a call has no answer. Thrown by `call`, given to the completion handler of `async_call`.
///
/// `what()` is a whole sentence for a log: which worker, which request, and what happened. Copying
/// never throws. A `const` object may be read from several threads. Where both are caught,
/// `RemoteError` must be caught first.
class CallError : public std::system_error {
public:
    /// Made by Tether; the constructors are there for a user's own tests and stand-ins.
    CallError(std::error_code code, std::string text,
              std::shared_ptr<const ExitReport> report = nullptr, std::error_code system_code = {})
        : std::system_error(code),
          text_(std::make_shared<const std::string>(std::move(text))),
          report_(std::move(report)),
          system_code_(system_code) {}

    CallError(errc cause, std::string text, std::shared_ptr<const ExitReport> report = nullptr,
              std::error_code system_code = {})
        : CallError(make_error_code(cause), std::move(text), std::move(report), system_code) {}

    [[nodiscard]] const char* what() const noexcept override { return text_->c_str(); }

    /// How the worker process ended, where its end is the reason; null otherwise. Valid as long as
    /// a copy of this exception lives.
    [[nodiscard]] const ExitReport* report() const noexcept { return report_.get(); }

    /// The operating system's error behind `errc::start_failed`; no error otherwise.
    [[nodiscard]] std::error_code system_code() const noexcept { return system_code_; }

private:
    std::shared_ptr<const std::string> text_;
    std::shared_ptr<const ExitReport> report_;
    std::error_code system_code_;
};

/// The handler threw. Carries what it threw across the process boundary.
class RemoteError : public CallError {
public:
    /// `causes` must not be empty.
    RemoteError(std::string text, std::vector<RemoteCause> causes)
        : CallError(errc::handler, std::move(text)),
          causes_(std::make_shared<const std::vector<RemoteCause>>(std::move(causes))) {}

    /// The code that the handler gave, see `RemoteCause::code`.
    [[nodiscard]] const std::string& remote_code() const noexcept { return causes_->front().code; }

    /// The message that the handler gave.
    [[nodiscard]] const std::string& message() const noexcept { return causes_->front().message; }

    /// The whole chain, the outermost exception first; never empty.
    [[nodiscard]] const std::vector<RemoteCause>& causes() const noexcept { return *causes_; }

private:
    std::shared_ptr<const std::vector<RemoteCause>> causes_;
};

/// Thrown by a handler to answer with an error that has a code of the program's own.
///
///     throw tether::HandlerError("no_file", "a file name is needed");
///
/// The caller gets a `RemoteError` with that code and message. Any other exception is carried too;
/// this one just gives the caller something to compare. The code "bad_alloc" means what it means
/// for a `std::bad_alloc`: the worker is replaced.
class HandlerError : public std::runtime_error {
public:
    /// Any code and any bytes; only their lengths are limited, by `max_message_bytes`.
    HandlerError(std::string code, const std::string& message)
        : std::runtime_error(message),
          code_(std::make_shared<const std::string>(std::move(code))) {}

    [[nodiscard]] const std::string& code() const noexcept { return *code_; }

private:
    std::shared_ptr<const std::string> code_;
};

TETHER_NAMESPACE_END

template <>
struct std::is_error_condition_enum<tether::errc> : std::true_type {};
