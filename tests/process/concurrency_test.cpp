// Many callers at once: each call settles once, with its own answer.

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <future>
#include <memory>
#include <random>
#include <stop_token>
#include <thread>
#include <utility>

#include <sys/syscall.h>

#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::concurrency_test {
namespace {

constexpr unsigned seed = 20'240'601;

/// How a lot of calls ended.
struct Tally {
    std::atomic<int> answered{0};
    std::atomic<int> timed_out{0};
    std::atomic<int> cancelled{0};
    std::atomic<int> wrong{0};

    [[nodiscard]] int settled() const { return answered + timed_out + cancelled + wrong; }

    void count(const CallError& error) {
        if (error.code() == errc::timeout) {
            ++timed_out;
        } else if (error.code() == errc::cancelled) {
            ++cancelled;
        } else {
            ++wrong;
        }
    }
};

/// Runs `act` on a thread, and returns when that sleeps in it, or is through.
template <class Act>
auto run_until_asleep(Act act) {
    std::promise<std::int64_t> thread;
    auto id = thread.get_future();
    auto result = std::async(std::launch::async, [&thread, act = std::move(act)] {
        thread.set_value(::syscall(SYS_gettid));
        return act();
    });
    const auto state = [number = id.get()] { return process_state(number); };
    static_cast<void>(eventually([&] { return state() == 'S' || state() == '\0'; }));
    return result;
}

TEST_CASE("16 threads call one worker", "[process][concurrency]") {
    const Census census;
    const auto transport = each_transport();
    const auto spin = GENERATE(0us, 15us);
    for (const unsigned concurrency : {1U, 4U}) {
        auto options = options_for(transport);
        options.concurrency = concurrency;
        options.spin = spin;
        TestWorker worker{options};
        std::atomic<int> wrong{0};
        std::vector<std::thread> threads;
        for (std::int64_t thread = 0; thread < 16; ++thread) {
            threads.emplace_back([&, thread] {
                for (std::int64_t i = 0; i < 100; ++i) {
                    if (worker.call(Add{thread * 1000, i}) != thread * 1000 + i) ++wrong;
                }
            });
        }
        for (auto& thread : threads) thread.join();
        CHECK(wrong == 0);
        CHECK(worker.generation() == 1);
    }
}

TEST_CASE("16 threads with random timeouts and cancellations", "[process][concurrency]") {
    const Census census;
    const auto transport = each_transport();
    for (const unsigned concurrency : {1U, 4U}) {
        auto options = options_for(transport);
        options.concurrency = concurrency;
        TestWorker worker{options};
        worker.call(Nothing{});
        Tally tally;
        constexpr int rounds = 60;
        std::vector<std::thread> threads;
        for (unsigned thread = 0; thread < 16; ++thread) {
            threads.emplace_back([&, thread] {
                std::mt19937 random{seed + thread};
                const std::string own(1 + thread * 1500, static_cast<char>('a' + thread));
                for (int round = 0; round < rounds; ++round) {
                    const auto text = own + std::to_string(round);
                    std::stop_source source;
                    std::optional<std::thread> canceller;
                    tether::CallOptions<Echo> call_options;
                    if (random() % 3 == 0) {
                        call_options.timeout = std::chrono::microseconds{random() % 1000};
                    }
                    if (random() % 3 == 0) {
                        call_options.stop_token = source.get_token();
                        canceller.emplace([&source, turns = random() % 20'000] {
                            for (std::atomic<unsigned> i{0}; i < turns; ++i) {
                            }
                            source.request_stop();
                        });
                    }
                    try {
                        const auto echoed = worker.call(Echo{text, {}}, call_options);
                        ++(echoed.text == text ? tally.answered : tally.wrong);
                    } catch (const CallError& error) {
                        tally.count(error);
                    }
                    if (canceller) canceller->join();
                }
            });
        }
        for (auto& thread : threads) thread.join();

        CAPTURE(tally.answered.load(), tally.timed_out.load(), tally.cancelled.load());
        CHECK(tally.wrong == 0);
        CHECK(tally.settled() == 16 * rounds);
        CHECK(tally.answered > 0);
        CHECK(worker.call(Add{1, 2}) == 3);
        CHECK(worker.generation() == 1);
    }
}

asio::awaitable<void> call_at_random(TestWorker& worker, Tally& tally, unsigned number,
                                     int rounds) {
    std::mt19937 random{seed + number};
    auto executor = co_await asio::this_coro::executor;
    for (int round = 0; round < rounds; ++round) {
        const auto text = std::string(1 + number * 700, static_cast<char>('a' + number % 26)) +
                          std::to_string(round);
        auto signal = std::make_shared<asio::cancellation_signal>();
        tether::CallOptions<Echo> call_options;
        if (random() % 3 == 0) call_options.timeout = std::chrono::microseconds{random() % 3000};
        if (random() % 3 == 0) {
            auto timer = std::make_shared<asio::steady_timer>(
                executor, std::chrono::microseconds{random() % 3000});
            timer->async_wait([timer, signal](const std::error_code&) {
                signal->emit(asio::cancellation_type::terminal);
            });
        }
        const Echo request{text, {}};
        try {
            const auto echoed = co_await worker.async_call(
                request, call_options,
                asio::bind_cancellation_slot(signal->slot(), asio::use_awaitable));
            ++(echoed.text == text ? tally.answered : tally.wrong);
        } catch (const CallError& error) {
            tally.count(error);
        }
    }
}

TEST_CASE("64 coroutines with random timeouts and cancellations", "[process][concurrency]") {
    const Census census;
    const auto transport = each_transport();
    for (const unsigned concurrency : {1U, 4U}) {
        asio::io_context context;
        auto options = options_for(transport);
        options.concurrency = concurrency;
        TestWorker worker{context, options};
        worker.call(Nothing{});
        Tally tally;
        constexpr int rounds = 15;
        for (unsigned number = 0; number < 64; ++number) {
            asio::co_spawn(context, call_at_random(worker, tally, number, rounds), asio::detached);
        }
        context.run();

        CAPTURE(tally.answered.load(), tally.timed_out.load(), tally.cancelled.load());
        CHECK(tally.wrong == 0);
        CHECK(tally.settled() == 64 * rounds);
        CHECK(tally.answered > 0);
        CHECK(worker.call(Add{1, 2}) == 3);
        CHECK(worker.generation() == 1);
    }
}

TEST_CASE("blocking and async callers while the worker is killed", "[process][concurrency]") {
    const Census census;
    auto options = options_for(each_transport());
    options.restart = {.budget = 1'000'000, .window = 1h, .initial_pause = 0s, .max_pause = 0s};
    TestWorker worker{options};
    std::atomic<int> wrong{0};
    std::atomic<int> settled{0};
    std::vector<std::thread> threads;
    for (std::int64_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            for (std::int64_t i = 0; i < 100; ++i) {
                auto future =
                    worker.async_call(Add{thread, i}, {.timeout = patience}, asio::use_future);
                for (const bool blocking : {true, false}) {
                    try {
                        const auto sum = blocking ? worker.call(Add{thread, i}) : future.get();
                        if (sum != thread + i) ++wrong;
                    } catch (const CallError& error) {
                        const bool fits = error.code() == errc::worker_killed ||
                                          error.code() == errc::start_failed;
                        if (!fits) ++wrong;
                    }
                    ++settled;
                }
            }
        });
    }
    std::atomic<bool> done{false};
    std::thread killer{[&] {
        while (!done) {
            const auto before = settled.load();
            static_cast<void>(eventually([&] { return done || settled > before + 20; }, 1s));
            if (const auto pid = worker.pid(); pid != 0) {
                ::kill(static_cast<::pid_t>(pid), SIGKILL);
            }
        }
    }};
    for (auto& thread : threads) thread.join();
    done = true;
    killer.join();
    CHECK(wrong == 0);
    CHECK(settled == 800);
}

