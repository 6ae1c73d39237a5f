// Why: the thread that ends the program must not block on a lock for ever. A suspended thread may
// hold it, or this very thread, if the signal handler that interrupted it calls exit(). Giving up
// loses nothing: when this process ends, its workers end.
#pragma once

#include <tether/config.hpp>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a thread is doing. Only that thread accesses it.
struct ThreadPlace {
    unsigned entered = 0;  // calls of a worker's members that this thread is inside
    int rounds = -1;       // how long it may still wait for locks, in milliseconds; -1: for ever
};
TETHER_SHARED_STATE inline constinit thread_local ThreadPlace this_place{};

// While this lives, the thread is inside Tether: only a signal handler can make it call Tether
// again.
class Entered {
public:
    Entered() noexcept : before_(this_place.entered++) {}
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;
    ~Entered() { this_place.entered = before_; }
    [[nodiscard]] bool interrupted() const noexcept { return before_ != 0; }

private:
    const unsigned before_;
};
inline bool is_interrupted() noexcept { return this_place.entered != 0; }

// While this lives, the thread runs a callback of the host, and holds no mutexes except
// HostMutexes.
class Left {
public:
    Left() noexcept { this_place.entered = 0; }
    Left(const Left&) = delete;
    Left& operator=(const Left&) = delete;
    ~Left() { this_place.entered = before_; }

private:
    const unsigned before_ = this_place.entered;
};

// While this lives, the thread waits for locks and other threads for at most `limit` in total.
class BoundedLocks {
public:
    explicit BoundedLocks(std::chrono::milliseconds limit) noexcept {
        if (this_place.rounds < 0) this_place.rounds = static_cast<int>(limit.count());
    }
    BoundedLocks(const BoundedLocks&) = delete;
    BoundedLocks& operator=(const BoundedLocks&) = delete;
    ~BoundedLocks() { this_place.rounds = before_; }
    [[nodiscard]] bool spent() const noexcept { return this_place.rounds == 0; }

private:
    const int before_ = this_place.rounds;
};
inline bool locks_are_bounded() noexcept { return this_place.rounds >= 0; }

struct HeldUp : std::runtime_error {
    HeldUp() : std::runtime_error("a thread holds a lock of Tether's and does not run") {}
};

// Waits one millisecond of that limit. Throws HeldUp when none is left.
inline void wait_a_round() {
    if (this_place.rounds <= 0) throw HeldUp{};
    --this_place.rounds;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

// Locks `mutex`. Throws HeldUp if locks are bounded and the limit is spent.
[[nodiscard]] inline std::unique_lock<std::mutex> acquire(std::mutex& mutex) {
    if (!locks_are_bounded()) return std::unique_lock{mutex};
    std::unique_lock lock{mutex, std::try_to_lock};
    while (!lock) {
        wait_a_round();
        static_cast<void>(lock.try_lock());
    }
    return lock;
}

// As std::condition_variable::wait, with the same bound.
template <class Condition>
void wait_until_changed(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                        Condition condition) {
    if (!locks_are_bounded()) return changed.wait(lock, condition);
    while (!condition()) {
        auto* const mutex = lock.release();
        mutex->unlock();
        wait_a_round();
        lock = acquire(*mutex);
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
