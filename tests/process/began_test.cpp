// When a worker ends, whatever the way, requests that it had not begun go on to the next one as if
// they had never left, and its report tells the others from them.

#include <asio/use_future.hpp>

#include <algorithm>
#include <functional>
#include <future>
#include <thread>
#include <vector>

#include "process/support/worker_under_test.hpp"

namespace tether_test::began_test {
namespace {

errc cause_of(const CallError& error) { return static_cast<errc>(error.code().value() & 0xff); }

/// A worker with one call that waits at a gate, and 15 behind it that have left. None of them may
/// be sent twice.
class Queue {
public:
    explicit Queue(tether::WorkerOptions options, tether::CallOptions<Stall> first = {})
        : worker(std::move(options)) {
        worker.call(Nothing{});
        blocker = worker.async_call(Stall{gate.path()}, first, asio::use_future);
        REQUIRE(gate.hear_entered());
        for (int i = 0; i < 15; ++i) {
            waiting.push_back(worker.async_call(Number{}, asio::use_future));
        }
    }

    [[nodiscard]] CallError error_of_blocker() {
        return error_of([&] { blocker.get(); });
    }
    void check_that_all_go_on() {
        for (auto& answer : waiting) CHECK_NOTHROW(answer.get());
        CHECK(worker.generation() == 2);
    }

