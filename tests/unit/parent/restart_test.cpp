#include <tether/detail/parent/restart.hpp>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "support/catch.hpp"

namespace restart_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using tether::CallError;
using tether::errc;
using tether::ExitReport;
using tether::RestartPolicy;
using What = Restart::Next::What;
using Process = Restart::Process;

constexpr TimePoint start{1'000'000s};
constexpr RestartPolicy without_pause{
    .budget = 100, .window = 1h, .initial_pause = 0s, .max_pause = 0s};

struct End {
    bool expected = false;
    bool was_ready = true;
    bool seen = true;
};

SessionEnd end_of(std::uint64_t generation, End how = {}) {
    auto report = std::make_shared<ExitReport>();
    report->worker = "w";
    report->generation = generation;
    const CallError error{errc::worker_exited, "generation " + std::to_string(generation)};
    return {report, error, how.expected, how.was_ready, how.seen};
}

CallError failure(const std::string& text) { return {errc::start_failed, text}; }

// What a call that comes now does.
Restart::Next ask(Restart& restart, TimePoint now = start, bool takes_calls = true) {
    return restart.next(now, takes_calls, restart.last_start());
}

void start_one(Restart& restart) {
    REQUIRE(ask(restart).what == What::start);
    restart.start_begun();
    REQUIRE(restart.started());
}

}  // namespace

TEST_CASE("a call starts the first process, others wait for it, then all use it") {
    Restart restart{"w", without_pause};
    CHECK(restart.needs_process());
    CHECK(restart.process() == Process::none);
    CHECK(ask(restart).what == What::start);
    CHECK(restart.start_begun() == 1);
    const auto meanwhile = ask(restart);
    CHECK(meanwhile.what == What::wait);
    CHECK(meanwhile.until == TimePoint::max());
    CHECK(restart.is_starting());
    CHECK(restart.started());
    CHECK(ask(restart).what == What::use);
    CHECK_FALSE(restart.needs_process());
    CHECK(restart.generation() == 1);
}

TEST_CASE("a process that takes no more calls is waited for, then replaced") {
    Restart restart{"w", without_pause};
    start_one(restart);
    CHECK(ask(restart, start, false).what == What::wait);
    const auto end = end_of(1);
    restart.ended(start, end);
    CHECK(restart.last_exit() == end.report);
    start_one(restart);
    CHECK(restart.generation() == 2);
}

TEST_CASE("a start that fails is told to all calls that were there, not to later ones", "[F44]") {
    Restart restart{"w", without_pause};
    const auto before = restart.last_start();
    restart.start_begun();
    const auto meanwhile = restart.last_start();
    restart.start_failed(start, failure("no such file"));
    for (const auto since : {before, meanwhile}) {
        const auto next = restart.next(start, false, since);
        REQUIRE(next.what == What::fail);
        CHECK(std::string{next.error->what()} == "no such file");
    }
    CHECK(std::string{restart.last_failure()->what()} == "no such file");
    CHECK(ask(restart).what == What::start);

    // Still so for a call that was slow to ask, and has waited for two starts.
    start_one(restart);
    CHECK(restart.next(start, true, before).what == What::fail);
    CHECK(ask(restart).what == What::use);
}

TEST_CASE("a failed start that no call saw is told to the next one, once") {
    Restart restart{"w", without_pause};
    SECTION("where it never began") {
        restart.keep_for_next_call(failure("unseen"));
        CHECK_FALSE(restart.needs_process());
        CHECK(std::string{ask(restart).error->what()} == "unseen");
    }
    SECTION("where the process ended before it was ready") {
        start_one(restart);
        restart.ended(start, end_of(1, {.was_ready = false, .seen = false}));
        CHECK(ask(restart).error->code() == errc::worker_exited);
    }
    CHECK(ask(restart).what == What::start);
    SECTION("but not where it was ready, seen or wanted") {
        for (const auto how : {End{.was_ready = true, .seen = false}, End{.was_ready = false},
                               End{.expected = true, .was_ready = false, .seen = false}}) {
            start_one(restart);
            restart.ended(start, end_of(restart.generation(), how));
            CHECK(ask(restart).what == What::start);
        }
    }
    SECTION("nor after a restart") {
        restart.keep_for_next_call(failure("unseen"));
        restart.restart_begun();
        restart.restart_done(without_pause);
        CHECK(ask(restart).what == What::start);
    }
}

