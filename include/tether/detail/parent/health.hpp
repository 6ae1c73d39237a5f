// Why: a worker may live and yet be of no use: its handler ignores every deadline, job control has
// stopped it, its guard does not answer, no call comes. What the parent does then is a policy. As a
// state machine that is given time and facts it is tested without a process, a thread or a lock.
// docs/design.md, "Health", has the table.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Of one worker process. Not thread-safe.
class Health {
public:
    // Job control may resume the parent before the worker. So a worker must be seen to be stopped
    // twice, with this time between.
    static constexpr Duration until_stopped_for_sure = std::chrono::milliseconds{200};

    // Whether the process runs, as far as the looks at it have shown.
    enum class Run {
        running,
        suspected,  // seen to be stopped once
        stopped,    // seen twice in time
    };

    // Whether the worker's guard thread can be heard.
    enum class Guard {
        heard,    // it has answered all that it was asked
        awaited,  // it was asked, and has not answered since
    };

    // What a look is for. Facts are collected for these alone.
    struct Due {
        bool overdue = false;    // calls that have expired
        bool silence = false;    // a guard that was asked
        bool heartbeat = false;  // a worker that has calls to answer
        bool idleness = false;
        [[nodiscard]] bool any() const noexcept {
            return overdue || silence || heartbeat || idleness;
        }
        // Whether to find out if the process is stopped.
        [[nodiscard]] bool sees_process(bool has_calls) const noexcept {
            return overdue || silence || (heartbeat && has_calls);
        }
    };

    // A call that has expired when its request had left, and that has no answer yet.
    struct OverdueCall {
        std::uint64_t number = 0;
        std::string_view request{};
        TimePoint expired{};
    };

    // What was found.
    struct Facts {
        bool takes_calls = true;  // more of them
        bool has_calls = false;   // that wait for their answers
        bool ready = true;        // it has said its welcome
        bool stopped = false;     // by a signal
        bool dumping_core = false;
        bool idle = false;         // no call came since the last look for that
        bool has_overdue = false;  // calls, in whatever state
        // With `stopped`, all of them; otherwise those whose handlers may have begun.
        std::vector<OverdueCall> overdue{};
    };

    struct Probe {
        std::uint64_t number = 0;  // of a call; 0: of none
        bool awaited = false;      // sent in any case; others are dropped while records wait
    };

    enum class End {
        none,
        report,         // nothing ends: `text` is shown as a warning
        kill,           // at once; it is stuck
        kill_when_done  // it takes no more calls, and is killed when it has none; it is stuck
    };

    // What is to be done.
    struct Actions {
        std::vector<Probe> probes{};
        bool tell_untold = false;  // cancel what expired while the worker was stopped
        bool excuse = false;       // the call in question is not overdue any more
        End end = End::none;
        std::string text{};   // why
        std::string leave{};  // why it is asked to leave when it has no call; empty: it is not
    };

    Health(const StuckPolicy& stuck, Duration idle_timeout) noexcept
        : stuck_(stuck), idle_timeout_(idle_timeout) {}

    // --- Questions

    // When to look at the latest.
    [[nodiscard]] TimePoint next_look() const noexcept {
        return std::min({overdue_look_, silence_look_, heartbeat_look_, idle_look_});
    }
    [[nodiscard]] Run run() const noexcept { return run_; }
    [[nodiscard]] Guard guard() const noexcept {
        return unheard_since_ ? Guard::awaited : Guard::heard;
    }

    // --- Events

    void started(TimePoint now) noexcept {
        idle_look_ = deadline_after(now, idle_timeout_);
        if (acts()) heartbeat_look_ = deadline_after(now, stuck_.heartbeat);
    }

    // A call has expired whose request had left. One look is for all such calls, however many there
    // are. False: the worker must not be told now, since any record continues a stopped process.
    [[nodiscard]] bool call_expired(TimePoint now, bool stopped) noexcept {
        if (!stopped && !acts()) return true;
        untold_ = untold_ || stopped;
        if (stopped && run_ == Run::running) suspect(now);
        if (!stopped) run_ = Run::running;
        look_at_overdue_by(stopped ? second_look_ : deadline_after(now, stuck_.grace));
        return !stopped;
    }

