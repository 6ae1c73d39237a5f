// Why: this mutex is held while a callback of the host runs. The callback may call exit(), which
// destroys workers, or wait for the thread that does. So a thread that holds the mutex already gets
// an empty lock instead of a deadlock, and during exit the mutex is only tried, for a bounded time.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/held_lock.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class HostMutex {
public:
    class Lock {
    public:
        Lock() noexcept = default;
        Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
        Lock& operator=(Lock&&) = delete;
        ~Lock() {
            if (mutex_ == nullptr) return;
            mutex_->holder_.store({});
            mutex_->mutex_.unlock();
        }
        [[nodiscard]] explicit operator bool() const noexcept { return mutex_ != nullptr; }

    private:
        friend class HostMutex;
        explicit Lock(HostMutex& mutex) noexcept : mutex_(&mutex) {
            mutex.holder_.store(std::this_thread::get_id());
        }
        HostMutex* mutex_ = nullptr;
    };

    [[nodiscard]] bool held_here() const noexcept {
        return holder_.load() == std::this_thread::get_id();
    }

    // The lock is empty if this thread holds the mutex already, or if `exiting` or bounded locks
    // end the wait. `calling`: a callback runs under the mutex; its return is waited for, except at
    // exit.
    [[nodiscard]] Lock lock(bool exiting, const std::atomic<bool>& calling) {
        if (held_here()) return {};
        if (!exiting && !locks_are_bounded()) {
            mutex_.lock();
            return Lock{*this};
        }
        for (int round = 0; round < 50;) {
            if (mutex_.try_lock()) return Lock{*this};
            const bool waits = !exiting && calling.load();
            if (!waits) ++round;
            if (exiting || waits) {
                std::this_thread::sleep_for(std::chrono::milliseconds{1});
            } else {
                wait_a_round();
            }
        }
        return {};
    }

private:
    std::mutex mutex_;
    std::atomic<std::thread::id> holder_{};
};

}  // namespace detail
TETHER_NAMESPACE_END
