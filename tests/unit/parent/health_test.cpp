#include <tether/detail/parent/health.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace health_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using tether::Duration;
using tether::no_timeout;
using tether::StuckPolicy;
using Action = StuckPolicy::Action;
using Run = Health::Run;
using Guard = Health::Guard;
using End = Health::End;

constexpr TimePoint start{1'000'000s};
constexpr auto never = TimePoint::max();

StuckPolicy policy(Action action = Action::replace, Duration heartbeat = no_timeout) {
    return {.action = action, .grace = 2s, .silence = 10s, .heartbeat = heartbeat};
}

Health::OverdueCall call(std::uint64_t number, TimePoint expired) {
    return {number, "lint", expired};
}

// Looks at `now`, at what is due then.
Health::Actions look(Health& health, TimePoint now, const Health::Facts& facts = {}) {
    return health.look(now, health.due(now), facts);
}

Health::Facts overdue(std::vector<Health::OverdueCall> calls, bool stopped = false) {
    return {.stopped = stopped, .has_overdue = true, .overdue = std::move(calls)};
}

Health::Facts with_calls(bool stopped = false) { return {.has_calls = true, .stopped = stopped}; }

bool does_nothing(const Health::Actions& actions) {
    return actions.probes.empty() && !actions.tell_untold && actions.end == End::none &&
           actions.leave.empty();
}

}  // namespace

TEST_CASE("a worker of which nothing is known is left alone", "[F40]") {
    Health health{policy(), no_timeout};
    health.started(start);
    CHECK(health.next_look() == never);
    CHECK(health.run() == Run::running);
    CHECK(health.guard() == Guard::heard);
}

// --- Stuck

TEST_CASE("a call that has expired is looked at after its grace, by asking the guard", "[F40]") {
    Health health{policy(), no_timeout};
    CHECK(health.call_expired(start, false));
    CHECK(health.next_look() == start + 2s);
    CHECK_FALSE(health.due(start + 2s - 1ns).any());

    const auto actions = look(health, start + 2s, overdue({call(7, start)}));
    REQUIRE(actions.probes.size() == 1);
    CHECK(actions.probes[0].number == 7);
    CHECK(actions.probes[0].awaited);
    CHECK(actions.end == End::none);
    CHECK(health.guard() == Guard::awaited);

    health.heard();
    CHECK(health.guard() == Guard::heard);
    const auto found = health.still_running(start + 2100ms, call(7, start), 1);
    CHECK(found.end == End::kill);
    CHECK_FALSE(found.excuse);
    CHECK(found.text == "the handler of call 7 (\"lint\") still ran 2100 ms after its deadline");
}

TEST_CASE("a call that was answered meanwhile, or has not begun, is not asked about", "[F40]") {
    Health health{policy(), no_timeout};
    REQUIRE(health.call_expired(start, false));
    SECTION("answered") {
        CHECK(does_nothing(look(health, start + 2s)));
        CHECK(health.next_look() == never);
    }
    SECTION("not begun: looked at again") {
        CHECK(does_nothing(look(health, start + 2s, {.has_overdue = true})));
        CHECK(health.next_look() == start + 4s);
    }
    SECTION("another one has its grace first") {
        const auto actions =
            look(health, start + 2s, overdue({call(1, start), call(2, start + 1s)}));
        CHECK(actions.probes.size() == 1);
        CHECK(health.next_look() == start + 3s);
    }
    SECTION("before the welcome the guard is not waited for") {
        auto facts = overdue({call(1, start)});
        facts.ready = false;
        const auto actions = look(health, start + 2s, facts);
        REQUIRE(actions.probes.size() == 1);
        CHECK_FALSE(actions.probes[0].awaited);
        CHECK(health.guard() == Guard::heard);
    }
}

TEST_CASE("a stuck worker is killed, reported or kept, as its policy says", "[F40]") {
    const auto find = [](Action action, unsigned calls_at_once) {
        Health health{policy(action), no_timeout};
        return health.still_running(start, call(1, start - 3s), calls_at_once);
    };
    CHECK(find(Action::replace, 1).end == End::kill);
    CHECK(find(Action::replace, 2).end == End::kill_when_done);
    const auto reported = find(Action::report, 2);
    CHECK(reported.end == End::report);
    CHECK(reported.excuse);
    const auto kept = find(Action::keep, 1);
    CHECK(kept.end == End::none);
    CHECK(kept.text.empty());

    Health keeps{policy(Action::keep), no_timeout};
    CHECK(keeps.call_expired(start, false));
    CHECK(keeps.next_look() == never);
}

