// Why: how a worker process is ended, and how its end is settled: once, by whichever thread finds
// out about it. Members of Session.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/parent/session.hpp>
#include <tether/detail/wire/control_record.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// --- Towards the end

// The first reason is the one that counts. But bytes that made no sense are known to, whatever the
// worker was being ended for.
inline void Session::set_reason(Reason reason) {
    connection_.close();
    const auto lock = acquire(mutex_);
    const bool believed = reason.believed;
    if (!reason_) reason_ = std::move(reason);
    reason_->believed = reason_->believed && believed;
}

// Why it ended, as far as this side has to do with it.
inline std::optional<Reason> Session::reason() {
    const auto lock = acquire(mutex_);
    if (watch_error_ && !reason_) {
        connection_.close();
        reason_ = Reason{errc::worker_killed, "it could not be watched: " + watch_error_.message()};
    }
    return reason_;
}

inline void Session::ask_to_stop() {
    set_reason({errc::stopped, "it was stopped", true});
    {
        const auto lock = acquire(mutex_);
        if (std::exchange(asked_to_stop_, true)) return;
    }
    connection_.stop(end_of(reason()));
    send_control(control_record(ControlType::stop));
}

// Ends it by force.
inline void Session::kill(errc cause, const std::string& text, bool believed) {
    set_reason({cause, text, false, believed});
    take_step(StopLadder::Step::kill);
}

inline Duration Session::time_to_stop() const noexcept {
    const auto now = Clock::now();
    return deadline_after(deadline_after(now, stop_policy_.drain), stop_policy_.terminate) - now;
}

// Unless it ends by itself. The earliest such time counts.
inline void Session::kill_later(errc cause, const std::string& text, Duration patience) {
    const auto when = deadline_after(Clock::now(), patience);
    const auto lock = acquire(mutex_);
    if (!watches_ || when >= last_chance_) return;
    last_chance_ = when;
    last_reason_ = {cause, text};
    at(lock, watches_->lost, when, [](Session& session) { session.kill_at_last(); });
}

inline void Session::kill_at_last() {
    Reason reason;
    {
        const auto lock = acquire(mutex_);
        reason = last_reason_;
    }
    kill(reason.cause, reason.text);
}

// False: the system refused it.
inline bool Session::kill_tree() {
    const bool killed = process_.kill_tree();
    if (killed) {
        watch_step(StopLadder::Step::cut, StopLadder::kill_patience);
    } else {
        cut_lifeline();
    }
    return killed;
}

// The second way to end a worker: its own guard does it.
inline void Session::cut_lifeline() {
    control_.cut();
    process_.on_cut();
    watch_step(StopLadder::Step::give_up, StopLadder::cut_patience);
}

// --- The end

inline bool Session::settle() {
    // This thread collects it, further down its stack: in a callback of the host's.
    if (collecting_.held_here()) return true;
    const Connection::Postponed postponed{connection_};  // until collecting_ is released
    const auto collecting = enter(collecting_);
    if (!collecting) return runtime_.exiting() && process_.has_ended();
    if (finished_) return reap_left_behind();
    if (!ended_) ended_ = reap();
    if (!ended_ && given_up_) {
        ended_ = Ended{};
        left_behind_ = true;
    }
    if (!ended_) return false;
    close_watches();  // before any of the descriptors is
    // What it said and answered before it ended still counts. What an unrelated process, with a
    // copy of its connection, goes on to say does not: the rounds are bounded.
    for (int round = 0; round < 64 && connection_.read_available(); ++round) {
    }
    read_control();
    if (is_believed(reason())) connection_.recover(ledger_.held());
    std::string tail;
    if (const auto lock = enter(output_mutex_)) {
        output_->finish();
        tail = output_->tail();
    }
    finish(std::move(tail));
    finished_ = true;
    return true;
}

// For the connection. Nothing more begins in the worker from here on.
inline Connection::End Session::end_of(const std::optional<Reason>& why) const {
    const bool another = !for_good_.load() && !runtime_.exiting();
    ledger_.close();
    const bool asked = is_believed(why) && connection_.has_calls();
    auto begun = asked ? ledger_.look(connection_.ready()) : Begun{};
    return {std::move(begun), another, why && why->expected, is_by_itself(why)};
}

inline std::shared_ptr<ExitReport> Session::make_report(const Ended& ended, std::string tail,
                                                        const Begun& begun) const {
    const auto now = Clock::now();
    auto report = std::make_shared<ExitReport>();
    report->worker = name_;
    report->pid = pid_;
    report->generation = generation_;
    report->status = ended.status;
    report->uptime = to_milliseconds(now - started_);
    report->left_behind = left_behind_;
    report->peak_memory_bytes = ended.peak_memory_bytes;
    if (const auto kills = count_oom_kills(); kills && oom_kills_before_) {
        report->oom_kills = *kills - std::min(*kills, *oom_kills_before_);
    }
    report->limits = limits_;
    report->stderr_tail = std::move(tail);
    report->calls_in_flight = connection_.in_flight(now, begun);
    return report;
}

// When there is no memory for any of this, the next thread that collects tries again.
inline void Session::finish(std::string tail) {
    connection_.close();
    const auto why = reason();
    const bool ready = connection_.ready();
    [[maybe_unused]] auto [cause, text, expected, believed] =
        verdict(why, ended_->status, ready, !never_began_.load());
    const auto end_of_calls = end_of(why);
    const auto report = make_report(*ended_, std::move(tail), end_of_calls.begun);
    report->killed_from_outside = !why && was_killed(ended_->status);
    if (const auto refusal = process_.describe_refusal(left_behind_); !refusal.empty()) {
        text += (text.empty() ? "" : "; ") + refusal;
    }
    report->note = std::move(text);
    report->never_ready = !ready && !expected;
    if (observer_ != nullptr) observer_->ended(*report);
    // Before its calls are settled: a completion handler finds the worker in its new state.
    if (on_end_) {
        const SessionEnd end{report, CallError{cause, to_string(*report), report}, expected, ready,
                             !report->calls_in_flight.empty()};
        on_end_(end);
        on_end_ = nullptr;
    }
    connection_.finish(cause, end_of_calls, report);
    if (left_behind_ && runtime_.has_descriptors()) {
        control_.close();
        watch_left_behind();
    } else {
        close_descriptors();
        runtime_.remove(shared_from_this());
    }
}

// It was given up before it ended and is still to be reaped. The runtime owns this session
// meanwhile.
inline bool Session::reap_left_behind() {
    if (!left_behind_ || !reap()) return true;
    left_behind_ = false;
    close_watches();
    close_descriptors();
    runtime_.remove(shared_from_this());
    return true;
}

inline void Session::close_descriptors() {
    control_.close();
    alarm_.reset();
    process_.close();
}

}  // namespace detail
TETHER_NAMESPACE_END