TEST_CASE("handlers run at the same time where they may", "[process][concurrency]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(transport);
    options.concurrency = 4;
    TestWorker worker{options};
    std::vector<std::future<bool>> results;
    for (int i = 0; i < 6; ++i) {
        results.push_back(worker.async_call(Await{gate.path(), true}, asio::use_future));
    }
    for (int i = 0; i < 4; ++i) CHECK(gate.hear_entered());
    CHECK_FALSE(gate.hear(Gate::entered, 100ms));  // no more than four
    gate.open(4);
    for (int i = 0; i < 2; ++i) CHECK(gate.hear_entered());
    gate.open(2);
    for (auto& result : results) CHECK_FALSE(result.get());
}

#if !defined(TETHER_TEST_SANITIZED)
TEST_CASE("a worker that gets fewer threads than it may have serves with those",
          "[process][concurrency]") {
    const Census census;
    auto options = options_for();
    options.concurrency = 1024;
    options.limits.memory_bytes = std::uint64_t{512} << 20;
    TestWorker worker{options};
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 1);
}
#endif

TEST_CASE("by default one handler runs at a time", "[process][concurrency]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(each_transport())};
    auto first = worker.async_call(Await{gate.path(), true}, asio::use_future);
    auto second = worker.async_call(Await{gate.path(), true}, asio::use_future);
    CHECK(gate.hear_entered());
    CHECK_FALSE(gate.hear(Gate::entered, 100ms));
    gate.open();
    CHECK(gate.hear_entered());
    gate.open();
    CHECK_FALSE(first.get());
    CHECK_FALSE(second.get());
}

