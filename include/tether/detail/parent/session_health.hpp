// Why: a worker may live and yet be of no use: its handler ignores every deadline, it is stopped,
// it ran out of memory, nobody calls it. What the parent does then; apart from session.hpp only for
// the reader's sake.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/parent/session.hpp>
#include <tether/detail/wire/control_record.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Who stops both processes may continue the parent first: a worker must be seen to be stopped
// twice, with this time between. And no record about an expired call is sent to one that
// is stopped: it would continue it.
inline constexpr Duration until_stopped_for_sure = std::chrono::milliseconds{200};

// A second look that comes much too late, since this process was stopped as well, is a first one.
inline bool is_in_time(TimePoint second_look) noexcept {
    return Clock::now() < deadline_after(second_look, until_stopped_for_sure);
}

// --- Stuck

// A call has expired, its request had left. True: the worker does not run at all, and is not to be
// woken by a record. One look is for all such calls, however many there are.
inline bool Session::watch_overdue() {
    const bool stopped = is_stopped();
    if (!stopped && stuck_policy_.action == StuckPolicy::Action::keep) return false;
    const auto pause = stopped ? until_stopped_for_sure : stuck_policy_.grace;
    const auto lock = acquire(mutex_);
    seen_stopped_ = seen_stopped_ || stopped;
    arm_look(deadline_after(Clock::now(), pause));
    return stopped;
}

// With mutex_ held.
inline void Session::arm_look(TimePoint when) {
    if (when >= next_look_) return;
    next_look_ = when;
    const auto watching = acquire(watching_);
    if (!watches_) return;
    at(watches_->overdue, when, [](Session& session) { session.look_at_overdue(); });
}

inline bool Session::shall_replace() const noexcept {
    return stuck_policy_.action == StuckPolicy::Action::replace;
}

inline bool Session::is_stopped() {
    const auto lock = acquire(process_mutex_);
    return process_.is_stopped();
}

// It has crashed, which may take long with much memory, and must not be disturbed.
inline bool Session::is_dumping_core() {
    const auto lock = acquire(process_mutex_);
    return process_.is_dumping_core();
}

inline void Session::look_at_overdue() {
    connection_.read_available();
    if (!connection_.takes_calls() && !connection_.has_calls()) return;
    const bool stopped = is_stopped();
    bool was_stopped = false;
    TimePoint due;
    {
        const auto lock = acquire(mutex_);
        due = std::exchange(next_look_, TimePoint::max());
        was_stopped = std::exchange(seen_stopped_, stopped);
    }
    TimePoint next;
    if (stopped) {
        next = look_at_stopped(was_stopped && is_in_time(due));
    } else if (was_stopped) {  // it is told now, and has its grace
        for (const auto number : connection_.take_untold()) {
            send_control(number, ControlType::cancel);
        }
        next = deadline_after(Clock::now(), stuck_policy_.grace);
    } else {
        next = look_at_running();
    }
    const auto lock = acquire(mutex_);
    arm_look(next);
}

inline TimePoint Session::look_at_stopped(bool in_time) {
    const auto calls = connection_.overdue_calls(Begun{});
    if (calls.empty()) return TimePoint::max();
    if (in_time) {
        on_hang("it was stopped by a signal when call " + std::to_string(calls.front().number) +
                " (\"" + std::string{calls.front().call.request} + "\") expired");
    }
    return deadline_after(Clock::now(), until_stopped_for_sure);
}

// A request that waits behind others is not stuck: the ledger tells what has begun, and the
// worker's guard what still runs.
inline TimePoint Session::look_at_running() {
    if (stuck_policy_.action == StuckPolicy::Action::keep || !connection_.has_overdue()) {
        return TimePoint::max();
    }
    const auto now = Clock::now();
    auto next =
        deadline_after(now, std::max<Duration>(stuck_policy_.grace, std::chrono::milliseconds{50}));
    for (const auto& [number, call] :
         connection_.overdue_calls(ledger_.look(connection_.ready()))) {
        const auto look = deadline_after(call.expired, stuck_policy_.grace);
        if (look <= now) probe(number);
        if (look > now) next = std::min(next, look);
    }
    return next;
}

// The guard's answer.
inline void Session::on_still_running(std::uint64_t number) {
    if (!connection_.overdue_call(number)) return;
    connection_.read_available();
    const auto overdue = connection_.overdue_call(number);
    if (!overdue || !connection_.takes_calls()) return;
    if (!shall_replace()) connection_.excuse(number);  // it is told once
    const auto text =
        "the handler of call " + std::to_string(number) + " (\"" +
        std::string{overdue->call.request} + "\") still ran " +
        std::to_string(to_milliseconds(Clock::now() - overdue->call.expired).count()) +
        " ms after its deadline";
    if (shall_replace() && concurrency_ > 1) {
        set_reason({errc::worker_stuck, text});
        retire(StopLadder::Step::kill);
    } else {  // the others cannot be answered
        report_or_kill(text);
    }
}

