#include <tether/detail/base/clock.hpp>
#include <tether/options.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace clock_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using tether::Duration;
using tether::no_timeout;

constexpr TimePoint start{1'000'000s};

}  // namespace

TEST_CASE("a deadline neither wraps nor lies in the past", "[F42]") {
    CHECK(deadline_after(start, 5s) == start + 5s);
    CHECK(deadline_after(start, Duration::zero()) == start);
    CHECK(deadline_after(start, -5s) == start);
    CHECK(deadline_after(start, Duration::min()) == start);
    CHECK(deadline_after(start, no_timeout) == TimePoint::max());
    CHECK(deadline_after(start, no_timeout - 1ns) == TimePoint::max());
    CHECK(deadline_after(start, 24h * 365) == start + 24h * 365);
    CHECK(deadline_after(start, 24h * 365 * 200) == start + 24h * 365 * 200);
    CHECK(deadline_after(TimePoint::max(), 5s) == TimePoint::max());
    CHECK(deadline_after(TimePoint::max(), 0s) == TimePoint::max());
}

TEST_CASE("a multiple does not wrap", "[F95]") {
    CHECK((times(6, 10s) == 60s));
    CHECK((times(6, no_timeout) == no_timeout));
    CHECK((times(2, no_timeout / 2 + 1ns) == no_timeout));
    CHECK((times(2, -5s) == -10s));
}

TEST_CASE("a wait goes on though the clock stands still", "[F103]") {
    // The time that a wait sees grows by what the kernel's timeouts took, and by each look.
    tether::detail::WaitClock clock;
    const auto begin = clock.now();
    clock.slept(10s);  // the clock has not moved by that much
    CHECK(clock.now() >= begin + 10s);
    CHECK(clock.now() < begin + 11s);
    clock.slept(10s);
    CHECK(clock.now() >= begin + 20s);
}

}  // namespace clock_test
