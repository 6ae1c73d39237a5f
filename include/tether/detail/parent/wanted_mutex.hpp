// Why: a leader that blocks in a receive keeps the lock for reading meanwhile. It must not do so
// over and over while another thread waits for that lock, because a mutex is not fair.
#pragma once

#include <tether/config.hpp>

#include <atomic>
#include <mutex>

TETHER_NAMESPACE_BEGIN
namespace detail {

class WantedMutex {
public:
    void lock() {
        ++wanted_;
        mutex_.lock();
        --wanted_;
    }
    void unlock() { mutex_.unlock(); }

    // A thread waits for it, or is about to have it.
    [[nodiscard]] bool wanted() const noexcept { return wanted_ != 0; }
    // For a thread that must not wait without a bound.
    [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }

private:
    std::atomic<unsigned> wanted_ = 0;
    std::mutex mutex_;
};

}  // namespace detail
TETHER_NAMESPACE_END