    const TemporaryFolder folder{};
    Gate gate{folder / "gate"};
    TestWorker worker;
    std::future<bool> blocker{};
    std::vector<std::future<std::uint64_t>> waiting{};
};

void signal(TestWorker& worker, int number) { ::kill(static_cast<::pid_t>(worker.pid()), number); }

TEST_CASE("one of sixteen kills its worker: one error, fifteen answers", "[process][began][F107]") {
    const Census census;
    const auto transport = each_transport();
    for (const unsigned concurrency : {1U, 4U}) {
        for (const int at : {0, 5, 15}) {
            auto options = options_for(transport);
            options.concurrency = concurrency;
            options.restart.budget = 100;
            TestWorker worker{options};
            worker.call(Nothing{});
            std::future<void> killer;
            std::vector<std::future<std::uint64_t>> others;
            for (int i = 0; i < 16; ++i) {
                if (i == at) {
                    killer = worker.async_call(Signal{SIGABRT, {}}, asio::use_future);
                } else {
                    others.push_back(worker.async_call(Number{}, asio::use_future));
                }
            }
            const auto error = error_of([&] { killer.get(); });
            CHECK(cause_of(error) == errc::worker_killed);
            CHECK(error.code() == errc::outcome_unknown);
            int lost = 0;
            for (auto& other : others) {
                try {
                    other.get();
                } catch (const CallError& unlucky) {  // it ran beside the other
                    CHECK(unlucky.code() == errc::outcome_unknown);
                    ++lost;
                }
            }
            CHECK(lost < static_cast<int>(concurrency));
        }
    }
}

TEST_CASE("requests that were not begun survive every end of their worker",
          "[process][began][F107]") {
    const Census census;
    struct End {
        std::string name;
        std::function<void(TestWorker&)> act;
        errc cause;
    };
    const End ends[] = {
        {"SIGKILL", [](TestWorker& worker) { signal(worker, SIGKILL); }, errc::worker_killed},
        {"SIGABRT", [](TestWorker& worker) { signal(worker, SIGABRT); }, errc::worker_killed},
        {"kill()", [](TestWorker& worker) { worker.kill(); }, errc::worker_killed},
        {"restart()", [](TestWorker& worker) { worker.restart(); }, errc::stopped},
    };
    for (const auto& end : ends) {
        INFO(end.name);
        auto options = options_for();
        if (end.cause == errc::stopped) options.stop = {.drain = 0s, .terminate = 0s};
        Queue queue{options};
        end.act(queue.worker);
        const auto error = queue.error_of_blocker();
        CHECK(cause_of(error) == end.cause);
        CHECK(error.code() == errc::outcome_unknown);
        queue.check_that_all_go_on();
        const auto report = queue.worker.last_exit();
        REQUIRE(report);
        if (end.cause == errc::stopped) continue;  // its calls were settled before it ended
        REQUIRE(report->calls_in_flight.size() == 16);
        CHECK(report->calls_in_flight.front().running);
        CHECK(report->calls_in_flight.front().request == "stall");
        CHECK(std::count_if(report->calls_in_flight.begin(), report->calls_in_flight.end(),
                            [](const auto& call) { return call.running; }) == 1);
        CHECK(contains(error.what(), "in flight, running: stall"));
        CHECK(contains(error.what(), "in flight: number"));
    }
}

TEST_CASE("a call that runs long beside very many others is not sent twice",
          "[process][began][F107]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.concurrency = 2;
    TestWorker worker{options};
    auto blocker = worker.async_call(Stall{gate.path()}, asio::use_future);
    REQUIRE(gate.hear_entered());
    std::vector<std::future<std::uint64_t>> others;
    for (int i = 0; i < 5000; ++i) {
        others.push_back(worker.async_call(Number{}, asio::use_future));
    }
    for (auto& answer : others) answer.get();
    signal(worker, SIGKILL);
    REQUIRE(blocker.wait_for(10s) == std::future_status::ready);
    const auto error = error_of([&] { blocker.get(); });
    CHECK(error.code() == errc::outcome_unknown);
    CHECK(contains(error.what(), "in flight, running: stall"));
}

TEST_CASE("SIGTERM for the worker lets its queue go on", "[process][began][F107]") {
    const Census census;
    Queue queue{options_for()};
    signal(queue.worker, SIGTERM);
    queue.gate.open();  // the one that runs is answered
    CHECK_NOTHROW(queue.blocker.get());
    // By this process, where the signal came late, or by the next.
    for (auto& answer : queue.waiting) CHECK_NOTHROW(answer.get());
}

TEST_CASE("a worker that is replaced as stuck loses one call", "[process][began][F107]") {
    const Census census;
    auto options = options_for();
    options.stuck.grace = 50ms;
    Queue queue{options, {.timeout = 100ms}};
    CHECK(cause_of(queue.error_of_blocker()) == errc::timeout);
    queue.check_that_all_go_on();
    CHECK(contains(queue.worker.last_exit()->note, "still ran"));
}

TEST_CASE("stop() says of a call that was not begun that it had no effect",
          "[process][began][F107]") {
    const Census census;
    auto options = options_for();
    options.stop = {.drain = 0s, .terminate = 0s};
    Queue queue{options};
    queue.worker.stop();
    CHECK(queue.error_of_blocker().code() == errc::outcome_unknown);
    for (auto& answer : queue.waiting) {
        const auto error = error_of([&] { answer.get(); });
        CHECK(cause_of(error) == errc::stopped);
        CHECK(error.code() != errc::outcome_unknown);
    }
}

TEST_CASE("a call that was not begun goes on as often as it must", "[process][began][F107]") {
    const Census census;
    auto options = options_for();
    options.restart.budget = 100;
    options.restart.initial_pause = 0s;
    Queue queue{options};
    for (std::uint64_t generation = 1; generation <= 4; ++generation) {
        signal(queue.worker, SIGKILL);
        CHECK(queue.error_of_blocker().code() == errc::outcome_unknown);
        // The others begin in the next process; one that blocks it is sent before they arrive
        // there in the rounds to come.
        for (auto& answer : queue.waiting) CHECK_NOTHROW(answer.get());
        CHECK(queue.worker.generation() == generation + 1);
        queue.waiting.clear();
        queue.blocker = queue.worker.async_call(Stall{queue.gate.path()}, asio::use_future);
        REQUIRE(queue.gate.hear_entered());
        queue.waiting.push_back(queue.worker.async_call(Number{}, asio::use_future));
    }
    queue.gate.open();
    CHECK_NOTHROW(queue.blocker.get());
    CHECK_NOTHROW(queue.waiting.front().get());
}

TEST_CASE("two crashes before a call begins do not use up its repetition",
          "[process][began][F107]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.restart.budget = 100;
    options.restart.initial_pause = 0s;
    TestWorker worker{options};
    // Both block the worker, one after the other; the second is sent on once, the third twice.
    auto first = worker.async_call(Stall{gate.path()}, asio::use_future);
    REQUIRE(gate.hear_entered());
    auto second = worker.async_call(Stall{gate.path()}, asio::use_future);
    auto third = std::async(std::launch::async, [&] { return worker.call(Number{}); });
    for (auto* blocker : {&first, &second}) {
        signal(worker, SIGKILL);
        CHECK(error_of([&] { blocker->get(); }).code() == errc::outcome_unknown);
        if (blocker == &first) REQUIRE(gate.hear_entered());
    }
    CHECK_NOTHROW(third.get());
}

TEST_CASE("10,000 calls in flight and a crash", "[process][began][F90]") {
    const Census census;
    auto options = options_for();
    options.restart.budget = 0;  // none of them goes on
    TestWorker worker{options};
    worker.call(Nothing{});
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto blocker = worker.async_call(Stall{gate.path()}, asio::use_future);
    REQUIRE(gate.hear_entered());
    constexpr int calls = 10'000;
    std::atomic<int> left{calls};
    std::atomic<std::size_t> longest{0};
    for (int i = 0; i < calls; ++i) {
        worker.async_call(Number{}, [&](const std::exception_ptr& error, std::uint64_t) {
            try {
                if (error) std::rethrow_exception(error);
            } catch (const CallError& failure) {
                longest = std::max(longest.load(), std::string_view{failure.what()}.size());
            }
            --left;
        });
    }
    const auto before = resident_kibibytes();
    signal(worker, SIGKILL);
    CHECK(eventually([&] { return left == 0; }));
    CHECK(longest != 0);
    CHECK(longest < 4096);
    CHECK(resident_kibibytes() < before + 64 * 1024);
    CHECK(contains(error_of([&] { blocker.get(); }).what(), "more"));
}

}  // namespace
}  // namespace tether_test::began_test
