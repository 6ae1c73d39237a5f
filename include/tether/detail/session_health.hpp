// Why: a worker may live and yet be of no use: its handler ignores every deadline, it is stopped,
// it ran out of memory, nobody calls it. What the parent does then; apart from session.hpp only for
// the reader's sake.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/envelope.hpp>
#include <tether/detail/session.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// --- Stuck

// A call has expired, its request had left. True: the worker does not run at all, and shall be
// replaced. With mutex_ held.
inline bool Session::watch_overdue(const Call& call) {
    if (stuck_policy_.action == StuckPolicy::Action::keep) return false;
    bool stopped = false;
    if (stuck_policy_.action == StuckPolicy::Action::replace) {
        const std::scoped_lock lock{process_mutex_};
        stopped = process_.is_stopped();
    }
    const auto now = Clock::now();
    const auto look = stopped ? now : deadline_after(now, stuck_policy_.grace);
    overdue_.add({call.number, call.info.request, now, look});
    arm_look(overdue_.next_look());
    return stopped;
}

inline void Session::arm_look(TimePoint when) {
    const std::scoped_lock watching{watching_};
    if (!watches_) return;
    at(watches_->overdue, when, [](Session& session) { session.look_at_overdue(); });
}

// A request that waits behind others is not stuck: the worker's guard knows which handler runs. A
// worker that does not run cannot say so; the kernel does.
inline void Session::look_at_overdue() {
    read_available(nullptr);
    bool stopped = false;
    {
        const std::scoped_lock lock{process_mutex_};
        stopped = process_.is_stopped();
    }
    std::vector<OverdueCall> due;
    {
        const Lock lock{mutex_};
        if (ending_) return;
        overdue_.tidy([this](std::uint64_t number) { return calls_.is_abandoned(number); });
        const auto pause = std::max<Duration>(stuck_policy_.grace, std::chrono::milliseconds{50});
        due = overdue_.take_due(Clock::now(), pause);
        arm_look(overdue_.next_look());
    }
    for (const auto& call : due) {
        if (stopped && stuck_policy_.action == StuckPolicy::Action::replace) {
            return kill(errc::worker_stuck, "it was stopped by a signal when call " +
                                                std::to_string(call.number) + " (\"" +
                                                std::string{call.request} + "\") expired");
        }
        send_control(probe_record(call.number));
    }
}

// The guard's answer.
inline void Session::on_still_running(std::uint64_t number) {
    read_available(nullptr);
    std::string text;
    {
        const Lock lock{mutex_};
        const auto* call = overdue_.find(number);
        if (ending_ || call == nullptr || !calls_.is_abandoned(number)) return;
        text = "the handler of call " + std::to_string(number) + " (\"" +
               std::string{call->request} + "\") still ran " +
               std::to_string(to_milliseconds(Clock::now() - call->expired).count()) +
               " ms after its deadline";
        if (stuck_policy_.action == StuckPolicy::Action::replace) {
            set_reason(errc::worker_stuck, text);
            // With one handler at a time the others cannot be answered.
            if (concurrency_ > 1) return retire(StopLadder::Step::kill);
        } else {
            overdue_.tidy([number](std::uint64_t other) { return other != number; });
        }
    }
    if (stuck_policy_.action == StuckPolicy::Action::replace) {
        return take_step(StopLadder::Step::kill);
    }
    if (const auto lock = output_mutex_.lock(runtime_.exiting()))
        output_->say(Severity::warning, text);
}

// --- Out of memory

// A process in which an allocation failed may be in any state. With mutex_ held.
inline void Session::look_at_error(const Outcome& outcome) {
    const auto answer = ErrorAnswer::decode(outcome.bytes());
    const bool exhausted = std::ranges::any_of(
        answer.causes, [](const RemoteCause& cause) { return cause.code == "bad_alloc"; });
    if (answer.cause != errc::handler || !exhausted || ending_) return;
    set_reason(errc::worker_exited, "a handler ran out of memory (std::bad_alloc)");
    retire(StopLadder::Step::ask);
}

// --- Idle

// With watching_ held.
inline void Session::watch_idleness(TimePoint when) {
    at(watches_->idle, when, [](Session& session) { session.on_idle(); });
}

inline void Session::on_idle() {
    read_available(nullptr);
    const Lock lock{mutex_};
    if (ending_) return;
    const auto now = Clock::now();
    const bool busy = calls_.size() != 0 || calls_.abandoned() != 0;
    const auto due = deadline_after(busy ? now : last_call_, idle_timeout_);
    if (due <= now) {
        set_reason(
            errc::stopped,
            "it had no call for " + std::to_string(to_milliseconds(idle_timeout_).count()) + " ms");
        return retire(StopLadder::Step::ask);
    }
    const std::scoped_lock watching{watching_};
    if (watches_) watch_idleness(due);
}

// --- Given up

// It takes no more calls, and ends when those that it has are done. With mutex_ held, as
// leave_soon.
inline void Session::retire(StopLadder::Step how) {
    retirement_ = how;
    if (calls_.size() == 0) leave_soon();
}

// Not here: a lock is held.
inline void Session::leave_soon() {
    const std::scoped_lock watching{watching_};
    if (!watches_) return;
    at(watches_->leave, Clock::now(), [](Session& session) { session.on_leave(); });
}

inline void Session::on_leave() {
    if (retirement_ == StopLadder::Step::kill) return take_step(StopLadder::Step::kill);
    ask_to_stop();
    kill_later(errc::stopped, "it was asked to leave but did not end");
}

}  // namespace detail
TETHER_NAMESPACE_END
