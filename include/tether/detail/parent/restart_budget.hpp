// Why: when to start again is a policy; as a state machine that is given the time it can be tested
// without a process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>

TETHER_NAMESPACE_BEGIN
namespace detail {

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

}  // namespace detail
TETHER_NAMESPACE_END