TEST_CASE("a process may end before its start is over") {
    Restart restart{"w", without_pause};
    restart.start_begun();
    SECTION("and then there is none") {
        restart.ended(start, end_of(1));
        CHECK(restart.process() == Process::ended_early);
        CHECK(ask(restart).what == What::wait);
        CHECK_FALSE(restart.started());
    }
    SECTION("or the start may fail as well, before that") {
        restart.start_failed(start, failure("not watched"));
        restart.ended(start, end_of(1));
    }
    SECTION("or after it") {
        restart.ended(start, end_of(1));
        restart.start_failed(start, failure("not watched"));
    }
    SECTION("or its end is known when the next one runs") {
        restart.start_failed(start, failure("not watched"));
        start_one(restart);
        restart.ended(start, end_of(1));
        CHECK(ask(restart).what == What::use);
        return;
    }
    CHECK(ask(restart).what == What::start);
}

TEST_CASE("after a stop all calls fail, until a restart") {
    Restart restart{"w", without_pause};
    start_one(restart);
    restart.stop();
    const auto next = ask(restart);
    REQUIRE(next.what == What::fail);
    CHECK(next.error->code() == errc::stopped);
    CHECK(std::string{next.error->what()} == "worker \"w\" was stopped");
    restart.ended(start, end_of(1, {.expected = true}));
    CHECK_FALSE(restart.needs_process());
    CHECK(ask(restart).what == What::fail);

    restart.restart_begun();
    CHECK(ask(restart).what == What::wait);
    SECTION("that fails") {
        restart.restart_failed();
        CHECK(ask(restart).what == What::fail);
    }
    SECTION("that is done, whatever was asked for meanwhile") {
        restart.stop();
        restart.restart_done(without_pause);
        CHECK(ask(restart).what == What::start);
    }
}

TEST_CASE("a stop may come during a start, which then brings a process that no call uses") {
    Restart restart{"w", without_pause};
    restart.start_begun();
    restart.stop();
    CHECK(restart.started());
    CHECK(restart.process() == Process::running);
    CHECK(ask(restart).error->code() == errc::stopped);
    CHECK_FALSE(restart.last_failure().has_value());
}

TEST_CASE("calls wait during a restart, which forgives failures and brings its own policy",
          "[F56]") {
    Restart restart{"w", {.budget = 0, .window = 1h}};
    start_one(restart);
    restart.ended(start, end_of(1));
    CHECK(ask(restart).error->code() == errc::restart_budget_spent);
    restart.restart_begun();
    CHECK(ask(restart).what == What::wait);
    restart.restart_done({.budget = 1, .window = 1h, .initial_pause = 0s});
    start_one(restart);
    restart.ended(start, end_of(2));
    start_one(restart);
    restart.ended(start, end_of(3));
    CHECK(ask(restart).error->code() == errc::restart_budget_spent);
}

TEST_CASE("a restart that the last process survived goes on with it") {
    Restart restart{"w", without_pause};
    start_one(restart);
    restart.restart_begun();
    restart.restart_done(without_pause);
    CHECK(ask(restart, start, false).what == What::wait);
    restart.ended(start, end_of(1, {.expected = true}));
    CHECK(ask(restart).what == What::start);
}

TEST_CASE("calls wait out the pause before a start", "[F56]") {
    Restart restart{"w", {.budget = 10, .window = 1h, .initial_pause = 1s, .max_pause = 5s}};
    for (std::uint64_t generation = 1; generation <= 2; ++generation) {
        start_one(restart);
        restart.ended(start, end_of(generation));
    }
    const auto next = ask(restart);
    CHECK(next.what == What::wait);
    CHECK(next.until == start + 1s);
    CHECK(restart.needs_process());
    CHECK(ask(restart, start + 1s).what == What::start);
}

