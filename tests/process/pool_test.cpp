// Pools: with processes, and without.

#include <tether/loopback_pool.hpp>
#include <tether/worker_pool.hpp>

#include <asio/use_future.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "process/live_protocol.hpp"
#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::pool_test {
namespace {

using TestPool = tether::WorkerPool<TestProtocol>;
using LivePool = tether::WorkerPool<LiveProtocol>;

tether::PoolOptions pool_of(unsigned size) {
    tether::PoolOptions options{.size = size, .worker = options_for()};
    options.worker.restart = {.budget = 1'000'000, .initial_pause = 1ms, .max_pause = 5ms};
    return options;
}

errc cause_of(std::future<bool>& call) {
    return error_of([&] { call.get(); }).cause();
}

/// Calls that keep every worker busy until this is open.
class Busy {
public:
    Busy(TestPool& pool, int calls) : pool_(pool), count_(calls) {
        for (int i = 0; i < calls; ++i) {
            calls_.push_back(pool_.async_call(Stall{gate_.path()}, asio::use_future));
        }
        for (int i = 0; i < calls; ++i) REQUIRE(gate_.hear_entered());
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() {
        open();
        for (auto& call : calls_) call.wait();
    }
    void open() {
        if (std::exchange(opened_, true)) return;
        gate_.open(count_);
    }

private:
    TestPool& pool_;
    const int count_;
    bool opened_ = false;
    TemporaryFolder folder_;
    Gate gate_{folder_ / "gate"};
    std::vector<std::future<bool>> calls_;
};

void kill_process(std::int64_t pid, int signal = SIGKILL) {
    if (pid > 0) ::kill(static_cast<::pid_t>(pid), signal);
}

/// What `make` makes of 0 to `count` - 1, when it is asked for.
template <class Make>
struct Made {
    struct Iterator {
        Made* range;
        int at;
        auto operator*() const { return range->make(at); }
        Iterator& operator++() {
            ++at;
            return *this;
        }
        bool operator==(const Iterator& other) const { return at == other.at; }
    };
    int count;
    Make make;
    Iterator begin() { return {this, 0}; }
    Iterator end() { return {this, count}; }
};
template <class Make>
Made(int, Make) -> Made<Make>;

std::set<std::int64_t> pids_of(const tether::PoolStatistics& statistics) {
    std::set<std::int64_t> pids;
    for (const auto& worker : statistics.workers) {
        if (worker.pid != 0) pids.insert(worker.pid);
    }
    return pids;
}

TEST_CASE("a pool is used as a worker is", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    CHECK(pool.size() == 2);
    CHECK(pool.statistics().started == 0);
    CHECK(pool.call(Add{2, 3}) == 5);
    CHECK(pool.async_call(Add{3, 4}, asio::use_future).get() == 7);
    CHECK_THROWS_AS(pool.call(Throw{"exception"}), RemoteError);
    CHECK_FALSE(pool.last_exit());
    const tether::AnyWorker<TestProtocol> any{pool};
    CHECK(any.call(Add{4, 5}) == 9);
    const auto statistics = pool.statistics();
    CHECK(statistics.started == 1);
    CHECK(statistics.served == 4);
    CHECK(statistics.failed == 0);
    CHECK(statistics.run.count() == 4);
}

TEST_CASE("the workers of a pool are started as they are needed", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(3)};
    {
        const Busy busy{pool, 3};
        CHECK(pids_of(pool.statistics()).size() == 3);
        auto waits = pool.async_call(Add{1, 1}, asio::use_future);
        CHECK(pool.statistics().waiting == 1);
        CHECK(waits.wait_for(20ms) == std::future_status::timeout);
    }
    CHECK(pool.call(Add{1, 1}) == 2);
    CHECK(pool.statistics().started == 3);
}

TEST_CASE("calls with one affinity go to one worker", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(4)};
    std::set<std::int64_t> all;
    for (const std::string key : {"a", "b", "c", "d", "e", "f", "g", "h"}) {
        std::set<std::int64_t> pids;
        for (int i = 0; i < 5; ++i) pids.insert(pool.call(Who{}, {.affinity = key}).pid);
        CHECK(pids.size() == 1);
        all.insert(pids.begin(), pids.end());
    }
    CHECK(all.size() > 1);
}

