#include <tether/detail/pool/upkeep.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace upkeep_test {

using namespace std::chrono_literals;
using tether::detail::Recycled;
using tether::detail::TimePoint;
using tether::detail::Upkeep;

const TimePoint start = TimePoint{} + 1h;

TEST_CASE("a worker is replaced after so many calls, once it has none") {
    Upkeep upkeep{2, {.requests = 2}};
    CHECK_FALSE(upkeep.replace(0));
    for (int round = 1; round <= 3; ++round) {
        upkeep.take(0);
        CHECK(upkeep.is_open(0));
        upkeep.take(0);
        CHECK_FALSE(upkeep.is_open(0));
        CHECK(upkeep.is_open(1));
        CHECK(upkeep.replace(0));
        CHECK_FALSE(upkeep.replace(0));
        CHECK(upkeep.is_open(0));
    }
    CHECK(upkeep.recycled(Recycled::used_up) == 3);
}

TEST_CASE("the first reason to replace a worker counts") {
    Upkeep upkeep{1, {.requests = 1}};
    upkeep.outdate(0, Recycled::restart);
    upkeep.take(0);
    CHECK(upkeep.replace(0));
    CHECK(upkeep.recycled(Recycled::restart) == 1);
    CHECK(upkeep.recycled(Recycled::used_up) == 0);
}

TEST_CASE("a worker that cannot be started rests, longer each time, until it answers") {
    Upkeep upkeep{2, {}};
    auto now = start;
    for (const auto pause : {1s, 2s, 4s, 8s, 16s, 32s, 32s}) {
        upkeep.rest(0, now);
        upkeep.rest(0, now);  // another call of the same failure
        CHECK_FALSE(upkeep.is_open(0));
        CHECK(upkeep.next_wake() == now + pause);
        CHECK_FALSE(upkeep.wake(now + pause - 1ms));
        now += pause;
        CHECK(upkeep.wake(now));
        CHECK(upkeep.is_open(0));
        CHECK(upkeep.next_wake() == TimePoint::max());
    }
    upkeep.answered(0);
    upkeep.rest(0, now);
    CHECK(upkeep.next_wake() == now + 1s);
    upkeep.forget_failures(0);
    CHECK(upkeep.is_open(0));
}

TEST_CASE("another worker works as long as one does not rest") {
    Upkeep upkeep{3, {}};
    CHECK(upkeep.another_works(0));
    upkeep.rest(1, start);
    CHECK(upkeep.another_works(0));
    upkeep.rest(2, start);
    CHECK_FALSE(upkeep.another_works(0));
    CHECK(upkeep.another_works(1));
    const Upkeep alone{1, {}};
    CHECK_FALSE(alone.another_works(0));
}

TEST_CASE("a worker that rests and is to be replaced is open when both are over") {
    Upkeep upkeep{2, {}};
    upkeep.rest(0, start);
    upkeep.outdate(0, Recycled::restart);
    CHECK(upkeep.replace(0));
    CHECK_FALSE(upkeep.is_open(0));
    CHECK(upkeep.wake(start + 1s));
    CHECK(upkeep.is_open(0));
}

}  // namespace upkeep_test