inline void Session::report_or_kill(const std::string& text) {
    if (shall_replace()) return kill(errc::worker_stuck, text);
    if (stuck_policy_.action == StuckPolicy::Action::keep) return;
    if (const auto lock = enter(output_mutex_)) {
        output_->say(Severity::warning, text);
    }
}

// --- Hanging as a whole

// Asks the guard about a call, and so whether it can be heard at all. Before the worker's welcome
// the start timeout is in charge.
inline void Session::probe(std::uint64_t number) {
    if (connection_.ready()) {
        const auto lock = acquire(mutex_);
        if (!unheard_since_) {
            await_guard(unheard_since_.emplace(Clock::now()));
            return send_control(number, ControlType::probe);
        }
    }
    // It has one to answer already.
    const auto record = record_about(number, ControlType::probe);
    if (!control_.send_unless_behind({record.data(), record.size()})) watch_control_room();
}

// With mutex_ held.
inline void Session::await_guard(TimePoint since) {
    const auto watching = acquire(watching_);
    if (!watches_) return;
    at(watches_->silence, deadline_after(since, stuck_policy_.silence),
       [](Session& session) { session.on_silence(); });
}

inline void Session::on_heard() {
    const auto lock = acquire(mutex_);
    unheard_since_.reset();
    hang_reported_ = false;
}

inline void Session::on_silence() {
    read_control();
    if (!connection_.takes_calls() && !connection_.has_calls()) return;
    {
        const auto lock = acquire(mutex_);
        if (!unheard_since_) return;
        if (deadline_after(*unheard_since_, stuck_policy_.silence) > Clock::now()) {
            return await_guard(*unheard_since_);  // it has answered, and was asked again
        }
        // A stop is judged by those who look twice.
        const bool patient =
            is_stopped() ||
            (is_dumping_core() &&
             Clock::now() < deadline_after(*unheard_since_, times(6, stuck_policy_.silence)));
        if (patient) return await_guard(Clock::now());
    }
    on_hang("its guard thread has not answered for " +
            std::to_string(to_milliseconds(stuck_policy_.silence).count()) + " ms");
}

inline void Session::on_hang(const std::string& text) {
    {
        const auto lock = acquire(mutex_);
        if (std::exchange(hang_reported_, true)) return;
    }
    report_or_kill(text);
}

// With watching_ held.
inline void Session::watch_heartbeat(Duration pause) {
    if (stuck_policy_.action == StuckPolicy::Action::keep) return;
    at(watches_->heartbeat, deadline_after(Clock::now(), pause),
       [](Session& session) { session.on_heartbeat(); });
}

inline void Session::on_heartbeat() {
    const bool has_calls = connection_.has_calls();
    if (!connection_.takes_calls() && !has_calls) return;
    const bool stopped = has_calls && is_stopped();
    const bool for_sure = second_look_ && is_in_time(*second_look_);
    second_look_.reset();
    if (stopped && for_sure) {
        on_hang("it was stopped by a signal while it had calls to answer");
    } else if (stopped) {
        second_look_ = deadline_after(Clock::now(), until_stopped_for_sure);
    } else if (has_calls) {
        probe(0);
    }
    const auto watching = acquire(watching_);
    if (!watches_) return;
    watch_heartbeat(stopped ? until_stopped_for_sure : stuck_policy_.heartbeat);
}

// --- Idle

// With watching_ held.
inline void Session::watch_idleness() {
    at(watches_->idle, deadline_after(Clock::now(), idle_timeout_),
       [](Session& session) { session.on_idle(); });
}

inline void Session::on_idle() {
    connection_.read_available();
    if (!connection_.takes_calls()) return;
    if (!connection_.close_if_idle()) {
        const auto watching = acquire(watching_);
        if (watches_) watch_idleness();
        return;
    }
    const auto patience = to_milliseconds(idle_timeout_).count();
    set_reason({errc::stopped, "it had no call for " + std::to_string(patience) + " ms", true});
    retire(StopLadder::Step::ask);
}

// --- Given up

// It takes no more calls, and ends when those that it has are done.
inline void Session::retire(StopLadder::Step how) {
    connection_.close();
    const auto lock = acquire(mutex_);
    retirement_ = how;
    leave_soon();
}

// Not here: locks are held.
inline void Session::leave_soon() {
    const auto watching = acquire(watching_);
    if (!watches_) return;
    at(watches_->leave, Clock::now(), [](Session& session) { session.on_leave(); });
}

inline void Session::on_leave() {
    if (connection_.has_calls()) return;  // on_drained() comes
    StopLadder::Step how{};
    {
        const auto lock = acquire(mutex_);
        how = retirement_;
    }
    take_step(how);
    if (how == StopLadder::Step::ask)
        kill_later(errc::stopped, "it was asked to leave but did not end", time_to_stop());
}

}  // namespace detail
TETHER_NAMESPACE_END
