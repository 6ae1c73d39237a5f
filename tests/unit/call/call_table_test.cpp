#include <tether/detail/call/call_table.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "support/catch.hpp"

namespace call_table_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;

struct Call {
    int id = 0;
};

constexpr TimePoint epoch{1'000'000s};

}  // namespace

TEST_CASE("numbers are 1, 2, 3, and never come again") {
    CallTable<Call> table;
    Call call;
    CHECK(table.find(0) == nullptr);
    CHECK(table.find(1) == nullptr);
    for (std::uint64_t expected = 1; expected <= 100; ++expected) {
        CHECK(table.add(call) == expected);
        CHECK(table.find(expected) == &call);
        table.remove(expected);
        CHECK(table.find(expected) == nullptr);
    }
    table.clear();
    CHECK(table.add(call) == 101u);
}

TEST_CASE("an answer that nobody waits for any more is told apart", "[F16]") {
    CallTable<Call> table;
    Call call;
    const auto given_up = table.add(call);
    const auto answered = table.add(call);
    const auto pending = table.add(call);
    table.abandon(given_up);
    table.remove(answered);
    CHECK(table.size() == 1u);
    CHECK(table.abandoned() == 1u);

    CHECK(table.find(given_up) == nullptr);
    CHECK(table.forget(given_up));
    CHECK_FALSE(table.forget(given_up));  // an answer that came twice
    CHECK_FALSE(table.forget(answered));
    CHECK_FALSE(table.forget(pending));
    CHECK_FALSE(table.forget(9999));
    CHECK(table.find(pending) == &call);

    table.abandon(pending);
    table.clear();
    CHECK(table.size() == 0u);
    CHECK_FALSE(table.forget(pending));
}

TEST_CASE("removing what is not there changes nothing") {
    CallTable<Call> table;
    table.remove(1);
    Call call;
    const auto number = table.add(call);
    table.remove(number + 1);
    table.remove(0);
    CHECK(table.size() == 1u);
    table.remove(number);
    table.remove(number);
    CHECK(table.size() == 0u);
}

// With a walk through the others for each this would take hours, not a second.
TEST_CASE("a million pending calls are settled, the oldest first") {
    CallTable<Call> table;
    Call call;
    constexpr std::uint64_t count = 1'000'000;
    while (table.add(call) != count) {
    }
    for (std::uint64_t number = 1; number <= count; ++number) {
        table.remove(number);
        if (table.add(call) != count + number) FAIL("the next number");
    }
    CHECK(table.size() == count);
    CHECK(table.find(count) == nullptr);
    CHECK(table.find(count + 1) == &call);
}

TEST_CASE("a call table behaves as a map does") {
    const auto seed = GENERATE(range(0U, 12U));
    std::minstd_rand random{seed * 17 + 1};
    CallTable<Call> table;
    std::map<std::uint64_t, Call*> pending;
    std::set<std::uint64_t> abandoned;
    std::vector<std::unique_ptr<Call>> calls;
    std::uint64_t last = 0;
    // Phases of growth and shrinkage; some calls stay for ever, so that numbers collide.
    for (int step = 0; step < 4000; ++step) {
        const bool growing = (step / 500) % 2 == 0;
        const auto dice = random() % 100;
        const auto some = [&]() -> std::uint64_t {
            if (pending.empty() || random() % 10 == 0) return random() % (last + 3);
            return std::next(pending.begin(),
                             static_cast<std::ptrdiff_t>(random() %
                                                         std::min<std::size_t>(pending.size(), 40)))
                ->first;
        };
        if (dice < (growing ? 60U : 25U)) {
            calls.push_back(std::make_unique<Call>());
            ++last;
            if (table.add(*calls.back()) != last) FAIL("number at step " << step);
            pending[last] = calls.back().get();
        } else if (dice < 80) {
            const auto number = some();
            table.remove(number);
            pending.erase(number);
        } else if (dice < 90) {
            const auto number = some();
            if (pending.erase(number) != 0) {
                table.abandon(number);
                abandoned.insert(number);
            }
        } else if (dice < 99) {
            const auto number =
                abandoned.empty() ? some() : (random() % 2 != 0 ? *abandoned.begin() : some());
            if (table.forget(number) != (abandoned.erase(number) != 0)) FAIL("forget");
        } else if (random() % 20 == 0) {
            table.clear();
            pending.clear();
            abandoned.clear();
        }
        const auto probe = random() % (last + 3);
        const auto found = pending.find(probe);
        if (table.find(probe) != (found == pending.end() ? nullptr : found->second)) {
            FAIL("find " << probe << " at step " << step);
        }
        if (table.size() != pending.size()) FAIL("size at step " << step);
        if (table.abandoned() != abandoned.size()) FAIL("abandoned at step " << step);
        if (step % 97 == 0) {
            std::vector<Call*> expected;
            for (const auto& [number, call] : pending) {
                if (table.find(number) != call) FAIL("lost " << number << " at step " << step);
                expected.push_back(call);
            }
            if (table.calls() != expected) FAIL("calls at step " << step);
        }
    }
}