TEST_CASE("a hung worker holds up nobody", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    const Busy busy{pool, 1};
    const auto hung = *pids_of(pool.statistics()).begin();
    kill_process(hung, SIGSTOP);
    for (int i = 0; i < 200; ++i) REQUIRE(pool.call(Add{i, 1}) == i + 1);
    for (auto& sum : pool.map(std::vector<Add>(200, Add{1, 2}))) REQUIRE(sum == 3);
    kill_process(hung, SIGCONT);
}

TEST_CASE("a handler that ignores its deadline holds up nobody else", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(3)};
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    CHECK(error_of([&] { pool.call(Stall{gate.path()}, {.timeout = 300ms}); }).cause() ==
          errc::timeout);
    for (int i = 0; i < 20; ++i) CHECK(pool.call(Add{i, 1}) == i + 1);
    CHECK(pool.statistics().started == 2);
    gate.open();
}

TEST_CASE("a call that went to another worker can be cancelled there", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    Gate next{folder / "next"};
    std::optional<Busy> busy{std::in_place, pool, 1};
    const auto kept = pids_of(pool.statistics());
    std::stop_source stop;
    auto call =
        pool.async_call(Pause{gate.path()}, {.stop_token = stop.get_token()}, asio::use_future);
    REQUIRE(gate.hear_entered());
    // Its worker dies, and another call has that worker's next process.
    auto behind = pool.async_call(Stall{next.path()}, asio::use_future);
    for (const auto pid : pids_of(pool.statistics())) {
        if (!kept.contains(pid)) kill_process(pid);
    }
    REQUIRE(next.hear_entered());
    busy.reset();
    REQUIRE(gate.hear_entered());
    stop.request_stop();
    CHECK(cause_of(call) == errc::cancelled);
    gate.open();
    next.open();
    behind.get();
}

TEST_CASE("a pool waits without using the processor", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(1)};
    const Busy busy{pool, 1};
    auto call = pool.async_call(Add{1, 1}, {.timeout = 600ms, .affinity = "a"}, asio::use_future);
    const auto before = std::clock();
    CHECK(error_of([&] { call.get(); }).cause() == errc::timeout);
    CHECK(std::clock() - before < CLOCKS_PER_SEC * 3 / 10);
}

TEST_CASE("a pool that was stopped has no process left, not even a replaced one",
          "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    CHECK(pool.call(Add{1, 1}) == 2);
    const auto before = pids_of(pool.statistics());
    pool.restart();
    pool.stop();
    for (const auto pid : before) CHECK(::kill(static_cast<::pid_t>(pid), 0) != 0);
}

TEST_CASE("a pool's queue is bounded where that is asked for", "[process][pool]") {
    const Census census;
    auto options = pool_of(1);
    options.queue_limit = 2;
    TestPool pool{options};
    std::vector<std::future<std::int64_t>> waiting;
    {
        const Busy busy{pool, 1};
        for (int i = 0; i < 2; ++i) waiting.push_back(pool.async_call(Add{i, 0}, asio::use_future));
        const auto error = error_of([&] { pool.call(Add{1, 1}); });
        CHECK(error.cause() == errc::queue_full);
        CHECK(error.code() == std::errc::resource_unavailable_try_again);
        CHECK_FALSE(error.outcome_unknown());
        CHECK(contains(error.what(), "the queue of the pool is full: 2 calls wait"));
        auto refused = pool.async_call(Add{1, 1}, asio::use_future);
        CHECK(error_of([&] { refused.get(); }).cause() == errc::queue_full);
    }
    for (auto& call : waiting) call.get();
    CHECK(pool.call(Add{1, 1}) == 2);
}