TEST_CASE("an end that was wanted is no failure", "[F56]") {
    Restart restart{"w", {.budget = 0, .window = 1h}};
    for (std::uint64_t generation = 1; generation <= 5; ++generation) {
        start_one(restart);
        restart.ended(start, end_of(generation, {.expected = true, .seen = false}));
    }
    CHECK(ask(restart).what == What::start);
}

TEST_CASE("the error of a spent budget says how often, and what came last", "[F56]") {
    Restart restart{"w", {.budget = 1, .window = 90s, .initial_pause = 0s}};
    start_one(restart);
    restart.ended(start, end_of(1));
    restart.start_begun();
    restart.start_failed(start + 1s, failure("no such file"));
    for (int i = 0; i < 2; ++i) {
        const auto next = ask(restart, start + 2s);
        REQUIRE(next.what == What::fail);
        CHECK(std::string{next.error->what()} ==
              "worker \"w\" failed 2 times within 90 s and is not started again; the last time: "
              "no such file");
        CHECK(next.error->report() == restart.last_exit().get());
    }
    CHECK(ask(restart, start + 91s).what == What::start);
}

// --- All that can happen, in any order

namespace {

enum class Event {
    start_begun,
    started,
    start_failed,
    begin_failed,
    crashed,
    crashed_before_ready,
    left,
    late_crash,
    stop,
    restart,
    restart_failed,
    restart_done,
    ask,
    time_passes,
};
constexpr int event_count = 14;

// A worker, with what the test knows of it by itself.
struct World {
    static constexpr RestartPolicy policy{
        .budget = 2, .window = 10s, .initial_pause = 1s, .max_pause = 1s};

    Restart restart{"w", policy};
    TimePoint now = start;
    bool stopped = false;
    bool restarting = false;
    bool untold = false;
    bool starting = false;
    bool running = false;
    bool over_early = false;
    bool late = false;  // a start failed whose process may still be found to have ended
    std::uint64_t generation = 0;
    std::uint64_t failed = 0;
    std::vector<TimePoint> failures{};

    [[nodiscard]] std::size_t recent() const {
        return static_cast<std::size_t>(std::count_if(
            failures.begin(), failures.end(), [&](TimePoint when) { return now - when <= 10s; }));
    }
    [[nodiscard]] bool pauses() const { return recent() > 1 && now < failures.back() + 1s; }

    // What must be the same for two worlds to have the same future. Times count by what they mean.
    [[nodiscard]] auto key() const {
        std::vector<std::int64_t> ages;
        for (const auto when : failures) {
            if (now - when <= 10s) ages.push_back(std::min<std::int64_t>((now - when) / 4s, 3));
        }
        if (ages.size() > 3) ages.erase(ages.begin(), ages.end() - 3);
        return std::tuple{stopped, restarting,           untold, starting, running, over_early,
                          late,    failed == generation, ages};
    }

    [[nodiscard]] bool possible(Event event) const {
        switch (event) {
            case Event::start_begun:
                return restart.needs_process();
            case Event::started:
            case Event::start_failed:
                return starting;
            case Event::crashed:
            case Event::crashed_before_ready:
            case Event::left:
                return running || (starting && !over_early);
            case Event::late_crash:
                return late;
            case Event::restart:
                return !restarting;
            case Event::restart_failed:
                return restarting;
            case Event::restart_done:
                return restarting && !starting;
            default:
                return true;
        }
    }

    void end(std::uint64_t which, End how) {
        restart.ended(now, end_of(which, how));
        if (!how.expected) failures.push_back(now);
        if (!how.expected && !how.was_ready && !how.seen) untold = true;
        if (which != generation) return;
        if (starting) over_early = true;
        running = false;
    }