TEST_CASE("a short grace does not make looks follow each other closely") {
    Health health{{.grace = 0s}, no_timeout};
    REQUIRE(health.call_expired(start, false));
    CHECK(health.next_look() == start);
    static_cast<void>(look(health, start, overdue({call(1, start)})));
    CHECK(health.next_look() == start + 50ms);
}

// --- Stopped

TEST_CASE("a stopped worker is told nothing, and is stuck after the second look", "[F41]") {
    Health health{policy(), no_timeout};
    CHECK_FALSE(health.call_expired(start, true));
    CHECK(health.run() == Run::suspected);
    CHECK(health.next_look() == start + 200ms);
    const auto second = start + 200ms;

    SECTION("in time") {
        const auto actions = look(health, second, overdue({call(3, start)}, true));
        CHECK(health.run() == Run::stopped);
        CHECK(actions.end == End::kill);
        CHECK(actions.text == "it was stopped by a signal when call 3 (\"lint\") expired");
        CHECK(actions.probes.empty());
        CHECK_FALSE(actions.tell_untold);
    }
    SECTION("but not when that comes late, since this process was stopped, too") {
        const auto late = second + 200ms;
        CHECK(does_nothing(look(health, late, overdue({call(3, start)}, true))));
        CHECK(health.run() == Run::suspected);
        CHECK(health.next_look() == late + 200ms);
        CHECK(look(health, late + 200ms, overdue({call(3, start)}, true)).end == End::kill);
    }
    SECTION("nor when it runs again: it is told, and has its grace") {
        const auto actions = look(health, second, overdue({call(3, start - 10s)}));
        CHECK(actions.tell_untold);
        CHECK(actions.probes.empty());
        CHECK(health.run() == Run::running);
        CHECK(health.next_look() == second + 2s);
        CHECK(look(health, second + 2s, overdue({call(3, start - 10s)})).probes.size() == 1);
    }
    SECTION("nor when an earlier look sees it stopped") {
        REQUIRE(health.call_expired(start + 1ms, false) == true);  // seen running, by another
        CHECK(health.next_look() == start + 200ms);
    }
    SECTION("a second call changes nothing") {
        CHECK_FALSE(health.call_expired(start + 100ms, true));
        CHECK(health.next_look() == second);
    }
    SECTION("without a call that waits for it there is no matter") {
        CHECK(does_nothing(look(health, second, {.stopped = true})));
        CHECK(health.next_look() == never);
    }
}

TEST_CASE("a stop is reported once, until the worker is heard again", "[F41]") {
    Health health{policy(Action::report), no_timeout};
    CHECK_FALSE(health.call_expired(start, true));
    auto now = start;
    const auto next = [&] {
        now += 200ms;
        return look(health, now, overdue({call(3, start)}, true)).end;
    };
    CHECK(next() == End::report);
    CHECK(next() == End::none);
    CHECK(next() == End::none);
    health.heard();
    CHECK(next() == End::report);
}

// --- Hanging as a whole

TEST_CASE("a guard that does not answer for so long is a hang", "[F41]") {
    Health health{policy(), no_timeout};
    REQUIRE(health.call_expired(start, false));
    const auto asked = start + 2s;
    REQUIRE(look(health, asked, overdue({call(1, start)})).probes.size() == 1);
    // Asked again meanwhile: the first question counts.
    for (auto now = asked + 2s; now < asked + 10s; now += 2s) {
        const auto actions = look(health, now, overdue({call(1, start)}));
        REQUIRE(actions.probes.size() == 1);
        CHECK_FALSE(actions.probes[0].awaited);
    }
    SECTION("it is killed") {
        const auto actions = look(health, asked + 10s, overdue({call(1, start)}));
        CHECK(actions.end == End::kill);
        CHECK(actions.text == "its guard thread has not answered for 10000 ms");
    }
    SECTION("not when it answers in time") {
        health.heard();
        CHECK(look(health, asked + 10s).end == End::none);
    }
    SECTION("not when it was asked again, later") {
        health.heard();
        static_cast<void>(look(health, asked + 9s, overdue({call(1, start)})));
        CHECK(look(health, asked + 10s, overdue({call(1, start)})).end == End::none);
        CHECK(health.guard() == Guard::awaited);
    }
    SECTION("not while it is stopped") {
        auto facts = overdue({call(1, start)}, true);
        const auto actions = look(health, asked + 10s, facts);
        CHECK(actions.end == End::none);
        CHECK(health.run() == Run::suspected);
    }
    SECTION("not while it writes its core, for six times as long") {
        auto facts = overdue({});
        facts.dumping_core = true;
        for (auto now = asked + 10s; now < asked + 60s; now += 10s) {
            CHECK(look(health, now, facts).end == End::none);
        }
        CHECK(look(health, asked + 60s, facts).end == End::kill);
    }
}