TEST_CASE("a blocking call may wait for room in the queue", "[process][pool]") {
    const Census census;
    auto options = pool_of(1);
    options.queue_limit = 0;
    options.when_full = tether::WhenFull::wait;
    TestPool pool{options};
    std::optional<Busy> busy{std::in_place, pool, 1};
    auto call = std::async(std::launch::async, [&] { return pool.call(Add{1, 1}); });
    REQUIRE(eventually([&] { return pool.statistics().waiting == 1; }));
    auto refused = pool.async_call(Add{1, 1}, asio::use_future);
    CHECK(error_of([&] { refused.get(); }).cause() == errc::queue_full);
    busy.reset();
    CHECK(call.get() == 2);
}

TEST_CASE("what waits for a worker of a pool has its timeout, and can be cancelled",
          "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(1)};
    {
        const Busy busy{pool, 1};
        const auto late = error_of([&] { pool.call(Add{1, 1}, {.timeout = 30ms}); });
        CHECK(late.cause() == errc::timeout);
        CHECK_FALSE(late.outcome_unknown());
        auto later = pool.async_call(Add{1, 1}, {.timeout = 30ms}, asio::use_future);
        CHECK(error_of([&] { later.get(); }).cause() == errc::timeout);

        std::stop_source stop;
        auto cancelled =
            pool.async_call(Add{1, 1}, {.stop_token = stop.get_token()}, asio::use_future);
        auto blocked = std::async(std::launch::async, [&] {
            return error_of([&] { pool.call(Add{1, 1}, {.stop_token = stop.get_token()}); });
        });
        REQUIRE(eventually([&] { return pool.statistics().waiting == 2; }));
        stop.request_stop();
        CHECK(error_of([&] { cancelled.get(); }).cause() == errc::cancelled);
        CHECK(blocked.get().cause() == errc::cancelled);
        CHECK(pool.statistics().waiting == 0);
    }
    CHECK(pool.call(Add{1, 1}) == 2);
    CHECK(pool.statistics().served == 2);
}

TEST_CASE("calls of a higher priority go first", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(1)};
    std::vector<int> order;
    std::mutex mutex;
    std::vector<std::future<void>> done;
    {
        const Busy busy{pool, 1};
        for (const int priority : {0, -1, 2, 1}) {
            auto promise = std::make_shared<std::promise<void>>();
            done.push_back(promise->get_future());
            pool.async_call(Add{1, 1}, {.priority = priority},
                            [&, promise, priority](const std::exception_ptr&, std::int64_t) {
                                {
                                    const std::scoped_lock lock{mutex};
                                    order.push_back(priority);
                                }
                                promise->set_value();
                            });
        }
    }
    for (auto& call : done) call.get();
    CHECK(order == std::vector<int>{2, 1, 0, -1});
}

TEST_CASE("a worker of a pool that dies takes its own calls alone", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(3)};
    std::optional<Busy> busy{std::in_place, pool, 2};
    CHECK(error_of([&] { pool.call(Signal{SIGABRT}); }).cause() == errc::worker_killed);
    CHECK(pool.last_exit());
    CHECK(pool.call(Add{1, 1}) == 2);
    busy.reset();
    CHECK(pool.statistics().failed == 1);
    CHECK(pool.statistics().started == 4);
}

TEST_CASE("workers of a pool are replaced after so many calls", "[process][pool]") {
    const Census census;
    auto options = pool_of(2);
    options.recycle.requests = 3;
    TestPool pool{options};
    std::map<std::int64_t, int> served;
    for (int i = 0; i < 30; ++i) ++served[pool.call(Who{}).pid];
    CHECK(served.size() == 10);
    for (const auto& [pid, count] : served) CHECK(count == 3);
    CHECK(pool.statistics().recycled_used_up == 10);
}