    void happen(Event event) {
        switch (event) {
            case Event::start_begun: {
                if (ask().what != What::start) return;
                starting = true;
                ++generation;
                CHECK(restart.start_begun() == generation);
                break;
            }
            case Event::started:
                CHECK(restart.started() == !over_early);
                running = !over_early;
                starting = over_early = false;
                break;
            case Event::start_failed:
                restart.start_failed(now, failure("it failed"));
                failures.push_back(now);
                late = late || !over_early;
                starting = over_early = false;
                failed = generation;
                break;
            case Event::begin_failed:
                restart.keep_for_next_call(failure("it never began"));
                untold = true;
                break;
            case Event::crashed:
                return end(generation, {});
            case Event::crashed_before_ready:
                return end(generation, {.was_ready = false, .seen = false});
            case Event::left:
                return end(generation, {.expected = true});
            case Event::late_crash:
                late = false;
                return end(failed, {});
            case Event::stop:
                restart.stop();
                stopped = true;
                break;
            case Event::restart:
                restart.restart_begun();
                restarting = true;
                break;
            case Event::restart_failed:
                restart.restart_failed();
                restarting = false;
                break;
            case Event::restart_done:
                restart.restart_done(policy);
                restarting = stopped = untold = false;
                failures.clear();
                break;
            case Event::ask:
                static_cast<void>(ask());
                break;
            case Event::time_passes:
                now += 4s;
                break;
        }
    }

    Restart::Next ask() {
        auto next = restart.next(now, true, restart.last_start());
        if (next.what == What::fail && !stopped && !restarting) untold = false;
        return next;
    }

    // What a call would be told, by the rules in words.
    [[nodiscard]] What expected() const {
        if (restarting) return What::wait;
        if (stopped || untold) return What::fail;
        if (running) return What::use;
        if (starting) return What::wait;
        if (recent() > 2) return What::fail;
        return pauses() ? What::wait : What::start;
    }

    void check() const {
        auto copy = *this;
        const auto next = copy.restart.next(now, true, restart.last_start());
        CHECK(next.what == expected());
        CHECK(next.error.has_value() == (next.what == What::fail));
        CHECK((next.what != What::wait || next.until > now));
        CHECK(restart.is_starting() == starting);
        CHECK((restart.process() == Process::running) == running);
        CHECK(restart.is_stopped() == stopped);
        CHECK(restart.generation() == generation);
        CHECK(restart.last_start() == generation - (starting ? 1 : 0));
        // A call that was there before the last failed start shares its failure, whatever else.
        if (failed != 0) CHECK(copy.restart.next(now, true, failed - 1).what == What::fail);
        // With a session that takes no calls, they wait.
        auto closed = *this;
        if (expected() == What::use) {
            CHECK(closed.restart.next(now, false, restart.last_start()).what == What::wait);
        }
    }
};

}  // namespace

TEST_CASE("in each state that can be reached a call is told what the rules say", "[F44][F56]") {
    std::set<decltype(World{}.key())> known;
    std::deque<World> left;
    const auto visit = [&](const World& world) {
        if (!known.insert(world.key()).second) return;
        world.check();
        left.push_back(world);
    };
    visit(World{});
    while (!left.empty()) {
        const auto world = left.front();
        left.pop_front();
        for (int i = 0; i < event_count; ++i) {
            const auto event = static_cast<Event>(i);
            if (!world.possible(event)) continue;
            auto next = world;
            next.happen(event);
            visit(next);
        }
        // Nothing is stuck: after a restart, at the latest, calls are served again.
        auto again = world;
        if (again.starting) again.happen(Event::started);
        if (!again.restarting) again.happen(Event::restart);
        if (again.running) again.happen(Event::left);
        again.happen(Event::restart_done);
        again.happen(Event::start_begun);
        again.happen(Event::started);
        CHECK(again.expected() == What::use);
    }
    CHECK(known.size() > 200u);
    CHECK(known.size() < 20'000u);
}

TEST_CASE("what the next call finds is said in words") {
    Restart restart{"w", {.budget = 2, .window = 1min, .initial_pause = 100ms, .max_pause = 1s}};
    const auto crash = [&] {
        restart.start_begun();
        REQUIRE(restart.started());
        restart.ended(start, end_of(restart.generation()));
        return restart.describe_next(start);
    };
    CHECK(crash() == "the next call starts another process");
    CHECK(crash() == "the next call starts another process in 100 ms");
    CHECK(crash() == "no call starts another process, after 3 failures in a row");
    restart.stop();
    CHECK(restart.describe_next(start) == "no other process follows");
    restart.restart_begun();
    CHECK(restart.describe_next(start) == "another process follows");
}

}  // namespace restart_test
