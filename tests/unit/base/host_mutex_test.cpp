#include <tether/detail/base/host_mutex.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/latch.hpp"

namespace host_mutex_test {

namespace {

const std::atomic<bool> not_calling{false};

using namespace std::chrono_literals;
using tether::detail::HostMutex;

/// Holds a mutex from its construction to its destruction.
class HolderThread {
public:
    explicit HolderThread(HostMutex& mutex)
        : thread_([this, &mutex] {
              const auto lock = mutex.lock(false, not_calling);
              held_.add();
              static_cast<void>(released_.wait_for(1));
          }) {
        REQUIRE(held_.wait_for(1));
    }
    HolderThread(const HolderThread&) = delete;
    HolderThread& operator=(const HolderThread&) = delete;
    ~HolderThread() {
        released_.add();
        thread_.join();
    }

private:
    tether_test::Tally held_;
    tether_test::Tally released_;
    std::thread thread_;
};

}  // namespace

TEST_CASE("a host mutex excludes others, as any mutex") {
    HostMutex mutex;
    int count = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int j = 0; j < 1000; ++j) {
                const auto lock = mutex.lock(false, not_calling);
                if (lock) ++count;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(count == 4000);
}

TEST_CASE("a lock of a host mutex can be moved, and is taken again after its end") {
    HostMutex mutex;
    for (const bool exiting : {false, true, false, true}) {
        auto lock = mutex.lock(exiting, not_calling);
        REQUIRE(lock);
        const auto moved = std::move(lock);
        CHECK(moved);
        CHECK_FALSE(mutex.lock(true, not_calling));  // the first one has not unlocked it
    }
    CHECK_FALSE(HostMutex::Lock{});
}

TEST_CASE("during exit the holder of a host mutex gets no second lock, and does not hang") {
    HostMutex mutex;
    const auto lock = mutex.lock(false, not_calling);
    REQUIRE(lock);
    CHECK_FALSE(mutex.lock(true, not_calling));
    CHECK_FALSE(mutex.lock(true, not_calling));
}

TEST_CASE("during exit nobody waits long for another thread's host mutex") {
    HostMutex mutex;
    {
        const HolderThread holder{mutex};
        const auto start = std::chrono::steady_clock::now();
        CHECK_FALSE(mutex.lock(true, not_calling));
        CHECK(std::chrono::steady_clock::now() - start < tether_test::patience / 2);
    }
    CHECK(mutex.lock(true, not_calling));
}

TEST_CASE("during exit a host mutex that becomes free is taken") {
    HostMutex mutex;
    std::optional<HolderThread> holder{mutex};
    tether_test::Tally trying;
    std::atomic<bool> taken{false};
    std::thread waiter{[&] {
        trying.add();
        const auto start = std::chrono::steady_clock::now();
        while (!taken && std::chrono::steady_clock::now() - start < tether_test::patience) {
            if (mutex.lock(true, not_calling)) taken = true;
        }
    }};
    CHECK(trying.wait_for(1));
    holder.reset();
    waiter.join();
    CHECK(taken);
}

}  // namespace host_mutex_test