TEST_CASE("restart() replaces the workers of a pool and loses no call", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    std::vector<std::future<std::int64_t>> calls;
    std::set<std::int64_t> before;
    {
        const Busy busy{pool, 2};
        before = pids_of(pool.statistics());
        for (int i = 0; i < 100; ++i) calls.push_back(pool.async_call(Add{i, 0}, asio::use_future));
        pool.restart();
        CHECK(pids_of(pool.statistics()) == before);
    }
    for (int i = 0; i < 100; ++i) CHECK(calls[static_cast<std::size_t>(i)].get() == i);
    CHECK(pool.statistics().recycled_restart == 2);
    CHECK_FALSE(before.contains(pool.call(Who{}).pid));
    CHECK(pool.statistics().failed == 0);
}

TEST_CASE("stop() ends all that a pool has to do", "[process][pool]") {
    const Census census;
    auto options = pool_of(3);
    options.worker.stop = {.drain = 50ms, .terminate = 50ms};
    TestPool pool{options};
    TemporaryFolder folder;
    Gate gate{folder / "gate"};
    std::vector<std::future<bool>> calls;
    for (int i = 0; i < 10; ++i) {
        calls.push_back(pool.async_call(Stall{gate.path()}, asio::use_future));
    }
    auto blocked = std::async(std::launch::async, [&] {
        return error_of([&] { pool.call(Add{1, 1}); });
    });
    REQUIRE(eventually([&] { return pool.statistics().waiting == 8; }));
    pool.stop();
    for (auto& call : calls) CHECK(cause_of(call) == errc::stopped);
    CHECK(blocked.get().cause() == errc::stopped);
    CHECK(pids_of(pool.statistics()).empty());
    CHECK(error_of([&] { pool.call(Add{1, 1}); }).cause() == errc::stopped);
    pool.restart();
    CHECK(pool.call(Add{1, 1}) == 2);
}

TEST_CASE("a pool whose workers cannot be started says so to all that wait", "[process][pool]") {
    const Census census;
    auto options = pool_of(3);
    options.worker.program = "/nonexistent/worker";
    TestPool pool{options};
    CHECK(error_of([&] { pool.call(Add{1, 1}); }).cause() == errc::start_failed);
    std::vector<std::future<std::int64_t>> calls;
    for (int i = 0; i < 20; ++i) calls.push_back(pool.async_call(Add{i, 0}, asio::use_future));
    for (auto& call : calls) CHECK(error_of([&] { call.get(); }).cause() == errc::start_failed);
}

TEST_CASE("a pool goes on with the workers that can be started", "[process][pool]") {
    const Census census;
    const TemporaryFolder folder;
    auto options = pool_of(3);
    options.worker.program = folder / "worker";
    std::filesystem::create_symlink(TETHER_MISBEHAVING_CHILD, options.worker.program);
    TestPool pool{options};
    CHECK(pool.call(Add{1, 1}) == 2);
    std::filesystem::remove(options.worker.program);
    std::vector<std::future<std::int64_t>> calls;
    for (int i = 0; i < 50; ++i) calls.push_back(pool.async_call(Add{i, 0}, asio::use_future));
    for (int i = 0; i < 50; ++i) CHECK(calls[static_cast<std::size_t>(i)].get() == i);
    const auto statistics = pool.statistics();
    CHECK(statistics.moved > 0);
    CHECK(contains(to_string(statistics), "cannot be started"));
    for (int i = 0; i < 5; ++i) pool.notify(Nothing{});
    std::filesystem::create_symlink(TETHER_MISBEHAVING_CHILD, options.worker.program);
    pool.restart();
    const Busy busy{pool, 3};
    CHECK(pids_of(pool.statistics()).size() == 3);
}

TEST_CASE("options of a pool that make no sense are refused", "[process][pool]") {
    const Census census;
    using tether::PoolOptions;
    CHECK_THROWS_AS(TestPool{PoolOptions{.size = 0}}, std::invalid_argument);
    CHECK_THROWS_AS(TestPool{PoolOptions{.size = 1025}}, std::invalid_argument);
    CHECK_THROWS_AS(TestPool{PoolOptions{.priority_step = -1s}}, std::invalid_argument);
    CHECK_THROWS_AS(TestPool{PoolOptions{.recycle = {.requests = 0}}}, std::invalid_argument);
    CHECK_THROWS_AS(TestPool{PoolOptions{.worker = {.concurrency = 0}}}, std::invalid_argument);
    CHECK(TestPool{}.size() >= 1);
}

