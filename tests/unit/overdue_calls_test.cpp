#include <tether/detail/overdue_calls.hpp>

#include <chrono>
#include <set>

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
    auto due = calls.take_due(start + 1s, 3s);
    REQUIRE(due.size() == 1);
    CHECK(due[0].number == 9);
    CHECK(calls.next_look() == start + 2s);
    due = calls.take_due(start + 4s, 3s);
    CHECK(due.size() == 2);
    CHECK(calls.next_look() == start + 7s);
}

TEST_CASE("overdue calls that were answered are forgotten") {
    OverdueCalls calls;
    for (std::uint64_t number = 1; number <= 4; ++number) calls.add({number, "x", {}, {}});
    const std::set<std::uint64_t> unanswered{2, 3};
    calls.tidy([&](std::uint64_t number) { return unanswered.contains(number); });
    CHECK(calls.find(1) == nullptr);
    REQUIRE(calls.find(2) != nullptr);
    CHECK(calls.find(2)->request == "x");
    CHECK(calls.take_due({}, 1s).size() == 2);
}

}  // namespace overdue_calls_test
