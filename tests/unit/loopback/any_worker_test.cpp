// One type for every kind of worker, over one without a process.
#include <tether/any_worker.hpp>
#include <tether/loopback_worker.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/use_future.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "support/catch.hpp"
#include "unit/loopback/loopback_support.hpp"

namespace any_worker_test {

namespace {

using namespace loopback_test;
using namespace std::chrono_literals;
using tether::CallError;
using tether::errc;
using Any = tether::AnyWorker<TestProtocol>;
using OtherProtocol = ProtocolWith<tether::JsonCodec>;

static_assert(std::is_convertible_v<Worker&, Any>);
static_assert(std::is_copy_constructible_v<Any>);
static_assert(std::is_copy_assignable_v<Any>);
static_assert(!std::is_constructible_v<Any, Worker>);  // a temporary would be gone at once
static_assert(!std::is_constructible_v<tether::AnyWorker<OtherProtocol>, Worker&>);
static_assert(!std::is_constructible_v<Any, int&>);

// No template: as a user's would be in a source file of its own.
int count_twice(const Any& worker) { return worker.call(Count{}) + worker.call(Count{}); }

errc cause_of_call(const Any& worker) {
    try {
        worker.call(Count{});
    } catch (const CallError& error) {
        return error.cause();
    }
    return {};
}

}  // namespace

TEST_CASE("code that takes any worker takes one without a process") {
    Worker worker;
    CHECK(count_twice(worker) == 3);
    tether::AnyWorker any{worker};
    static_assert(std::is_same_v<decltype(any), Any>);
    const auto copy = any;
    CHECK(copy.call(Echo{"hello"}) == "hello");
    CHECK(any.call(Reverse{tether::Bytes{"abc"}}, {.timeout = 30s}).view() == "cba");
    CHECK_THROWS_AS(any.call(Fail{"handler"}), tether::RemoteError);
    CHECK(any.get_executor() == worker.get_executor());
}

TEST_CASE("async calls by any worker complete where the worker's own do") {
    asio::io_context context;
    Worker worker{context};
    const Any any{worker};
    int completions = 0;
    any.async_call(Echo{"hello"}, [&](std::exception_ptr error, const std::string& text) {
        CHECK(tether::error_of(error) == nullptr);
        CHECK(text == "hello");
        ++completions;
    });
    any.async_call(Fail{"handler"}, {.timeout = 30s}, [&](std::exception_ptr error) {
        const auto* const found = tether::error_of(error);
        REQUIRE(found != nullptr);
        CHECK(found->cause() == errc::handler);
        ++completions;
    });
    CHECK(completions == 0);
    context.run();
    CHECK(completions == 2);
}

TEST_CASE("calls by any worker are cancelled as those of the worker") {
    stage().reset();
    asio::io_context context;
    Worker worker{context};
    const Any any{worker};
    asio::cancellation_signal signal;
    errc cause{};
    any.async_call(Wait{},
                   asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error, bool) {
                       const auto* const found = tether::error_of(error);
                       if (found != nullptr) cause = found->cause();
                   }));
    REQUIRE(stage().entered.wait_for(1));
    signal.emit(asio::cancellation_type::terminal);
    context.run();
    CHECK(cause == errc::cancelled);
}

TEST_CASE("a reference follows a worker that is moved, and outlives one that is destroyed") {
    std::optional<Worker> first{std::in_place};
    const Any any{*first};
    CHECK(any.call(Count{}) == 1);
    std::optional<Worker> second{std::move(*first)};
    first.reset();
    CHECK(any.call(Count{}) == 2);
    second.reset();
    CHECK(cause_of_call(any) == errc::stopped);
}

}  // namespace any_worker_test