TEST_CASE("one call that stays does not slow the others down") {
    // Numbers wrap around the table while an old one keeps its slot.
    CallTable<Call> table;
    Call old;
    Call call;
    const auto first = table.add(old);
    for (int i = 0; i < 100'000; ++i) table.remove(table.add(call));
    CHECK(table.find(first) == &old);
    CHECK((table.calls() == std::vector<Call*>{&old}));
}

TEST_CASE("deadlines come in order") {
    Deadlines deadlines;
    const auto all = [](std::uint64_t) { return true; };
    CHECK(deadlines.next(all) == TimePoint::max());
    CHECK(deadlines.take_due(TimePoint::max()).empty());
    deadlines.add(epoch + 30s, 3);
    deadlines.add(epoch + 10s, 1);
    deadlines.add(epoch + 20s, 2);
    CHECK(deadlines.next(all) == epoch + 10s);
    CHECK(deadlines.take_due(epoch + 9s).empty());
    CHECK((deadlines.take_due(epoch + 20s, 1) == std::vector<std::uint64_t>{1}));
    CHECK(deadlines.next(all) == epoch + 20s);
    CHECK((deadlines.take_due(epoch + 20s, 1) == std::vector<std::uint64_t>{2}));
    CHECK(deadlines.next(all) == epoch + 30s);
    CHECK((deadlines.take_due(TimePoint::max()) == std::vector<std::uint64_t>{3}));
    CHECK(deadlines.size() == 0u);
}

TEST_CASE("answered calls cost nothing until they come up") {
    Deadlines deadlines;
    std::set<std::uint64_t> pending{7};
    int asked = 0;
    const auto is_pending = [&](std::uint64_t number) {
        ++asked;
        return pending.contains(number);
    };
    for (std::uint64_t number = 1; number <= 10; ++number) {
        deadlines.add(epoch + std::chrono::seconds{number}, number);
    }
    CHECK(asked == 0);  // adding looks at nobody
    CHECK(deadlines.size() == 10u);
    CHECK(deadlines.next(is_pending) == epoch + 7s);
    CHECK(asked == 7);
    CHECK(deadlines.size() == 4u);
    CHECK(deadlines.next(is_pending) == epoch + 7s);
    CHECK(asked == 8);
    pending.clear();
    CHECK(deadlines.next(is_pending) == TimePoint::max());
    CHECK(deadlines.size() == 0u);
}

TEST_CASE("stale deadlines are dropped before they become too many", "[F84]") {
    Deadlines deadlines;
    std::set<std::uint64_t> pending{1, 2};
    const auto is_pending = [&](std::uint64_t number) { return pending.contains(number); };
    deadlines.add(epoch + 100s, 1);
    deadlines.add(epoch + 50s, 2);
    std::size_t most = 0;
    for (std::uint64_t number = 3; number <= 10'000; ++number) {
        deadlines.add(epoch + 60s + std::chrono::milliseconds{number}, number);
        deadlines.tidy(pending.size(), is_pending);
        most = std::max(most, deadlines.size());
    }
    CHECK(most < 100u);
    CHECK(deadlines.next(is_pending) == epoch + 50s);
    pending.erase(2);
    CHECK(deadlines.next(is_pending) == epoch + 100s);
}

TEST_CASE("random deadlines come out sorted") {
    std::minstd_rand random{5};
    Deadlines deadlines;
    std::multimap<TimePoint, std::uint64_t> expected;
    for (std::uint64_t number = 1; number <= 3000; ++number) {
        const auto when = epoch + std::chrono::seconds{random() % 500};
        deadlines.add(when, number);
        expected.emplace(when, number);
    }
    for (auto now = epoch; !expected.empty(); now += 7s) {
        auto due = deadlines.take_due(now);
        std::vector<std::uint64_t> wanted;
        while (!expected.empty() && expected.begin()->first <= now) {
            wanted.push_back(expected.begin()->second);
            expected.erase(expected.begin());
        }
        std::ranges::sort(due);
        std::ranges::sort(wanted);
        REQUIRE(due == wanted);
    }
    CHECK(deadlines.size() == 0u);
}

}  // namespace call_table_test
