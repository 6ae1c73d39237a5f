// Tether: what can go wrong with a call, and the exceptions that say so.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/error_category.hpp>
#include <tether/detail/base/printable.hpp>
#include <tether/errc.hpp>
#include <tether/exit_status.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN

/// The category of every code that Tether makes; its name is "tether". It is never destroyed, so a
/// code may be used during static destruction.
[[nodiscard]] inline const std::error_category& error_category() noexcept {
    return detail::category();
}

/// A code with `cause` as its cause, whose outcome is not unknown.
[[nodiscard]] inline std::error_code make_error_code(errc cause) noexcept {
    return {static_cast<int>(cause), detail::category()};
}

/// What the comparison with an `errc` uses; found by argument-dependent lookup.
[[nodiscard]] inline std::error_condition make_error_condition(errc cause) noexcept {
    return {static_cast<int>(cause), detail::category()};
}

/// One link in the chain of exceptions that a handler let escape (`std::throw_with_nested`). A
/// plain value.
struct RemoteCause {
    /// The code of a `HandlerError`; "category:value" of a `std::system_error`; "bad_alloc";
    /// "exception" for every other `std::exception`; "unknown" for anything else.
    std::string code{};
    std::string message{};  ///< `what()` of the exception, in the worker's words
};

/// Why a call has no answer. Thrown by `call`, given to the completion handler of `async_call`.
///
///     try {
///         worker.call(Lint{"a.cpp"});
///     } catch (const tether::RemoteError& error) {  // derived: must come first
///         log(error.remote_code());
///     } catch (const tether::CallError& error) {
///         if (error.cause() == tether::errc::timeout) show_busy();
///         if (error.outcome_unknown()) ask_before_doing_it_again();
///         log(error.what());
///     }
///
/// A completion handler is given it as a `std::exception_ptr`; see `error_of()`.
///
/// `code()` is of `error_category()` and compares with `errc` and `std::errc`. `what()` is text for
/// a log: which worker, which request, and what happened. Copying never throws. A `const` object
/// may be read from several threads.
class CallError : public std::system_error {
public:
    /// Made by Tether; the constructors are there for a user's own tests and stand-ins. `code` is
    /// one of `error_category()`, `text` what `what()` returns, and the others what the members of
    /// that name do.
    CallError(std::error_code code, std::string text,
              std::shared_ptr<const ExitReport> report = nullptr, std::error_code system_code = {})
        : std::system_error(code),
          text_(std::make_shared<const std::string>(detail::printable(std::move(text)))),
          report_(std::move(report)),
          system_code_(system_code) {}

    /// The same with the code of `cause`.
    CallError(errc cause, std::string text, std::shared_ptr<const ExitReport> report = nullptr,
              std::error_code system_code = {})
        : CallError(make_error_code(cause), std::move(text), std::move(report), system_code) {}

    /// What happened, in words: UTF-8 in one or more lines. Zero bytes, control characters and what
    /// is no UTF-8 show as `\x1b`. The bytes as they came are in `ExitReport::stderr_tail` and
    /// `RemoteError::causes()`. Valid as long as a copy of this exception lives.
    [[nodiscard]] const char* what() const noexcept override { return text_->c_str(); }

    /// The one cause, fit for a `switch`. `errc::outcome_unknown` is no cause of its own, and is
    /// returned only where a user's own code made the error with it.
    ///
    ///     switch (error.cause()) {
    ///         case tether::errc::timeout: return try_later();
    ///         case tether::errc::worker_killed: return show(error.report());
    ///         default: return show(error.what());
    ///     }
    [[nodiscard]] errc cause() const noexcept { return detail::cause_of(code().value()); }

    /// The handler may have run, wholly, partly or not at all, and the request was not declared
    /// `idempotent`: ask before doing it again. The same as `code() == errc::outcome_unknown`.
    [[nodiscard]] bool outcome_unknown() const noexcept {
        return code() == make_error_condition(errc::outcome_unknown);
    }

    /// How the worker process ended, where its end is the reason; null otherwise. Valid as long as
    /// a copy of this exception lives.
    [[nodiscard]] const ExitReport* report() const noexcept { return report_.get(); }

