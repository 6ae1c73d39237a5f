#include <tether/detail/worker/active_calls.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace active_calls_test {

using namespace std::chrono_literals;
using tether::detail::ActiveCalls;
using tether::detail::TimePoint;

TEST_CASE("a running call is told to stop, and only that one") {
    ActiveCalls calls{2};
    CHECK(calls.begin(0, 1, 1));
    CHECK(calls.begin(1, 2, 2));
    CHECK_FALSE(calls.stop_requested(0));
    calls.cancel(2);
    CHECK_FALSE(calls.stop_requested(0));
    CHECK(calls.stop_requested(1));
    calls.end(1);
    CHECK_FALSE(calls.stop_requested(1));
    CHECK(calls.begin(1, 3, 3));
    CHECK_FALSE(calls.stop_requested(1));
}

TEST_CASE("a call that overruns is told to stop, once") {
    ActiveCalls calls{3};
    const TimePoint start{};
    CHECK(calls.next_overrun() == TimePoint::max());
    CHECK(calls.begin(0, 1, 1));
    CHECK(calls.begin(1, 2, 2, start + 2s));
    CHECK(calls.begin(2, 3, 3, start + 1s));
    CHECK(calls.next_overrun() == start + 1s);
    CHECK(calls.stop_overrun(start) == 0);
    CHECK(calls.stop_overrun(start + 1s) == 3);
    CHECK(calls.stop_overrun(start + 1s) == 0);
    CHECK(calls.stop_requested(2));
    CHECK_FALSE(calls.stop_requested(1));
    CHECK(calls.next_overrun() == start + 2s);
    calls.end(1);
    CHECK(calls.next_overrun() == TimePoint::max());
    CHECK(calls.stop_overrun(start + 5s) == 0);
}

TEST_CASE("a cancel may overtake its request") {
    ActiveCalls calls{1};
    calls.cancel(5);
    CHECK(calls.begin(0, 4, 4));
    CHECK_FALSE(calls.stop_requested(0));
    calls.end(0);
    CHECK_FALSE(calls.begin(0, 5, 5));
    CHECK(calls.stop_requested(0));
    calls.end(0);
    CHECK(calls.begin(0, 5, 5));  // it counts once
}

TEST_CASE("a cancel that came too late does no harm, and is forgotten", "[F40]") {
    ActiveCalls calls{1};
    CHECK(calls.begin(0, 1, 1));
    calls.end(0);
    calls.cancel(1);
    CHECK_FALSE(calls.stop_requested(0));
    CHECK(calls.begin(0, 2, 2));
    CHECK_FALSE(calls.stop_requested(0));
    calls.end(0);
    CHECK(calls.begin(0, 1, 1));
}

TEST_CASE("a cancel for a request that is still coming is kept") {
    ActiveCalls calls{1};
    calls.cancel(2);
    calls.cancel(4);
    CHECK(calls.begin(0, 3, 2));  // 2 is larger, a part of it has been read
    calls.end(0);
    CHECK_FALSE(calls.begin(0, 2, 2));
    calls.end(0);
    CHECK_FALSE(calls.begin(0, 4, 4));
}

TEST_CASE("many early cancels cost no memory, the latest ones count") {
    ActiveCalls calls{1};
    for (std::uint64_t number = 1; number <= 10'000; ++number) calls.cancel(number);
    CHECK(calls.begin(0, 1, 1));
    calls.end(0);
    for (std::uint64_t number = 10'000 - 4095; number <= 10'000; ++number) {
        CHECK_FALSE(calls.begin(0, number, number));
        calls.end(0);
    }
}

TEST_CASE("stopping stops what runs and what begins") {
    ActiveCalls calls{3};
    CHECK(calls.begin(0, 1, 1));
    calls.stop_all();
    CHECK(calls.stop_requested(0));
    CHECK(calls.begin(1, 2, 2));
    CHECK(calls.stop_requested(1));
    calls.end(0);
    CHECK(calls.begin(0, 3, 3));
    CHECK(calls.stop_requested(0));
}

TEST_CASE("a handler whose call alone was told to stop has an answer that counts") {
    ActiveCalls calls{1};
    CHECK(calls.begin(0, 1, 1));
    const auto of_coroutine = calls.cancellation(0);
    calls.cancel(1);
    calls.fire();
    CHECK(of_coroutine.stop_requested());
    CHECK(calls.cut_short(0) == ActiveCalls::CutShort::no);
    const auto of_handler = calls.token(0);
    calls.fire();
    CHECK(of_handler.stop_requested());
    CHECK(calls.cut_short(0) == ActiveCalls::CutShort::yes);
}

TEST_CASE("tokens are fired by the helper, not by the guard") {
    ActiveCalls calls{2};
    CHECK(calls.begin(0, 1, 1));
    CHECK(calls.begin(1, 2, 2));
    const auto first = calls.token(0);
    const auto same = calls.token(0);
    const auto second = calls.token(1);
    int fired = 0;
    const std::stop_callback callback{first, [&] { ++fired; }};
    calls.cancel(1);
    CHECK_FALSE(first.stop_requested());
    calls.fire();
    CHECK(first.stop_requested());
    CHECK(same.stop_requested());
    CHECK_FALSE(second.stop_requested());
    calls.fire();
    CHECK(fired == 1);

    // The next call has a token of its own.
    calls.end(0);
    CHECK(calls.begin(0, 3, 3));
    CHECK_FALSE(calls.token(0).stop_requested());
    calls.fire();
    CHECK_FALSE(calls.token(0).stop_requested());
}

TEST_CASE("a token that is asked for late is fired, too") {
    ActiveCalls calls{1};
    calls.cancel(1);
    CHECK_FALSE(calls.begin(0, 1, 1));
    const auto token = calls.token(0);
    calls.fire();
    CHECK(token.stop_requested());
}

TEST_CASE("a stop callback may use the calls") {
    ActiveCalls calls{1};
    CHECK(calls.begin(0, 1, 1));
    bool was_requested = false;
    const std::stop_callback callback{calls.token(0), [&] {
                                          was_requested = calls.stop_requested(0);
                                          calls.cancel(77);
                                          calls.token(0);
                                      }};
    calls.cancel(1);
    calls.fire();
    CHECK(was_requested);
}

TEST_CASE("a guard, a helper and handlers at once") {
    constexpr std::uint64_t rounds = 3000;
    ActiveCalls calls{2};
    std::atomic<bool> over{false};
    std::atomic<std::uint64_t> stopped{0};
    std::vector<std::thread> threads;
    for (std::size_t slot = 0; slot < 2; ++slot) {
        threads.emplace_back([&, slot] {
            for (std::uint64_t i = 0; i < rounds; ++i) {
                const bool fresh = calls.begin(slot, 1 + 2 * i + slot, 1);
                const auto token = calls.token(slot);
                if (!fresh || calls.stop_requested(slot)) ++stopped;
                calls.end(slot);
            }
        });
    }
    threads.emplace_back([&] {
        for (std::uint64_t number = 1; !over; number = number % (2 * rounds) + 1) {
            calls.cancel(number);
        }
    });
    threads.emplace_back([&] {
        while (!over) calls.fire();
    });
    threads[0].join();
    threads[1].join();
    over = true;
    threads[2].join();
    threads[3].join();
    // Each call is told at most once, or before it begins.
    CHECK(stopped.load() <= 2 * rounds);
    CHECK_FALSE(calls.stop_requested(0));
    CHECK_FALSE(calls.stop_requested(1));
}

}  // namespace active_calls_test
