#include <tether/detail/pool/placement.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "support/catch.hpp"

namespace placement_test {

using namespace std::chrono_literals;
using tether::detail::Placement;
using tether::detail::TimePoint;

const TimePoint start{};

// "3@1" for call 3 at worker 1; "" for nothing.
std::string next(Placement& placement, TimePoint now = start) {
    const auto grant = placement.next(now);
    return grant ? std::to_string(grant->call) + "@" + std::to_string(grant->worker) : "";
}

TEST_CASE("the worker with the least to do is next") {
    Placement placement{2, 2, 10s};
    for (std::uint64_t call = 1; call <= 5; ++call) placement.add(call, {}, start);
    CHECK(next(placement) == "1@0");
    CHECK(next(placement) == "2@1");
    CHECK(next(placement) == "3@0");
    CHECK(next(placement) == "4@1");
    CHECK(next(placement).empty());
    CHECK(placement.waiting() == 1);
    placement.release(1);
    CHECK(next(placement) == "5@1");
    placement.release(1);
    placement.release(1);
    placement.add(6, {}, start);
    CHECK(next(placement) == "6@1");
    CHECK(placement.used(0) == 2);
    CHECK(placement.used(1) == 1);
}

TEST_CASE("a hung worker gets no more than it has seats") {
    Placement placement{2, 1, 10s};
    placement.add(1, {}, start);
    CHECK(next(placement) == "1@0");
    for (std::uint64_t call = 2; call <= 100; ++call) {
        placement.add(call, {}, start);
        CHECK(next(placement) == std::to_string(call) + "@1");
        placement.release(1);
    }
}

TEST_CASE("what waits is placed in the order in which it came, and by priority") {
    Placement placement{1, 1, 10s};
    placement.add(1, {}, start);
    CHECK(next(placement) == "1@0");
    placement.add(2, {}, start);
    placement.add(3, {.priority = 1}, start + 1s);
    placement.add(4, {.priority = -1}, start);
    placement.add(5, {}, start);
    std::string order;
    for (int i = 0; i < 4; ++i) {
        placement.release(0);
        order += next(placement) + " ";
    }
    CHECK(order == "3@0 2@0 5@0 4@0 ");
}

TEST_CASE("a low priority is not starved") {
    Placement placement{1, 1, 10s};
    placement.add(1, {.priority = -1}, start);
    int before = 0;
    for (std::uint64_t call = 2;; ++call) {
        const auto now = start + (call - 1) * 1s;
        placement.add(call, {.priority = 0}, now);
        if (next(placement, now) == "1@0") break;
        placement.release(0);
        REQUIRE(++before < 20);
    }
    CHECK(before == 9);
}

TEST_CASE("the same key goes to the same worker, and others elsewhere") {
    Placement placement{4, 1, 10s};
    std::map<std::uint64_t, std::size_t> homes;
    std::uint64_t call = 0;
    for (int round = 0; round < 3; ++round) {
        for (std::uint64_t key = 1; key <= 50; ++key) {
            placement.add(++call, {.affinity = key}, start);
            const auto grant = placement.next(start);
            REQUIRE(grant);
            placement.release(grant->worker);
            CHECK(homes.emplace(key, grant->worker).first->second == grant->worker);
        }
    }
    std::set<std::size_t> used;
    for (const auto& [key, home] : homes) used.insert(home);
    CHECK(used.size() == 4);
}

TEST_CASE("more workers take keys over, and leave all others where they are") {
    const Placement few{4, 1, 10s};
    const Placement more{5, 1, 10s};
    int moved = 0;
    for (std::uint64_t key = 1; key <= 1000; ++key) {
        if (few.home_of(key) == more.home_of(key)) continue;
        CHECK(more.home_of(key) == 4);
        ++moved;
    }
    CHECK(moved > 100);
    CHECK(moved < 300);
}

TEST_CASE("a call waits for its own worker for a while, then another takes it") {
    Placement placement{2, 1, 10s};
    const std::uint64_t key = 7;
    const auto home = placement.home_of(key);
    const auto other = std::to_string(1 - home);
    placement.add(1, {.affinity = key}, start);
    CHECK(next(placement) == "1@" + std::to_string(home));
    placement.add(2, {.affinity = key}, start + 10ms);
    CHECK(next(placement, start + 10ms).empty());
    CHECK(placement.next_look(start + 10ms) == start + 10ms + Placement::steal_after);
    placement.add(3, {}, start + 20ms);
    CHECK(next(placement, start + 20ms) == "3@" + other);
    CHECK(placement.next_look(start + 20ms) == TimePoint::max());  // nobody has room
    placement.release(1 - home);
    const auto then = placement.next_look(start + 30ms);
    CHECK(next(placement, then) == "2@" + other);
    CHECK(placement.next_look(then) == TimePoint::max());
}

TEST_CASE("others help a worker with a long line at once") {
    Placement placement{2, 1, 10s};
    const std::uint64_t key = 7;
    const auto home = placement.home_of(key);
    placement.add(1, {.affinity = key}, start);
    CHECK(next(placement) == "1@" + std::to_string(home));
    for (std::uint64_t call = 2; call < 2 + Placement::long_line; ++call) {
        placement.add(call, {.affinity = key}, start);
        CHECK(next(placement).empty());
    }
    placement.add(100, {.affinity = key}, start);
    CHECK(next(placement) == "2@" + std::to_string(1 - home));
    CHECK(next(placement).empty());
}

TEST_CASE("a worker whose handler may go on is given calls only where all are such") {
    Placement placement{2, 1, 10s};
    placement.doubt(0, start + 3s);
    CHECK(placement.least_loaded(start) == 1);
    placement.add(1, {}, start);
    CHECK(next(placement) == "1@1");
    placement.add(2, {}, start);
    CHECK(next(placement).empty());
    CHECK(placement.next_look(start) == start + 3s);
    CHECK(next(placement, start + 3s) == "2@0");
    placement.release(0);
    placement.release(1);
    placement.doubt(0, start + 6s);
    placement.doubt(1, start + 7s);
    placement.add(3, {}, start);
    CHECK(next(placement, start + 4s) == "3@0");
    placement.trust(0);
    placement.release(0);
    placement.add(4, {}, start);
    CHECK(next(placement, start + 4s) == "4@0");
}

TEST_CASE("a closed worker is given nothing, and what wants it goes elsewhere in time") {
    Placement placement{2, 1, 10s};
    placement.set_open(0, false);
    placement.add(1, {}, start);
    placement.add(2, {}, start);
    CHECK(next(placement) == "1@1");
    CHECK(next(placement).empty());
    placement.set_open(0, true);
    CHECK(next(placement) == "2@0");
    placement.release(1);
    std::uint64_t key = 1;
    while (placement.home_of(key) != 0) ++key;
    placement.set_open(0, false);
    placement.add(3, {.affinity = key}, start);
    CHECK(next(placement).empty());
    CHECK(next(placement, start + Placement::steal_after) == "3@1");
}

TEST_CASE("what is withdrawn is not placed") {
    Placement placement{1, 1, 10s};
    placement.add(1, {}, start);
    placement.add(2, {.affinity = 5}, start);
    CHECK(placement.withdraw(1));
    CHECK_FALSE(placement.withdraw(1));
    CHECK(next(placement) == "2@0");
    CHECK_FALSE(placement.withdraw(2));
    CHECK(placement.waiting() == 0);
}

}  // namespace placement_test