// --- Heartbeat

TEST_CASE("the heartbeat asks the guard of a worker that has calls", "[F41]") {
    Health health{policy(Action::replace, 1s), no_timeout};
    health.started(start);
    CHECK(health.next_look() == start + 1s);
    CHECK(does_nothing(look(health, start + 1s)));  // it has none
    CHECK(health.next_look() == start + 2s);
    const auto actions = look(health, start + 2s, with_calls());
    REQUIRE(actions.probes.size() == 1);
    CHECK(actions.probes[0].number == 0);
    CHECK(actions.probes[0].awaited);
}

TEST_CASE("the heartbeat finds a worker that is stopped, by two looks", "[F41]") {
    Health health{policy(Action::replace, 1s), no_timeout};
    health.started(start);
    CHECK(does_nothing(look(health, start + 1s, with_calls(true))));
    CHECK(health.run() == Run::suspected);
    CHECK(health.next_look() == start + 1200ms);
    SECTION("in time") {
        const auto actions = look(health, start + 1200ms, with_calls(true));
        CHECK(actions.end == End::kill);
        CHECK(actions.text == "it was stopped by a signal while it had calls to answer");
    }
    SECTION("too late") {
        CHECK(does_nothing(look(health, start + 1400ms, with_calls(true))));
        CHECK(health.next_look() == start + 1600ms);
    }
    SECTION("and it runs again") {
        const auto actions = look(health, start + 1200ms, with_calls());
        CHECK(health.run() == Run::running);
        CHECK(actions.end == End::none);
        CHECK(actions.probes.size() == 1);
    }
}

TEST_CASE("a call that expires while the heartbeat suspects a stop is told of later, too") {
    Health health{policy(Action::replace, 1s), no_timeout};
    health.started(start);
    static_cast<void>(look(health, start + 1s, with_calls(true)));
    CHECK_FALSE(health.call_expired(start + 1100ms, true));
    const auto actions = look(health, start + 1200ms, overdue({call(1, start + 1100ms)}));
    CHECK(actions.tell_untold);
}

TEST_CASE("no heartbeat for a worker that is kept whatever it does") {
    Health health{policy(Action::keep, 1s), no_timeout};
    health.started(start);
    CHECK(health.next_look() == never);
}

// --- Idle

TEST_CASE("an idle worker is asked to leave", "[F87]") {
    Health health{policy(), 5s};
    health.started(start);
    CHECK(health.next_look() == start + 5s);
    CHECK(does_nothing(look(health, start + 5s)));  // there was a call meanwhile
    CHECK(health.next_look() == start + 10s);
    const auto actions = look(health, start + 10s, {.idle = true});
    CHECK(actions.leave == "it had no call for 5000 ms");
    CHECK(actions.end == End::none);
    CHECK(health.next_look() == never);
}

TEST_CASE("a worker that takes no more calls is looked at as long as it has some", "[F41]") {
    Health health{policy(Action::replace, 1s), 1s};
    health.started(start);
    auto facts = with_calls();
    facts.takes_calls = false;
    CHECK(look(health, start + 1s, facts).probes.size() == 1);
    CHECK(health.next_look() == start + 2s);  // not for being idle
    CHECK(does_nothing(look(health, start + 2s, {.takes_calls = false})));
}

TEST_CASE("extreme policies do not overflow", "[F42]") {
    Health health{{.action = Action::report,
                   .grace = no_timeout,
                   .silence = no_timeout,
                   .heartbeat = no_timeout},
                  no_timeout};
    health.started(start);
    CHECK(health.call_expired(start, false));
    CHECK(health.next_look() == never);
    CHECK_FALSE(health.call_expired(start, true));
    CHECK(look(health, start + 200ms, overdue({call(1, start)})).tell_untold);
    CHECK(health.next_look() == never);

    Health hasty{{.grace = -1s, .silence = -1s, .heartbeat = 1ms}, no_timeout};
    hasty.started(start);
    CHECK(look(hasty, start + 1ms, with_calls()).probes.size() == 1);
    CHECK(look(hasty, start + 1ms, with_calls()).end == End::kill);
}

// --- All that can happen, in any order

namespace {

// A worker, and what its parent has found out about it by truthful looks.
struct World {
    explicit World(Action action, Duration heartbeat)
        : health{{.action = action, .grace = 300ms, .silence = 500ms, .heartbeat = heartbeat},
                 no_timeout},
          replaces(action == Action::replace) {
        health.started(now);
    }