    /// The operating system's error behind `errc::start_failed`, where a step of the start was
    /// refused; no error otherwise.
    [[nodiscard]] std::error_code system_code() const noexcept { return system_code_; }

private:
    std::shared_ptr<const std::string> text_;
    std::shared_ptr<const ExitReport> report_;
    std::error_code system_code_;
};

/// The handler threw: `cause()` is `errc::handler`. Carries what it threw across the process
/// boundary as values, since its type may not exist here.
///
/// An answer came, so `outcome_unknown()` is false, and `report()` is null: the worker lives. Only
/// after a `std::bad_alloc` it is replaced, when the calls that it has are done.
class RemoteError : public CallError {
public:
    /// Made by Tether, and by a user's own tests and stand-ins. `causes` must not be empty.
    RemoteError(std::string text, std::vector<RemoteCause> causes)
        : CallError(errc::handler, std::move(text)),
          causes_(std::make_shared<const std::vector<RemoteCause>>(std::move(causes))) {}

    /// The code that the handler gave, see `RemoteCause::code`. References that the members return
    /// are valid as long as a copy of this exception lives.
    [[nodiscard]] const std::string& remote_code() const noexcept { return causes_->front().code; }

    /// The message that the handler gave.
    [[nodiscard]] const std::string& message() const noexcept { return causes_->front().message; }

    /// The whole chain, the outermost exception first; never empty. A worker of this library sends
    /// up to 16.
    [[nodiscard]] const std::vector<RemoteCause>& causes() const noexcept { return *causes_; }

private:
    std::shared_ptr<const std::vector<RemoteCause>> causes_;
};

/// The error that a completion handler was given, without a rethrow in the user's own code. Null
/// where `error` is null, which is success, and where it is another exception than a `CallError`.
///
///     worker.async_call(Lint{"a.cpp"}, [](std::exception_ptr failure, Diagnostics result) {
///         if (const auto* error = tether::error_of(failure)) return report(error->what());
///         show(result);
///     });
///
/// A `RemoteError` is found by `dynamic_cast<const tether::RemoteError*>`. The result points into
/// the exception, so it is valid as long as `error` or a copy of it lives. Thread-safe. It costs a
/// throw, some microseconds.
[[nodiscard]] inline const CallError* error_of(const std::exception_ptr& error) noexcept {
#if defined(_MSC_VER)
#error "error_of() would return a dangling pointer here: use std::exception_ptr_cast of C++26"
#endif
    if (error == nullptr) return nullptr;
    // With the Itanium C++ ABI (GCC, Clang) a rethrow refers to the object that `error` owns, so
    // that object outlives the catch. With Microsoft's ABI a copy is thrown, which ends with it.
    try {
        std::rethrow_exception(error);
    } catch (const CallError& found) {
        return &found;
    } catch (...) {
        return nullptr;
    }
}

/// The result would dangle: name the `std::exception_ptr` first.
const CallError* error_of(const std::exception_ptr&& error) = delete;

/// Thrown by a handler to answer with an error that has a code of the program's own.
///
///     throw tether::HandlerError("no_file", "a file name is needed");
///
/// The caller gets a `RemoteError` with that code and message. Any other exception is carried too;
/// this one just gives the caller something to compare. The code "bad_alloc" means what it means
/// for a `std::bad_alloc`: the worker is replaced.
class HandlerError : public std::runtime_error {
public:
    /// Any code and any bytes, each cut after 1 MiB. What is over
    /// `WorkerOptions::max_message_bytes` together with the rest of the error is cut.
    HandlerError(std::string code, const std::string& message)
        : std::runtime_error(message),
          code_(std::make_shared<const std::string>(std::move(code))) {}

    /// The code that it was made with.
    [[nodiscard]] const std::string& code() const noexcept { return *code_; }

private:
    std::shared_ptr<const std::string> code_;
};

TETHER_NAMESPACE_END

/// Lets a code be compared with an `errc`.
template <>
struct std::is_error_condition_enum<tether::errc> : std::true_type {};
