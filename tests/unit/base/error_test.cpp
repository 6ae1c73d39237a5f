#include <tether/detail/base/error_category.hpp>
#include <tether/error.hpp>

#include <array>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"

namespace error_test {

using tether::CallError;
using tether::errc;
using tether::HandlerError;
using tether::RemoteError;
using tether_test::contains;

static_assert(std::is_nothrow_copy_constructible_v<CallError>);
static_assert(std::is_nothrow_copy_assignable_v<CallError>);
static_assert(std::is_nothrow_copy_constructible_v<RemoteError>);
static_assert(std::is_nothrow_copy_constructible_v<HandlerError>);
static_assert(std::is_base_of_v<std::system_error, CallError>);
static_assert(std::is_base_of_v<CallError, RemoteError>);
static_assert(std::is_base_of_v<std::runtime_error, HandlerError>);
static_assert(std::is_error_condition_enum_v<errc>);
static_assert(!std::is_error_code_enum_v<errc>);
static_assert(noexcept(tether::error_category()));
static_assert(noexcept(make_error_code(errc::timeout)));

namespace {

constexpr std::array all{errc::timeout,
                         errc::cancelled,
                         errc::start_failed,
                         errc::start_timeout,
                         errc::protocol_mismatch,
                         errc::hook_missing,
                         errc::worker_exited,
                         errc::worker_killed,
                         errc::worker_stuck,
                         errc::outcome_unknown,
                         errc::restart_budget_spent,
                         errc::framing,
                         errc::message_too_large,
                         errc::codec,
                         errc::handler,
                         errc::queue_full,
                         errc::would_deadlock,
                         errc::stopped,
                         errc::forked};

std::error_code unknown(errc cause) {
    return {static_cast<int>(cause) | tether::detail::outcome_unknown_bit,
            tether::error_category()};
}

}  // namespace

TEST_CASE("a code equals its cause and no other") {
    for (const auto cause : all) {
        const auto code = make_error_code(cause);
        CHECK(code);
        CHECK(&code.category() == &tether::error_category());
        for (const auto other : all) CHECK((code == other) == (cause == other));
        for (const auto other : all) CHECK((other == code) == (cause == other));
    }
    CHECK(tether::error_category().name() == std::string{"tether"});
}

TEST_CASE("the outcome may be unknown besides the cause", "[F59]") {
    for (const auto cause : all) {
        const auto code = unknown(cause);
        CHECK(code == cause);
        CHECK(code == errc::outcome_unknown);
        for (const auto other : all) {
            if (other == cause || other == errc::outcome_unknown) continue;
            CHECK(code != other);
        }
        if (cause != errc::outcome_unknown) CHECK(make_error_code(cause) != errc::outcome_unknown);
        CHECK(contains(code.message(), "may have taken effect"));
        CHECK_FALSE(contains(make_error_code(cause).message(), "may have taken effect"));
    }
}

TEST_CASE("an error tells its one cause, and whether its outcome is unknown", "[F59]") {
    for (const auto cause : all) {
        const CallError known{cause, "text"};
        CHECK(known.cause() == cause);
        CHECK(known.outcome_unknown() == (cause == errc::outcome_unknown));
        const CallError open{unknown(cause), "text"};
        CHECK(open.cause() == cause);
        CHECK(open.outcome_unknown());
    }
    const RemoteError remote{"text", {{"code", "message"}}};
    CHECK(remote.cause() == errc::handler);
    CHECK_FALSE(remote.outcome_unknown());
}

namespace {

/// What a user writes: no default, so that the compiler tells of a cause that is missing.
const char* advice(errc cause) {
    switch (cause) {
        case errc::timeout:
        case errc::start_timeout:
            return "be patient";
        case errc::cancelled:
        case errc::stopped:
            return "as you wish";
        case errc::worker_exited:
        case errc::worker_killed:
        case errc::worker_stuck:
            return "see the report";
        case errc::start_failed:
        case errc::protocol_mismatch:
        case errc::hook_missing:
        case errc::outcome_unknown:
        case errc::restart_budget_spent:
        case errc::framing:
        case errc::message_too_large:
        case errc::codec:
        case errc::handler:
        case errc::queue_full:
        case errc::would_deadlock:
        case errc::forked:
            return "mend it";
    }
    return "none";
}

}  // namespace

TEST_CASE("a cause is fit for a switch") {
    CHECK(advice(CallError{unknown(errc::worker_killed), ""}.cause()) ==
          std::string{"see the report"});
    for (const auto cause : all) CHECK(advice(CallError{cause, ""}.cause()) != std::string{"none"});
}

TEST_CASE("the error within an exception_ptr is found without a rethrow by the user") {
    static_assert(noexcept(tether::error_of(std::declval<const std::exception_ptr&>())));
    const std::exception_ptr success;
    CHECK(tether::error_of(success) == nullptr);
    const auto other = std::make_exception_ptr(std::runtime_error{"another"});
    CHECK(tether::error_of(other) == nullptr);
    const auto number = std::make_exception_ptr(7);
    CHECK(tether::error_of(number) == nullptr);

    for (const auto cause : all) {
        const auto failure = std::make_exception_ptr(CallError{unknown(cause), "text"});
        const auto* const error = tether::error_of(failure);
        REQUIRE(error != nullptr);
        CHECK(error->cause() == cause);
        CHECK(error->outcome_unknown());
    }
}

TEST_CASE("the error found is the exception's own, and lives as long as that") {
    const CallError* error = nullptr;
    std::exception_ptr copy;
    {
        const auto failure = std::make_exception_ptr(RemoteError{"text", {{"code", "message"}}});
        error = tether::error_of(failure);
        copy = failure;
    }
    REQUIRE(error != nullptr);
    CHECK(tether::error_of(copy) == error);
    CHECK(error->what() == std::string{"text"});
    const auto* const remote = dynamic_cast<const RemoteError*>(error);
    REQUIRE(remote != nullptr);
    CHECK(remote->remote_code() == "code");
    try {
        std::rethrow_exception(copy);
    } catch (const CallError& caught) {
        CHECK(&caught == error);
    }
}

TEST_CASE("codes equal the portable condition that fits") {
    const std::vector<std::pair<errc, std::errc>> portable{
        {errc::timeout, std::errc::timed_out},
        {errc::start_timeout, std::errc::timed_out},
        {errc::cancelled, std::errc::operation_canceled},
        {errc::message_too_large, std::errc::message_size},
        {errc::framing, std::errc::protocol_error},
        {errc::would_deadlock, std::errc::resource_deadlock_would_occur},
        {errc::queue_full, std::errc::resource_unavailable_try_again}};
    for (const auto& [cause, condition] : portable) {
        CHECK(make_error_code(cause) == condition);
        CHECK(unknown(cause) == condition);
        CHECK(make_error_code(cause).default_error_condition() == condition);
    }
    CHECK(make_error_code(errc::timeout) != std::errc::operation_canceled);
    CHECK(make_error_code(errc::handler) != std::errc::timed_out);
    CHECK(unknown(errc::worker_killed).default_error_condition() == errc::worker_killed);
    // A number in another category is no Tether error, and the other way round.
    CHECK(std::error_code{1, std::generic_category()} != errc::timeout);
    CHECK(make_error_code(errc::timeout) != std::error_condition{1, std::generic_category()});
}

TEST_CASE("each cause has a message of its own", "[F77]") {
    for (const auto cause : all) {
        const auto message = make_error_code(cause).message();
        CHECK_FALSE(message.empty());
        CHECK(message != "unknown error");
        for (const auto other : all) {
            if (other != cause) CHECK(make_error_code(other).message() != message);
        }
    }
    CHECK((std::error_code{200, tether::error_category()}.message() == "unknown error"));
    CHECK((std::error_code{0, tether::error_category()}.message() == "unknown error"));
}

TEST_CASE("a call error carries its evidence") {
    auto report = std::make_shared<tether::ExitReport>();
    report->pid = 4711;
    const CallError plain{errc::timeout, "a sentence"};
    CHECK(plain.what() == std::string{"a sentence"});
    CHECK(plain.code() == errc::timeout);
    CHECK(plain.report() == nullptr);
    CHECK_FALSE(plain.system_code());

    const auto system = std::make_error_code(std::errc::no_such_file_or_directory);
    std::exception_ptr kept;
    {
        const CallError full{unknown(errc::worker_killed), std::string(1000, 'x'), report, system};
        kept = std::make_exception_ptr(full);
    }
    report.reset();
    try {
        std::rethrow_exception(kept);
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::worker_killed);
        CHECK(error.code() == errc::outcome_unknown);
        const auto& call_error = dynamic_cast<const CallError&>(error);
        REQUIRE(call_error.report() != nullptr);
        CHECK(call_error.report()->pid == 4711);
        CHECK(call_error.system_code() == std::errc::no_such_file_or_directory);
        CHECK(call_error.what() == std::string(1000, 'x'));
    }
}

TEST_CASE("a remote error carries the whole chain", "[F80]") {
    const RemoteError error{"text", {{"outer", "first"}, {"inner", "second"}}};
    CHECK(error.code() == errc::handler);
    CHECK(error.remote_code() == "outer");
    CHECK(error.message() == "first");
    REQUIRE(error.causes().size() == 2);
    CHECK(error.causes()[1].code == "inner");
    CHECK(error.what() == std::string{"text"});

    const auto copy = error;
    CHECK(&copy.causes() == &error.causes());
    try {
        throw error;
    } catch (const CallError& base) {
        CHECK(base.code() == errc::handler);
    }
}

TEST_CASE("a handler error has a code and a message") {
    const HandlerError error{"no_file", "a file name is needed"};
    CHECK(error.code() == "no_file");
    CHECK(error.what() == std::string{"a file name is needed"});
    const HandlerError copy{error};
    CHECK(copy.code() == "no_file");
}

}  // namespace error_test