    // Begins a look. Its facts are given to look().
    [[nodiscard]] Due due(TimePoint now) noexcept {
        return {take(overdue_look_, now), take(silence_look_, now), take(heartbeat_look_, now),
                take(idle_look_, now)};
    }

    [[nodiscard]] Actions look(TimePoint now, const Due& due, const Facts& facts) {
        Actions actions;
        // It is about to end, and nothing waits for it.
        if (!facts.takes_calls && !facts.has_calls) return actions;
        assert(facts.has_overdue || facts.overdue.empty());
        assert(due.idleness || !facts.idle);
        const auto change =
            due.sees_process(facts.has_calls) ? see(now, facts.stopped) : Change::none;
        if (change == Change::continued) {  // it is told now, and has its grace
            actions.tell_untold = true;
            overdue_look_ = deadline_after(now, stuck_.grace);
        } else if (due.overdue && facts.stopped) {
            if (!facts.overdue.empty()) look_at_overdue_by(second_look_);
        } else if (due.overdue) {
            look_at_overdue(now, facts, actions);
        }
        if (change == Change::stopped_for_sure) on_stopped(facts, actions);
        if (due.silence) look_for_guard(now, facts, actions);
        if (due.heartbeat) look_for_heartbeat(now, facts, actions);
        if (due.idleness && facts.takes_calls) look_for_idleness(now, facts, actions);
        return actions;
    }

    // The guard has said something.
    void heard() noexcept {
        unheard_since_.reset();
        hang_told_ = false;
    }

    // It says that the handler of an overdue call still runs. `calls_at_once`: how many it may run.
    [[nodiscard]] Actions still_running(TimePoint now, const OverdueCall& call,
                                        unsigned calls_at_once) {
        Actions actions;
        actions.excuse = !replaces();  // it is told once
        tell(describe(call) + " still ran " +
                 std::to_string(to_milliseconds(now - call.expired).count()) +
                 " ms after its deadline",
             actions);
        // With one handler alone no other call can be answered.
        if (actions.end == End::kill && calls_at_once > 1) actions.end = End::kill_when_done;
        return actions;
    }

private:
    enum class Change { none, continued, stopped_for_sure };

    using Action = StuckPolicy::Action;
    [[nodiscard]] bool acts() const noexcept { return stuck_.action != Action::keep; }
    [[nodiscard]] bool replaces() const noexcept { return stuck_.action == Action::replace; }

    static bool take(TimePoint& look, TimePoint now) noexcept {
        const bool due = look <= now;
        if (due) look = TimePoint::max();
        return due;
    }

    void look_at_overdue_by(TimePoint when) noexcept {
        overdue_look_ = std::min(overdue_look_, when);
    }

    // --- Stopped

    void suspect(TimePoint now) noexcept {
        run_ = Run::suspected;
        second_look_ = deadline_after(now, until_stopped_for_sure);
    }

    Change see(TimePoint now, bool stopped) noexcept {
        if (!stopped) {
            const bool ran = std::exchange(run_, Run::running) == Run::running;
            return std::exchange(untold_, false) || !ran ? Change::continued : Change::none;
        }
        if (run_ != Run::running && now < second_look_) return Change::none;
        // A look that comes much too late, since this process was stopped as well, is a first one.
        const bool second =
            run_ != Run::running && now < deadline_after(second_look_, until_stopped_for_sure);
        suspect(now);
        if (!second) return Change::none;
        run_ = Run::stopped;
        return Change::stopped_for_sure;
    }

    void on_stopped(const Facts& facts, Actions& actions) {
        if (!facts.overdue.empty()) {
            const auto& call = facts.overdue.front();
            tell_hang("it was stopped by a signal when " + in_words(call) + " expired", actions);
        } else if (facts.has_calls && acts() && stuck_.heartbeat != no_timeout) {
            tell_hang("it was stopped by a signal while it had calls to answer", actions);
        }
    }

