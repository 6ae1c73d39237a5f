// Why: an answer that comes within microseconds is had sooner, and for less, by looking for it
// again and again than by going to sleep; unless the other side needs this very core in order to
// send it. The scheduler may even have put it there, expecting this side to sleep: so others may
// run between two looks. What finds nothing is given up, and tried ever more rarely.
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
    // Zero: never look.
    explicit Spin(Duration longest = Duration::zero()) noexcept : longest_(longest) {}

    // Calls look() until that returns true, which is the result, or the time is over.
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
        // What was found too late counts as missed: others had the core meanwhile.
        misses_ = now < end ? 0 : std::min(misses_ + 1, 12U);
        resting_ = misses_ == 0 ? 0 : (1U << misses_) - 2;
        return found;
    }

private:
    Duration longest_;
    unsigned misses_ = 0;   // in a row
    unsigned resting_ = 0;  // how often not to look
};

}  // namespace detail
TETHER_NAMESPACE_END
