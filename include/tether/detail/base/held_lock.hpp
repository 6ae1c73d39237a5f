// Why: the thread that ends the program must not wait for ever for a lock. Another thread may have
// been suspended with it; and where a signal handler calls exit(), it may be this very thread that
// was interrupted with it. An end that is given up there loses nothing: the end of this process is
// the end of its workers.
#pragma once

#include <tether/config.hpp>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a thread is doing, by itself known only.
struct ThreadPlace {
    unsigned entered = 0;  // calls of a worker's members that this thread is inside of
    int rounds = -1;       // how long it may still wait for locks, in milliseconds; -1: for ever
};
inline constinit thread_local ThreadPlace this_place{};

// This thread is inside of Tether: what it calls now is called by a signal handler.
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

// Code of the host runs, as a callback, with none but HostMutexes held.
class Left {
public:
    Left() noexcept { this_place.entered = 0; }
    Left(const Left&) = delete;
    Left& operator=(const Left&) = delete;
    ~Left() { this_place.entered = before_; }

private:
    const unsigned before_ = this_place.entered;
};

// While this lives, the thread waits for no lock and no other thread beyond `limit` altogether.
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

// One millisecond of what the thread may wait. Throws HeldUp when there is none left.
inline void wait_a_round() {
    if (this_place.rounds <= 0) throw HeldUp{};
    --this_place.rounds;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

// Locks; throws HeldUp where locks are bounded and this is not to be had.
[[nodiscard]] inline std::unique_lock<std::mutex> acquire(std::mutex& mutex) {
    if (!locks_are_bounded()) return std::unique_lock{mutex};
    std::unique_lock lock{mutex, std::try_to_lock};
    while (!lock) {
        wait_a_round();
        static_cast<void>(lock.try_lock());
    }
    return lock;
}

// As std::condition_variable::wait, in the same way.
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