    // --- Stuck

    // A request that waits behind others is not stuck: the ledger tells what has begun, and the
    // worker's guard what still runs.
    void look_at_overdue(TimePoint now, const Facts& facts, Actions& actions) {
        if (!acts() || !facts.has_overdue) return;
        constexpr Duration shortest = std::chrono::milliseconds{50};
        look_at_overdue_by(deadline_after(now, std::max(stuck_.grace, shortest)));
        for (const auto& call : facts.overdue) {
            const auto look = deadline_after(call.expired, stuck_.grace);
            if (look <= now) {
                ask_guard(now, call.number, facts, actions);
            } else {
                look_at_overdue_by(look);
            }
        }
    }

    // --- Hanging as a whole

    // About a call, and so whether the guard can be heard at all. Before the worker's welcome the
    // start timeout is in charge.
    void ask_guard(TimePoint now, std::uint64_t number, const Facts& facts, Actions& actions) {
        const bool awaited = facts.ready && !unheard_since_;
        if (awaited) {
            unheard_since_ = now;
            silence_look_ = deadline_after(now, stuck_.silence);
        }
        actions.probes.push_back({number, awaited});
    }

    void look_for_guard(TimePoint now, const Facts& facts, Actions& actions) {
        if (!unheard_since_) return;
        silence_look_ = deadline_after(*unheard_since_, stuck_.silence);
        if (silence_look_ > now) return;  // it has answered, and was asked again
        // A stop is judged by two looks, and a core is written once.
        const auto patience = deadline_after(*unheard_since_, times(6, stuck_.silence));
        if (facts.stopped || (facts.dumping_core && now < patience)) {
            silence_look_ = deadline_after(now, stuck_.silence);
            return;
        }
        silence_look_ = TimePoint::max();
        tell_hang("its guard thread has not answered for " +
                      std::to_string(to_milliseconds(stuck_.silence).count()) + " ms",
                  actions);
    }

    void look_for_heartbeat(TimePoint now, const Facts& facts, Actions& actions) {
        const bool stopped = facts.has_calls && facts.stopped;
        heartbeat_look_ = stopped ? second_look_ : deadline_after(now, stuck_.heartbeat);
        if (facts.has_calls && !stopped) ask_guard(now, 0, facts, actions);
    }

    // --- Idle

    void look_for_idleness(TimePoint now, const Facts& facts, Actions& actions) {
        if (!facts.idle) {
            idle_look_ = deadline_after(now, idle_timeout_);
            return;
        }
        actions.leave =
            "it had no call for " + std::to_string(to_milliseconds(idle_timeout_).count()) + " ms";
    }

    // --- What is told

    static std::string in_words(const OverdueCall& call) {
        return "call " + std::to_string(call.number) + " (\"" + std::string{call.request} + "\")";
    }
    static std::string describe(const OverdueCall& call) {
        return "the handler of " + in_words(call);
    }

    // Once, until it is heard again.
    void tell_hang(std::string text, Actions& actions) {
        if (!std::exchange(hang_told_, true)) tell(std::move(text), actions);
    }

    void tell(std::string text, Actions& actions) const {
        if (!acts()) return;
        actions.end = replaces() ? End::kill : End::report;
        actions.text = std::move(text);
    }

    StuckPolicy stuck_;
    Duration idle_timeout_;

    Run run_ = Run::running;
    TimePoint second_look_{};                 // unless it is running
    bool untold_ = false;                     // a call expired while it was stopped
    std::optional<TimePoint> unheard_since_;  // the first question that was not answered
    bool hang_told_ = false;                  // since it was heard last

    TimePoint overdue_look_ = TimePoint::max();
    TimePoint silence_look_ = TimePoint::max();
    TimePoint heartbeat_look_ = TimePoint::max();
    TimePoint idle_look_ = TimePoint::max();
};

}  // namespace detail
TETHER_NAMESPACE_END
