// Why: Health decides whether a worker is still of use. Here its facts are collected, among them
// what the worker's guard says on the control channel, and its actions are carried out. Members of
// Session.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/parent/session.hpp>
#include <tether/detail/wire/control_record.hpp>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// --- The control channel

inline void Session::send_control(std::string_view record) {
    if (!control_.send(record)) watch_control_room();
}

inline void Session::send_control(std::uint64_t number, ControlType type) {
    const auto record = record_about(number, type);
    send_control({record.data(), record.size()});
}

// False: the worker has closed its end.
inline bool Session::read_control() {
    const auto received = control_.receive(connection_.calls_made());
    if (received.failure) on_failure(*received.failure);
    if (received.heard) on_heard();
    if (received.unread) on_never_began();
    for (const auto number : received.running) on_still_running(number);
    for (const auto number : received.overran) connection_.on_overrun(number);
    return received.open;
}

// A process that goes on without the channel is none that could serve. One that is ending has its
// moment to end.
inline void Session::on_never_began() {
    never_began_.store(true);
    if (!connection_.ready()) {
        kill_later(errc::start_failed, never_began, std::chrono::milliseconds{100});
    }
}

// A worker that says why it cannot serve ends by itself, and its report shows how. One whose
// program goes on without the hook may do anything, and one that served before is out of step.
inline void Session::on_failure(const StartFailure& failure) {
    connection_.stop_reading();
    const bool ends = failure.cause != errc::hook_missing && failure.cause != errc::framing;
    const bool believed = failure.cause != errc::framing;
    if (!ends || connection_.ready()) return kill(failure.cause, failure.text, believed);
    set_reason({failure.cause, failure.text});
    kill_later(failure.cause, failure.text, std::chrono::seconds{1});
}

// --- Events for Health

// False: the worker is not told now that a call has expired.
inline bool Session::tell_expired() {
    const bool stopped = process_.is_stopped();
    const auto lock = acquire(mutex_);
    const bool tell = health_.call_expired(Clock::now(), stopped);
    arm_look(lock);
    return tell;
}

inline void Session::on_heard() {
    const auto lock = acquire(mutex_);
    health_.heard();
}

// The guard says that the handler of an overdue call still runs. Its answer may be on its way.
inline void Session::on_still_running(std::uint64_t number) {
    if (!connection_.overdue_call(number)) return;
    connection_.read_available();
    const auto overdue = connection_.overdue_call(number);
    if (!overdue || !connection_.takes_calls()) return;
    Health::Actions actions;
    {
        const auto lock = acquire(mutex_);
        actions = health_.still_running(
            Clock::now(), {number, overdue->call.request, overdue->call.expired}, calls_at_once());
    }
    if (actions.excuse) connection_.excuse(number);
    carry_out(actions);
}

// --- Looks

inline void Session::arm_look(const Lock& lock) {
    const auto when = health_.next_look();
    if (!watches_ || when >= armed_look_) return;
    armed_look_ = when;
    at(lock, watches_->health, when, [](Session& session) { session.look_after_health(); });
}

inline void Session::look_after_health() {
    Health::Due due;
    {
        const auto lock = acquire(mutex_);
        armed_look_ = TimePoint::max();
        due = health_.due(Clock::now());
    }
    if (due.any()) {
        // What has arrived counts, though it was not read in time.
        if (due.overdue || due.idleness) connection_.read_available();
        if (due.silence) read_control();
        const auto facts = find_facts(due);
        Health::Actions actions;
        {
            const auto lock = acquire(mutex_);
            actions = health_.look(Clock::now(), due, facts);
        }
        carry_out(actions);
    }
    const auto lock = acquire(mutex_);
    arm_look(lock);
}

inline Health::Facts Session::find_facts(const Health::Due& due) {
    Health::Facts facts;
    facts.takes_calls = connection_.takes_calls();
    facts.has_calls = connection_.has_calls();
    if (!facts.takes_calls && !facts.has_calls) return facts;
    facts.ready = connection_.ready();
    if (due.sees_process(facts.has_calls)) facts.stopped = process_.is_stopped();
    if (due.silence && !facts.stopped) facts.dumping_core = process_.is_dumping_core();
    facts.has_overdue = due.overdue && connection_.has_overdue();
    if (facts.has_overdue) {
        const auto begun = facts.stopped ? Begun{} : ledger_.look(facts.ready);
        for (const auto& [number, call] : connection_.overdue_calls(begun)) {
            facts.overdue.push_back({number, call.request, call.expired});
        }
    }
    facts.idle = due.idleness && facts.takes_calls && connection_.close_if_idle();
    return facts;
}

inline void Session::carry_out(const Health::Actions& actions) {
    if (actions.tell_untold) {
        for (const auto number : connection_.take_untold()) {
            send_control(number, ControlType::cancel);
        }
    }
    for (const auto& probe : actions.probes) {
        const auto record = record_about(probe.number, ControlType::probe);
        const std::string_view bytes{record.data(), record.size()};
        const bool sent = probe.awaited ? control_.send(bytes) : control_.send_unless_behind(bytes);
        if (!sent) watch_control_room();
    }
    if (actions.end == Health::End::report) {
        if (const auto lock = enter(output_mutex_)) output_->say(Severity::warning, actions.text);
    } else if (actions.end == Health::End::kill) {
        kill(errc::worker_stuck, actions.text);
    } else if (actions.end == Health::End::kill_when_done) {
        set_reason({errc::worker_stuck, actions.text});
        retire(StopLadder::Step::kill);
    }
    if (!actions.leave.empty()) {
        set_reason({errc::stopped, actions.leave, true});
        retire(StopLadder::Step::ask);
    }
}

// --- Retired

// It takes no more calls, and ends when those that it has are done.
inline void Session::retire(StopLadder::Step how) {
    connection_.close();
    const auto lock = acquire(mutex_);
    retirement_ = how;
    leave_soon(lock);
}

// On the background thread: here the connection's lock may be held.
inline void Session::leave_soon(const Lock& lock) {
    if (!watches_) return;
    at(lock, watches_->leave, Clock::now(), [](Session& session) { session.on_leave(); });
}

inline void Session::on_leave() {
    if (connection_.has_calls()) return;  // on_drained() comes
    StopLadder::Step how{};
    {
        const auto lock = acquire(mutex_);
        how = retirement_;
    }
    take_step(how);
    if (how == StopLadder::Step::ask) {
        kill_later(errc::stopped, "it was asked to leave but did not end", time_to_stop());
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
