#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>

namespace tether_test {

/// Longer than anything that works takes.
inline constexpr std::chrono::seconds patience{30};

/// A number that threads change and wait for.
class Tally {
public:
    void add(int amount = 1) {
        const std::scoped_lock lock{mutex_};
        value_ += amount;
        changed_.notify_all();
    }
    void reset() {
        const std::scoped_lock lock{mutex_};
        value_ = 0;
        changed_.notify_all();
    }
    [[nodiscard]] int value() const {
        const std::scoped_lock lock{mutex_};
        return value_;
    }
    /// False: the number was not reached in time, or `stop` was requested.
    [[nodiscard]] bool wait_for(int value, std::stop_token stop = {}) const {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, std::move(stop), patience, [&] { return value_ >= value; });
    }

private:
    mutable std::mutex mutex_;
    mutable std::condition_variable_any changed_;
    int value_ = 0;
};

}  // namespace tether_test