TEST_CASE("a slow handler does not hold back answers that are ready", "[process][concurrency]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate first_gate{folder / "first"};
    Gate second_gate{folder / "second"};
    TestWorker worker{options_for(transport)};
    // All of these are in the worker's buffer when the first handler returns.
    auto first = worker.async_call(Await{first_gate.path(), true}, asio::use_future);
    REQUIRE(first_gate.hear_entered());
    auto quick = worker.async_call(Add{1, 2}, asio::use_future);
    auto slow = worker.async_call(Await{second_gate.path(), true}, asio::use_future);
    first_gate.open();
    REQUIRE(second_gate.hear_entered());

    CHECK(quick.wait_for(soon) == std::future_status::ready);
    CHECK(first.wait_for(soon) == std::future_status::ready);
    second_gate.open();
    CHECK_FALSE(slow.get());
}

TEST_CASE("callers that wait long, short and not at all take turns at reading",
          "[process][concurrency]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(transport);
    options.concurrency = 2;
    options.spin = GENERATE(0us, 15us);
    TestWorker worker{options};
    for (int round = 0; round < 20; ++round) {
        // The long one leads; it must not keep the others from their answers, nor they it.
        auto lasting = std::async(std::launch::async, [&] {
            return worker.call(Await{gate.path(), true});
        });
        REQUIRE(gate.hear_entered());
        std::vector<std::future<std::int64_t>> others;
        for (int i = 0; i < 4; ++i) {
            others.push_back(std::async(std::launch::async, [&, i] {
                return worker.call(Add{i, round});
            }));
            others.push_back(worker.async_call(Add{i, round}, asio::use_future));
        }
        for (std::size_t i = 0; i < others.size(); ++i) {
            REQUIRE(others[i].get() == static_cast<std::int64_t>(i / 2) + round);
        }
        gate.open();
        REQUIRE_FALSE(lasting.get());
    }
}

TEST_CASE("callers that leave together leave a reader behind", "[process][concurrency]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate first_gate{folder / "first"};
    Gate second_gate{folder / "second"};
    TestWorker worker{options_for(transport)};
    for (int round = 0; round < 10; ++round) {
        CAPTURE(round);
        // Nothing has a timeout, for that would make somebody look up.
        auto first = worker.async_call(Await{first_gate.path(), true},
                                       {.timeout = tether::no_timeout}, asio::use_future);
        REQUIRE(first_gate.hear_entered());
        auto leader = run_until_asleep([&] { return worker.call(Add{round, 1}); });
        auto follower = run_until_asleep([&] { return worker.call(Add{round, 2}); });
        auto last = worker.async_call(Await{second_gate.path(), true},
                                      {.timeout = tether::no_timeout}, asio::use_future);
        // All of these are in the worker's buffer now, so that its answers come in one piece: the
        // leader reads its own and the follower's, and both leave.
        first_gate.open();
        CHECK(leader.get() == round + 1);
        CHECK(follower.get() == round + 2);
        REQUIRE(second_gate.hear_entered());
        second_gate.open();
        REQUIRE(last.wait_for(patience) == std::future_status::ready);
        CHECK_FALSE(last.get());
        CHECK_FALSE(first.get());
    }
}

TEST_CASE("large uploads beside small calls do not stall", "[process][concurrency]") {
    const Census census;
    TestWorker worker{options_for()};
    worker.call(Nothing{});
    std::atomic<bool> done{false};
    auto small_calls = std::async(std::launch::async, [&] {
        std::mt19937 random{seed};
        for (std::int64_t i = 0; !done; ++i) {
            if (worker.call(Add{i, 1}, {.timeout = patience}) != i + 1) return false;
            // Any moment of an upload, not always the one after an answer.
            std::this_thread::sleep_for(std::chrono::microseconds{random() % 400});
        }
        return true;
    });
    const Echo upload{{}, tether::Bytes(std::size_t{48} << 20)};
    const Stopwatch watch;
    try {
        while (watch.elapsed() < 3s) {
            worker.async_call(upload, {.timeout = patience}, asio::use_future).get();
        }
    } catch (const CallError& error) {
        FAIL_CHECK(error.what());
    }
    done = true;
    CHECK(small_calls.get());
    CHECK(worker.generation() == 1);
}

}  // namespace
}  // namespace tether_test::concurrency_test
