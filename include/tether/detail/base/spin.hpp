// Why: polling gets an answer that comes within microseconds sooner and cheaper than sleeping,
// unless the other side needs this core to send it. The scheduler may even have put the other side
// there, expecting this side to sleep, so the thread yields between two looks. After repeated
// misses it spins ever more rarely.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <thread>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Used by one thread at a time.
class Spin {
public:
    // Zero: never spin.
    explicit Spin(Duration longest = Duration::zero()) noexcept : longest_(longest) {}

    // Calls look() until it returns true or the time is over. Returns whether it did.
    template <class Look>
    bool operator()(Look look) {
        if (longest_ <= Duration::zero() || resting_ != 0) {
            resting_ -= std::min(resting_, 1U);
            return false;
        }
        auto now = Clock::now();
        const auto end = now + longest_;
        bool found = false;
        for (;;) {
            found = look();
            now = Clock::now();
            if (found || now >= end) break;
            std::this_thread::yield();
        }
        // An answer that came too late counts as a miss: other threads had the core meanwhile.
        misses_ = now < end ? 0 : std::min(misses_ + 1, 12U);
        resting_ = misses_ == 0 ? 0 : (1U << misses_) - 2;
        return found;
    }

private:
    Duration longest_;
    unsigned misses_ = 0;   // in a row
    unsigned resting_ = 0;  // how many times not to spin
};

}  // namespace detail
TETHER_NAMESPACE_END
