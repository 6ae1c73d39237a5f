#include <tether/detail/parent/restart_budget.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace restart_budget_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using tether::Duration;
using tether::no_timeout;
using tether::RestartPolicy;

constexpr TimePoint start{1'000'000s};

}  // namespace

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

}  // namespace restart_budget_test
