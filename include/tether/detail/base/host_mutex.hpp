// Why: a mutex that is held while the host's own code runs (a callback). That code may call exit(),
// which destroys workers, or wait for the thread that does. Whoever holds such a mutex gets no
// second lock instead of a deadlock, and during exit it is tried, never waited for.
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

    // The result may be no lock: for the thread that has one, and with `exiting` or bounded locks
    // for any. `calling`: the host's own code runs under it, and is waited for, except at exit.
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