// --- map

TEST_CASE("map gives the responses in the order of the requests", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    const std::vector<std::int64_t> numbers{5, 1, 4, 2, 3};
    std::vector<std::int64_t> sums;
    const auto make = [&](int i) { return Add{numbers[static_cast<std::size_t>(i)], 100}; };
    for (auto& sum : pool.map(Made{5, make})) sums.push_back(sum);
    CHECK(sums == std::vector<std::int64_t>{105, 101, 104, 102, 103});
    for (auto& sum : pool.map(std::vector<Add>{})) FAIL("a response: " << sum);
    auto narrow = pool_of(2);
    narrow.queue_limit = 0;
    TestPool narrow_pool{narrow};
    std::int64_t in_all = 0;
    for (auto& sum : narrow_pool.map(std::vector<Add>(50, Add{1, 1}))) in_all += sum;
    CHECK(in_all == 100);
    int count = 0;
    const std::vector<Nothing> nothings(20);
    for (const std::monostate& nothing : pool.map(nothings)) {
        static_cast<void>(nothing);
        ++count;
    }
    CHECK(count == 20);
}

TEST_CASE("map gives the responses as they come where that is asked for", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(1)};
    std::set<std::int64_t> sums;
    std::vector<Add> requests;
    for (int i = 0; i < 500; ++i) requests.push_back({i, 0});
    for (auto& sum : pool.map(requests, {.in_order = false, .in_flight = 7})) sums.insert(sum);
    CHECK(sums.size() == 500);
}

TEST_CASE("map reads its range no further than in_flight says", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    int read = 0;
    Made range{100, [&](int) {
                   ++read;
                   return Add{1, 1};
               }};
    {
        auto results = pool.map(range, {.in_flight = 5});
        int taken = 0;
        while (auto sum = results.next()) {
            CHECK(read <= ++taken + 4);
            if (taken == 10) break;
        }
    }
    CHECK(read < 20);
    CHECK(pool.call(Add{1, 1}) == 2);
}

TEST_CASE("the first error of a map is thrown, and cancels the rest", "[process][pool]") {
    const Census census;
    TestPool pool{pool_of(2)};
    std::vector<Throw> requests(100, Throw{"exception"});
    auto results = pool.map(requests);
    CHECK_THROWS_AS(results.next(), RemoteError);
    CHECK_FALSE(results.next());
    CHECK(pool.statistics().served < 100);
    std::stop_source stop;
    stop.request_stop();
    auto cancelled = pool.map(requests, {.call = {.stop_token = stop.get_token()}});
    CHECK(error_of([&] { cancelled.next(); }).cause() == errc::cancelled);
}

// --- Calls that live

