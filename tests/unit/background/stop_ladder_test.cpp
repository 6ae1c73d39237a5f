#include <tether/detail/background/stop_ladder.hpp>

#include <chrono>
#include <vector>

#include "support/catch.hpp"

namespace stop_ladder_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using tether::Duration;
using tether::no_timeout;
using tether::StopPolicy;
using Step = StopLadder::Step;

constexpr TimePoint start{1'000'000s};

}  // namespace

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

}  // namespace stop_ladder_test
