#include <tether/detail/lifecycle.hpp>

#include <chrono>
#include <vector>

#include "support/catch.hpp"

namespace lifecycle_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using tether::Duration;
using tether::no_timeout;
using tether::RestartPolicy;
using tether::StopPolicy;
using Step = StopLadder::Step;

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

TEST_CASE("the first restart has no pause, the next ones double", "[F56]") {
    RestartBudget budget{{.budget = 10, .window = 60s, .initial_pause = 100ms, .max_pause = 700ms}};
    CHECK(budget.next_start() <= start);
    CHECK_FALSE(budget.spent(start));
    std::vector<Duration> pauses;
    for (int i = 0; i < 6; ++i) {
        budget.record_failure(start);
        pauses.push_back(budget.next_start() - start);
        CHECK_FALSE(budget.spent(start));
    }
    CHECK((pauses == std::vector<Duration>{0ms, 100ms, 200ms, 400ms, 700ms, 700ms}));
}

TEST_CASE("the budget is spent by one failure more, until the window has moved on", "[F56]") {
    RestartBudget budget{{.budget = 2, .window = 10s, .initial_pause = 1s, .max_pause = 5s}};
    budget.record_failure(start);
    budget.record_failure(start + 1s);
    CHECK_FALSE(budget.spent(start + 1s));
    budget.record_failure(start + 2s);
    CHECK(budget.spent(start + 2s));
    CHECK(budget.spent(start + 10s));
    CHECK_FALSE(budget.spent(start + 10s + 1ns));  // the first is older than the window
    CHECK(budget.failures() == 2u);
    budget.record_failure(start + 30s);
    CHECK_FALSE(budget.spent(start + 30s));
    CHECK(budget.failures() == 1u);
    CHECK(budget.next_start() == start + 30s);  // the first of its window: no pause
}

TEST_CASE("failures in a storm cost no memory, and the latest ones count", "[F56]") {
    RestartBudget budget{{.budget = 3, .window = 10s}};
    for (int i = 0; i < 10'000; ++i) {
        budget.record_failure(start + std::chrono::milliseconds{i});
        CHECK(budget.failures() <= 5u);
    }
    CHECK(budget.spent(start + 10s));
    CHECK(budget.spent(start + 19s));
    CHECK_FALSE(budget.spent(start + 20s));
}

TEST_CASE("a budget of none, and one that is forgotten") {
    RestartBudget none{{.budget = 0}};
    CHECK_FALSE(none.spent(start));
    none.record_failure(start);
    CHECK(none.spent(start));
    none.reset();
    CHECK_FALSE(none.spent(start));
    CHECK(none.failures() == 0u);
    CHECK(none.next_start() <= start);
}

TEST_CASE("extreme restart policies do not overflow", "[F42]") {
    RestartBudget budget{
        {.budget = 200, .window = no_timeout, .initial_pause = 100ms, .max_pause = no_timeout}};
    auto previous = Duration::zero();
    for (int i = 0; i < 150; ++i) {
        budget.record_failure(start);
        const auto pause = budget.next_start() - start;
        if (pause < previous) FAIL("shorter after " << i);
        previous = pause;
    }
    CHECK(budget.next_start() == TimePoint::max());

    RestartBudget negative{{.budget = 200, .initial_pause = -1s, .max_pause = -5s}};
    for (int i = 0; i < 150; ++i) negative.record_failure(start);
    CHECK(negative.next_start() == start);
}

TEST_CASE("the ladder takes each step once, when it is time") {
    StopLadder ladder{{.drain = 1s, .terminate = 500ms}, Step::ask};
    CHECK(ladder.advance(start) == Step::ask);
    CHECK(ladder.deadline() == start + 1s);
    CHECK(ladder.advance(start) == Step::none);
    CHECK(ladder.advance(start + 999ms) == Step::none);
    CHECK(ladder.advance(start + 1s) == Step::terminate);
    CHECK(ladder.deadline() == start + 1500ms);
    CHECK(ladder.advance(start + 1200ms) == Step::none);
    CHECK(ladder.advance(start + 1500ms) == Step::kill);
    CHECK(ladder.deadline() == start + 11500ms);
    CHECK(ladder.advance(start + 11500ms) == Step::cut);
    CHECK(ladder.deadline() == start + 14500ms);
    CHECK(ladder.advance(start + 14500ms) == Step::give_up);
    CHECK(ladder.deadline() == TimePoint::max());
    CHECK(ladder.advance(start + 24h) == Step::none);
}

TEST_CASE("a step that is refused makes the next due at once", "[F91]") {
    StopLadder ladder{{.drain = 1s, .terminate = 500ms}, Step::terminate};
    CHECK(ladder.advance(start) == Step::terminate);
    ladder.refused();
    CHECK(ladder.advance(start) == Step::kill);
    ladder.refused();
    CHECK(ladder.advance(start) == Step::cut);
    CHECK(ladder.advance(start) == Step::none);
    CHECK(ladder.advance(start + 3s) == Step::give_up);
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

TEST_CASE("a late look takes one step, and its time counts from then") {
    StopLadder ladder{{.drain = 1s, .terminate = 500ms}, Step::ask};
    CHECK(ladder.advance(start) == Step::ask);
    CHECK(ladder.advance(start + 100s) == Step::terminate);
    CHECK(ladder.deadline() == start + 100s + 500ms);
}

TEST_CASE("zero skips a step") {
    StopLadder ladder{{.drain = 0s, .terminate = 0s}, Step::ask};
    std::vector<Step> steps;
    for (int i = 0; i < 4; ++i) steps.push_back(ladder.advance(start));
    CHECK((steps == std::vector{Step::ask, Step::terminate, Step::kill, Step::none}));
}

TEST_CASE("the ladder may begin anywhere, and may wait for ever") {
    StopLadder kill{{}, Step::kill};
    CHECK(kill.advance(start) == Step::kill);
    CHECK(kill.advance(start + 1h) == Step::cut);
    StopLadder patient{{.drain = no_timeout, .terminate = 0s}, Step::ask};
    CHECK(patient.advance(start) == Step::ask);
    CHECK(patient.deadline() == TimePoint::max());
    CHECK(patient.advance(start + 24h * 365 * 100) == Step::none);
}

TEST_CASE("hurrying skips the friendly steps, once") {
    StopLadder before{{}, Step::ask};
    before.hurry();
    CHECK(before.deadline() <= start);
    CHECK(before.advance(start) == Step::kill);
    before.hurry();
    CHECK(before.advance(start) == Step::none);
    CHECK(before.deadline() == start + StopLadder::kill_patience);

    StopLadder within{{.drain = no_timeout, .terminate = no_timeout}, Step::ask};
    CHECK(within.advance(start) == Step::ask);
    within.hurry();
    CHECK(within.advance(start) == Step::kill);
    CHECK(within.advance(start) == Step::none);
}

}  // namespace lifecycle_test
