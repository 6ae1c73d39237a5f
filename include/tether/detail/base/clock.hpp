// Why: every deadline is a point of the monotonic clock, and none may overflow.
#pragma once

#include <tether/config.hpp>
#include <tether/duration.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>

TETHER_NAMESPACE_BEGIN
namespace detail {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

// now + duration; TimePoint::max() for no_timeout and on overflow. A negative duration counts as
// zero.
inline TimePoint deadline_after(TimePoint now, Duration duration) noexcept {
    if (duration >= TimePoint::max() - now) return TimePoint::max();
    return now + std::max(duration, Duration::zero());
}

// count * duration; Duration::max() on overflow.
inline Duration times(std::int64_t count, Duration duration) noexcept {
    return duration > Duration::max() / count ? Duration::max() : count * duration;
}

inline std::chrono::milliseconds to_milliseconds(Duration duration) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

// As on the wire: a negative duration becomes zero.
inline std::uint64_t to_microseconds(Duration duration) noexcept {
    const auto count = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
    return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}

// A clock for bounded waits. It also counts what the kernel's own timeouts took, because a
// preloaded library may stop the clock or set it back. No bound at exit depends on the clock alone.
class WaitClock {
public:
    TimePoint now() noexcept {
        const auto clock = Clock::now();
        if (clock <= last_) skew_ += last_ - clock + std::chrono::milliseconds{1};
        last_ = clock;
        return clock + skew_;
    }

    // A wait that began at the last now() ended by the kernel's timeout, after `time`.
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

}  // namespace detail
TETHER_NAMESPACE_END
