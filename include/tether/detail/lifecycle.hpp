// Why: when to start again and how to stop are policies; as plain state machines that are given the
// time they can be tested without a process.
#pragma once

#include <tether/config.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

TETHER_NAMESPACE_BEGIN
namespace detail {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

// now + duration, where "for ever" and overflow are the far end of time.
inline TimePoint deadline_after(TimePoint now, Duration duration) noexcept {
    if (duration >= TimePoint::max() - now) return TimePoint::max();
    return now + std::max(duration, Duration::zero());
}

// Several times a duration, where overflow is for ever.
inline Duration times(std::int64_t count, Duration duration) noexcept {
    return duration > Duration::max() / count ? Duration::max() : count * duration;
}

// As on the wire, where nothing is negative.
inline std::uint64_t to_microseconds(Duration duration) noexcept {
    const auto count = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
    return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}

// The time as a wait sees it: the clock, which a library in front of the C library may hold still
// or set back, and what the kernel's own timeouts took. No bound at exit rests on the clock alone.
class WaitClock {
public:
    TimePoint now() noexcept {
        const auto clock = Clock::now();
        if (clock <= last_) skew_ += last_ - clock + std::chrono::milliseconds{1};
        last_ = clock;
        return clock + skew_;
    }

    // A wait ended because the kernel let `time` pass, begun at the last now().
    void slept(Duration time) noexcept {
        const auto clock = Clock::now();
        const auto due = last_ + time;
        if (clock < due) skew_ += due - clock;
        last_ = std::min(last_, clock - std::chrono::nanoseconds{1});
    }

private:
    TimePoint last_ = TimePoint::min();
    Duration skew_{};
};

// Decides when the next process may be started after unexpected ends.
class RestartBudget {
public:
    explicit RestartBudget(RestartPolicy policy) : policy_(policy) {}

    // A process ended without being told to, or did not start.
    void record_failure(TimePoint now) {
        forget_old(now);
        failures_.push_back(now);
        pause_until_ = deadline_after(now, pause());
    }

    [[nodiscard]] bool spent(TimePoint now) {
        forget_old(now);
        return failures_.size() > policy_.budget;
    }

    // When the next start may happen; in the past when it may happen now.
    [[nodiscard]] TimePoint next_start() const noexcept { return pause_until_; }

    [[nodiscard]] std::size_t failures() const noexcept { return failures_.size(); }

    void reset() {
        failures_.clear();
        pause_until_ = TimePoint::min();
    }

private:
    void forget_old(TimePoint now) {
        while (!failures_.empty() && now - failures_.front() > policy_.window) {
            failures_.pop_front();
        }
        // Only the number above the budget matters.
        while (failures_.size() > std::size_t{policy_.budget} + 1) failures_.pop_front();
    }

    // None after the first failure in the window, then doubling.
    [[nodiscard]] Duration pause() const noexcept {
        if (failures_.size() < 2) return Duration::zero();
        auto pause = std::max(policy_.initial_pause, Duration::zero());
        for (std::size_t i = 2; i < failures_.size() && pause < policy_.max_pause; ++i) {
            pause = times(2, pause);
        }
        return std::min(pause, policy_.max_pause);
    }

    RestartPolicy policy_;
    std::deque<TimePoint> failures_;
    TimePoint pause_until_ = TimePoint::min();
};

// The steps of ending a process, each taken when the one before had its time. The last two are for
// a process that SIGKILL does not end, since it was refused or the kernel does not let go of it.
class StopLadder {
public:
    enum class Step { none, ask, terminate, kill, cut, give_up };

    // The kernel may need some time to give back the memory of a large process.
    static constexpr auto kill_patience = std::chrono::seconds{10};
    // For the worker's own guard, once its lifeline is cut.
    static constexpr auto cut_patience = std::chrono::seconds{3};

    // `first` is where it begins: `kill` for no friendliness at all.
    StopLadder(StopPolicy policy, Step first) noexcept : policy_(policy), next_(first) {}

    // The step that is due at `now`, each once; `none` when it is time to wait until deadline().
    Step advance(TimePoint now) noexcept {
        if (now < deadline_) return Step::none;
        const Step step = next_;
        switch (step) {
            case Step::ask:
                next_ = Step::terminate;
                deadline_ = deadline_after(now, policy_.drain);
                break;
            case Step::terminate:
                next_ = Step::kill;
                deadline_ = deadline_after(now, policy_.terminate);
                break;
            case Step::kill:
                next_ = Step::cut;
                deadline_ = deadline_after(now, kill_patience);
                break;
            case Step::cut:
                next_ = Step::give_up;
                deadline_ = deadline_after(now, cut_patience);
                break;
            case Step::give_up:
            case Step::none:
                next_ = Step::none;
                deadline_ = TimePoint::max();
                break;
        }
        return step;
    }

    [[nodiscard]] TimePoint deadline() const noexcept { return deadline_; }

    // Skips the friendly steps: time is up.
    void hurry() noexcept {
        if (next_ != Step::ask && next_ != Step::terminate) return;
        next_ = Step::kill;
        deadline_ = TimePoint::min();
    }

    // The last step had no effect: the next is due at once.
    void refused() noexcept { deadline_ = TimePoint::min(); }

private:
    StopPolicy policy_;
    Step next_;
    TimePoint deadline_ = TimePoint::min();
};

}  // namespace detail
TETHER_NAMESPACE_END