    Health health;
    bool replaces;
    TimePoint now = start;
    bool stopped = false;
    bool hangs = false;  // its guard answers nothing
    bool stuck = false;  // its handler ignores that it should return
    bool asked = false;  // a probe is on its way, or waits for the guard
    bool asked_about_call = false;
    bool untold = false;
    std::optional<TimePoint> expired{};       // of the call, if it has
    std::optional<TimePoint> seen_stopped{};  // first, and not running since
    std::optional<TimePoint> deaf_since{};    // asked, without an answer
    bool ended = false;

    void carry_out(const Health::Actions& actions, bool by_look) {
        if (stopped && !actions.probes.empty()) FAIL("a record that continues it");
        if (stopped && actions.tell_untold) FAIL("a record that continues it");
        if (actions.tell_untold) untold = false;
        for (const auto& probe : actions.probes) {
            asked = true;
            asked_about_call = asked_about_call || probe.number == 1;
            if (probe.awaited && !deaf_since) deaf_since = now;
        }
        if (actions.end == End::none) return;
        const bool was_stopped = seen_stopped && now - *seen_stopped >= 200ms;
        const bool was_deaf = deaf_since && now - *deaf_since >= 500ms;
        const bool was_stuck = expired && now - *expired >= 300ms;
        if (by_look && !was_stopped && !was_deaf) FAIL("without a reason: " << actions.text);
        if (!by_look && !was_stuck) FAIL("too early: " << actions.text);
        ended = replaces;
    }

    void see() {
        if (!stopped) seen_stopped.reset();
        if (stopped && !seen_stopped) seen_stopped = now;
    }

    void look() {
        const auto due = health.due(now);
        if (due.sees_process(true)) see();
        Health::Facts facts{.has_calls = true, .stopped = stopped};
        facts.has_overdue = due.overdue && expired.has_value();
        if (facts.has_overdue) facts.overdue.push_back(call(1, *expired));
        carry_out(health.look(now, due, facts), true);
    }

    // The time goes on to the next look, if there is one, or a guard that runs answers first.
    void go_on() {
        if (asked && !stopped && !hangs) {
            asked = false;
            deaf_since.reset();
            health.heard();
            const bool about_call = std::exchange(asked_about_call, false);
            if (about_call && stuck && expired)
                carry_out(health.still_running(now, call(1, *expired), 1), false);
            return;
        }
        const auto next = health.next_look();
        now = next == never ? now + 1s : std::max(now, next);
        look();
    }

    void happen(int event) {
        switch (event) {
            case 0:
                return go_on();
            case 1:  // job control
                stopped = !stopped;
                return;
            case 2:
                if (!expired) {
                    expired = now;
                    see();
                    untold = !health.call_expired(now, stopped);
                    if (untold != stopped) FAIL("told while it is stopped");
                }
                return;
            case 3:  // its answer comes
                if (!stopped && !stuck) expired.reset();
                if (!expired) untold = asked_about_call = false;
                return;
            case 4:
                hangs = true;
                return;
            case 5:
                stuck = true;
                return;
            default:
                now += 130ms;
        }
    }

    // What is wrong is found in the end, if nothing else happens.
    [[nodiscard]] bool is_found() const {
        auto later = *this;
        for (int i = 0; i < 40 && !later.ended; ++i) later.go_on();
        return later.ended;
    }
    [[nodiscard]] bool is_told() const {
        auto later = *this;
        for (int i = 0; i < 40 && later.untold; ++i) later.go_on();
        return !later.untold;
    }

    void check() const {
        if (untold && health.next_look() == never) FAIL("a call of which it is never told");
        if (untold && !stopped && !is_told()) FAIL("a call of which it is never told");
        if (!replaces) return;
        if (expired && (stopped || hangs || stuck) && !is_found()) FAIL("a worker of no use");
    }
};

void explore(const World& world, int depth, std::size_t& count) {
    ++count;
    world.check();
    if (depth == 0 || world.ended) return;
    for (int event = 0; event < 7; ++event) {
        auto next = world;
        next.happen(event);
        explore(next, depth - 1, count);
    }
}

}  // namespace

TEST_CASE("in any order of events no worker ends without a reason, and none of no use lives on",
          "[F40][F41]") {
    const auto action = GENERATE(Action::replace, Action::report);
    const auto heartbeat = GENERATE(as<Duration>{}, no_timeout, 100ms);
    std::size_t count = 0;
    explore(World{action, heartbeat}, 5, count);
    CHECK(count > 5'000u);
}

}  // namespace health_test
