#include <tether/detail/overdue_calls.hpp>

#include <chrono>
#include <cstdint>

#include "support/catch.hpp"

namespace overdue_calls_test {

using namespace std::chrono_literals;
using tether::detail::OverdueCalls;
using tether::detail::TimePoint;

TEST_CASE("overdue calls come up when they are due, again and again", "[F40]") {
    const TimePoint start{};
    OverdueCalls calls;
    CHECK(calls.next_look() == TimePoint::max());
    calls.add({7, "slow", start, start + 2s});
    calls.add({9, "stopped", start, start});
    CHECK(calls.next_look() == start);
    auto due = calls.take_due(start + 1s);
    REQUIRE(due.size() == 1);
    CHECK(due[0].number == 9);
    CHECK(calls.next_look() == start + 2s);
    due[0].look = start + 4s;
    calls.add(due[0]);
    due = calls.take_due(start + 4s);
    CHECK(due.size() == 2);
    CHECK(due[1].expired == start);
    CHECK(calls.next_look() == TimePoint::max());
}

TEST_CASE("an overdue call can be found and forgotten") {
    OverdueCalls calls;
    for (std::uint64_t number = 1; number <= 3; ++number) calls.add({number, "x", {}, {}});
    calls.forget(2);
    CHECK_FALSE(calls.find(2));
    REQUIRE(calls.find(3));
    CHECK(calls.find(3)->request == "x");
    CHECK(calls.take_due({}).size() == 2);
}

}  // namespace overdue_calls_test