TEST_CASE("streams, questions and notifications go through a pool", "[process][pool][live]") {
    const Census census;
    LivePool pool{pool_of(3)};
    std::atomic<int> heard{0};
    {
        const auto subscription = pool.on<Noticed>([&](const Noticed&) { ++heard; });
        pool.provide<Guess>([](const Guess& guess) { return guess.text + "!"; });
        std::vector<tether::Stream<LiveProtocol, Produce>> streams;
        for (int i = 0; i < 3; ++i) streams.push_back(pool.stream(Produce{50, 100'000}));
        CHECK(pids_of(pool.statistics()).size() == 3);
        for (auto& stream : streams) {
            int items = 0;
            for (const auto& piece : stream) items += piece.number == items ? 1 : 1000;
            CHECK(items == 50);
            CHECK(stream.response() == 50);
        }
        std::vector<std::future<void>> calls;
        for (int i = 0; i < 9; ++i) {
            calls.push_back(pool.async_call(Announce{10, 10}, asio::use_future));
        }
        for (auto& call : calls) call.get();
        CHECK(eventually([&] { return heard == 90; }));
        CHECK(pool.call(Inquire{"a"}) == std::vector<std::string>{"a!"});
        pool.notify(Nudge{1});
    }
    CHECK(pool.call(Work{3}) == 3);
}

// --- Without processes

TEST_CASE("a LoopbackPool places, replaces and counts as a WorkerPool does", "[process][pool]") {
    const Census census;
    std::atomic<int> made{0};
    const auto make = [&] {
        ++made;
        return std::make_unique<LiveHandler>();
    };
    const tether::PoolOptions options{.size = 2, .recycle = {.requests = 3}};
    {
        tether::LoopbackPool<LiveProtocol> pool{make, options};
        for (int i = 0; i < 9; ++i) CHECK(pool.call(Work{3}) == 3);
        CHECK(made == 3);
        CHECK(pool.statistics().recycled_used_up == 3);
        std::int64_t items = 0;
        for (const auto& piece : pool.stream(Produce{20, 100})) items += piece.number == items;
        CHECK(items == 20);
        for (const auto& count : pool.map(std::vector<Work>(20, Work{2}))) CHECK(count == 2);
        pool.restart();
        CHECK(pool.call(Work{3}) == 3);
        pool.stop();
        CHECK(error_of([&] { pool.call(Work{3}); }).cause() == errc::stopped);
    }
    tether::LoopbackPool<LiveProtocol, LiveHandler> by_default{{.size = 1}};
    CHECK(by_default.call(Work{3}) == 3);
}

// --- Under attack

TEST_CASE("calls of a pool settle once while its workers are killed", "[process][pool][F55]") {
    const Census census;
    const bool recycles = GENERATE(false, true);
    auto options = pool_of(4);
    if (recycles) options.recycle.requests = 1;
    TestPool pool{options};
    const int calls = instrumented ? 200 : 600;
    std::atomic<int> answered{0};
    std::atomic<int> failed{0};
    std::atomic<int> wrong{0};
    std::atomic<bool> done{false};
    std::jthread killer{[&] {
        std::mt19937 dice{recycles ? 1U : 2U};
        for (int seen = 0; !done;) {
            std::this_thread::sleep_for(1ms);
            if (answered < seen + 5) continue;  // some come through, however slow the machine is
            seen = answered;
            const auto workers = pool.statistics().workers;
            kill_process(workers[dice() % workers.size()].pid);
        }
    }};
    const auto note = [&](const std::exception_ptr& error, std::int64_t sum, std::int64_t wanted) {
        const auto* const failure = tether::error_of(error);
        if (failure == nullptr) {
            ++(sum == wanted ? answered : wrong);
        } else {
            const auto cause = failure->cause();
            const bool known = cause == errc::worker_killed || cause == errc::start_failed;
            ++(known ? failed : wrong);
        }
    };
    const auto call_blocking = [&] {
        for (int i = 0; i < calls; ++i) {
            std::exception_ptr error;
            std::int64_t sum = 0;
            try {
                sum = pool.call(Add{i, 1});
            } catch (...) {
                error = std::current_exception();
            }
            note(error, sum, i + 1);
        }
    };
    {
        std::jthread one{call_blocking};
        std::jthread two{call_blocking};
        std::vector<std::future<std::int64_t>> futures;
        for (int i = 0; i < calls; ++i) {
            futures.push_back(pool.async_call(Add{i, 1}, asio::use_future));
        }
        for (int i = 0; i < calls; ++i) {
            std::exception_ptr error;
            std::int64_t sum = 0;
            try {
                sum = futures[static_cast<std::size_t>(i)].get();
            } catch (...) {
                error = std::current_exception();
            }
            note(error, sum, i + 1);
        }
    }
    done = true;
    killer.join();
    CHECK(wrong == 0);
    CHECK(answered + failed == 3 * calls);
    CHECK(answered > calls);
    CHECK(pool.statistics().waiting == 0);
    CHECK(pool.call(Add{1, 1}) == 2);
}

}  // namespace
}  // namespace tether_test::pool_test
