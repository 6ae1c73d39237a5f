// What follows a crash: the next call starts the worker again, once for all who wait, within a
// budget, and nothing is done twice that must not be.

#include <asio/use_future.hpp>

#include <future>
#include <thread>

#include "process/support/worker_under_test.hpp"

namespace tether_test::restart_test {
namespace {

errc cause_of(const CallError& error) { return static_cast<errc>(error.code().value() & 0xff); }

TEST_CASE("the next call after a crash starts the worker again", "[process][restart][F58]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    REQUIRE(worker.call(Count{}) == 1);
    REQUIRE(worker.call(Count{}) == 2);
    const auto pid = worker.pid();
    CHECK_FALSE(worker.last_exit().has_value());

    CHECK_THROWS_AS(worker.call(Exit{3, "broken\n"}), CallError);

    CHECK(eventually([&] { return worker.state() == tether::WorkerState::ended; }));
    CHECK(worker.generation() == 1);  // nothing happens before it is needed
    CHECK(worker.pid() == 0);
    CHECK(worker.call(Count{}) == 1);  // its state is gone, and generation() shows it
    CHECK(worker.generation() == 2);
    CHECK(worker.pid() != pid);
    REQUIRE(worker.last_exit().has_value());
    CHECK(worker.last_exit()->pid == pid);
    CHECK(worker.last_exit()->generation == 1);
    CHECK(worker.last_exit()->status == tether::ExitStatus::exited(3));
}

TEST_CASE("a worker that dies while nobody calls", "[process][restart]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    worker.call(Nothing{});
    ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);

    CHECK(eventually([&] { return worker.state() == tether::WorkerState::ended; }, soon));
    CHECK(worker.last_exit()->status == tether::ExitStatus::signaled(SIGKILL));
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 2);
}

TEST_CASE("a call right after the death of an idle worker", "[process][restart]") {
    const Census census;
    auto options = options_for(each_transport());
    options.restart.budget = 1000;
    options.restart.initial_pause = 0s;
    TestWorker worker{options};
    for (int round = 0; round < 30; ++round) {
        worker.call(Nothing{});
        ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);
        // Whether or not the death was seen before the call, it is idempotent.
        REQUIRE(worker.call(Add{round, 1}) == round + 1);
    }
}

TEST_CASE("32 callers and one crash: one restart, all settle", "[process][restart][F54]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const ProcessMark mark;
    auto options = options_for(transport);
    mark.put_into(options);
    TestWorker worker{options};
    auto running = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());

    std::vector<std::future<bool>> idempotent;
    std::vector<std::future<errc>> others;
    std::atomic<int> ready{0};
    for (int i = 0; i < 16; ++i) {
        idempotent.push_back(std::async(std::launch::async, [&, i] {
            ++ready;
            return worker.call(Add{i, 1}) == i + 1;
        }));
        others.push_back(std::async(std::launch::async, [&] {
            ++ready;
            try {
                worker.call(Number{});
                return errc{};
            } catch (const CallError& error) {
                return cause_of(error);
            }
        }));
    }
    REQUIRE(eventually([&] { return ready == 32; }));
    ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);

    CHECK(error_of([&] { running.get(); }).code() == errc::worker_killed);
    for (auto& result : idempotent) CHECK(result.get());
    for (auto& result : others) {
        const auto cause = result.get();
        CAPTURE(cause);
        CHECK((cause == errc{} || cause == errc::worker_killed));
    }
    CHECK(worker.generation() == 2);
    CHECK(mark.processes().size() == 1);
}

TEST_CASE("an idempotent request is sent again, once", "[process][restart][F59]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    const auto effect = folder / "effect";
    TestWorker worker{options_for(transport)};

    SECTION("and is answered by the next process") {
        CHECK(worker.call(IdempotentEffect{effect, 1}) == 2);
        CHECK(worker.generation() == 2);
    }
    SECTION("also an async one") {
        CHECK(worker.async_call(IdempotentEffect{effect, 1}, asio::use_future).get() == 2);
        CHECK(worker.generation() == 2);
    }
    SECTION("and fails when that dies, too") {
        const auto error = error_of([&] { worker.call(IdempotentEffect{effect, 100}); });
        INFO(error.what());
        CHECK(error.code() == errc::worker_killed);
        CHECK(error.code() != errc::outcome_unknown);
        REQUIRE(error.report() != nullptr);
        CHECK(error.report()->generation == 2);
        CHECK(count_lines(effect) == 2);
    }
    SECTION("also an async one that fails") {
        auto result = worker.async_call(IdempotentEffect{effect, 100}, asio::use_future);
        CHECK(error_of([&] { result.get(); }).code() == errc::worker_killed);
        CHECK(count_lines(effect) == 2);
    }
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("a request with side effects is done once", "[process][restart][F59]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    const auto effect = folder / "effect";
    TestWorker worker{options_for(transport)};

    const auto check = [](const CallError& error) {
        INFO(error.what());
        CHECK(error.code() == errc::worker_killed);
        CHECK(error.code() == errc::outcome_unknown);
        CHECK(contains(error.what(), "side_effect"));
    };
    check(error_of([&] { worker.call(SideEffect{effect, 100}); }));
    CHECK(count_lines(effect) == 1);
    auto result = worker.async_call(SideEffect{effect, 100}, asio::use_future);
    check(error_of([&] { result.get(); }));
    CHECK(count_lines(effect) == 2);

    CHECK(worker.call(SideEffect{effect, 0}) == 3);
}

TEST_CASE("too many crashes spend the budget", "[process][restart][F56]") {
    const Census census;
    auto options = options_for({"abort"}, each_transport());
    options.restart = {.budget = 3, .window = 1h, .initial_pause = 1ms, .max_pause = 1ms};
    TestWorker worker{options};
    for (int i = 0; i < 4; ++i) {
        CAPTURE(i);
        const auto error = error_of([&] { worker.call(Nothing{}); });
        INFO(error.what());
        CHECK(error.code() == errc::start_failed);
    }
    for (int i = 0; i < 3; ++i) {
        const Stopwatch watch;
        const auto error = error_of([&] { worker.call(Nothing{}); });
        INFO(error.what());
        CHECK(error.code() == errc::restart_budget_spent);
        CHECK(watch.elapsed() < soon);
        CHECK(contains(error.what(), "assertion failed before serving"));  // the reason
        CHECK(contains(error.what(), "child"));
        CHECK(error.report() != nullptr);
    }
    auto result = worker.async_call(Nothing{}, asio::use_future);
    CHECK(error_of([&] { result.get(); }).code() == errc::restart_budget_spent);
    CHECK(worker.generation() == 4);

    // restart() forgives, and may repair the cause.
    options.arguments.clear();
    worker.restart(options);
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("the budget comes back with time", "[process][restart][F56]") {
    const Census census;
    auto options = options_for();
    options.restart = {.budget = 0, .window = 300ms, .initial_pause = 0s, .max_pause = 0s};
    TestWorker worker{options};
    CHECK_THROWS_AS(worker.call(Exit{1, {}}), CallError);
    const Stopwatch watch;

    std::optional<errc> last;
    CHECK(eventually([&] {
        try {
            worker.call(Nothing{});
            return true;
        } catch (const CallError& error) {
            last = cause_of(error);
            return false;
        }
    }));

    CHECK(watch.elapsed() > 200ms);
    CHECK(last == errc::restart_budget_spent);
}

TEST_CASE("pauses grow between restarts", "[process][restart][F56]") {
    const Census census;
    auto options = options_for({"exit", "1"});
    options.restart = {.budget = 100, .window = 1h, .initial_pause = 100ms, .max_pause = 200ms};
    TestWorker worker{options};
    CHECK_THROWS_AS(worker.call(Nothing{}), CallError);  // the first start
    const Stopwatch total;
    CHECK_THROWS_AS(worker.call(Nothing{}), CallError);  // without a pause
    const auto first = total.elapsed();
    for (int i = 0; i < 3; ++i) {  // after 100, 200 and again 200 ms
        const auto error = error_of([&] { worker.call(Nothing{}); });
        CHECK(error.code() == errc::start_failed);
    }
    CAPTURE(first.count());
    CHECK(total.elapsed() >= 490ms);

    // A call's own deadline ends the wait.
    const Stopwatch watch;
    CHECK(error_of([&] { worker.call(Nothing{}, {.timeout = 20ms}); }).code() == errc::timeout);
    CHECK(watch.elapsed() < soon);
}

TEST_CASE("calls during a pause are all served after it", "[process][restart][F54]") {
    const Census census;
    auto options = options_for(each_transport());
    options.restart = {.budget = 100, .window = 1h, .initial_pause = 200ms, .max_pause = 200ms};
    TestWorker worker{options};
    CHECK_THROWS_AS(worker.call(Exit{1, {}}), CallError);
    CHECK_THROWS_AS(worker.call(Exit{1, {}}), CallError);

    std::vector<std::future<std::int64_t>> results;
    for (int i = 0; i < 8; ++i) {
        results.push_back(worker.async_call(Add{i, 1}, asio::use_future));
        results.push_back(std::async(std::launch::async, [&, i] {
            return worker.call(Add{i, 1});
        }));
    }
    for (int i = 0; i < 16; ++i) {
        CHECK(results[static_cast<std::size_t>(i)].get() == i / 2 + 1);
    }
    CHECK(worker.generation() == 3);
}

TEST_CASE("all who wait out a pause are told of the start that fails then",
          "[process][restart][F44]") {
    const Census census;
    auto options = options_for();
    options.program = "/no/such/program";
    options.restart = {.budget = 100, .window = 1h, .initial_pause = 300ms, .max_pause = 300ms};
    TestWorker worker{options};
    for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(worker.call(Nothing{}), CallError);
    const auto generation = worker.generation();

    std::vector<std::future<void>> results;
    for (int i = 0; i < 4; ++i) {
        results.push_back(worker.async_call(Nothing{}, asio::use_future));
        results.push_back(std::async(std::launch::async, [&] { worker.call(Nothing{}); }));
    }
    for (auto& result : results) {
        CHECK(error_of([&] { result.get(); }).code() == errc::start_failed);
    }
    CHECK(worker.generation() - generation <= 2);  // 2: a thread came after the first
}

TEST_CASE("starts that fail spend the budget, and the error says why", "[process][restart][F56]") {
    const Census census;
    auto options = options_for();
    options.program = "/no/such/program";
    options.restart = {.budget = 1, .window = 1h, .initial_pause = 0s, .max_pause = 0s};
    TestWorker worker{options};
    for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(worker.call(Nothing{}), CallError);
    const auto error = error_of([&] { worker.call(Nothing{}); });
    INFO(error.what());
    CHECK(error.code() == errc::restart_budget_spent);
    CHECK(contains(error.what(), "open the program /no/such/program"));
}

TEST_CASE("several threads restart a worker", "[process][restart][F55]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                for (int round = 0; round < 5; ++round) worker.restart();
            });
        }
    }
    CHECK(worker.generation() == 21);
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("kills under load", "[process][restart][F55]") {
    const Census census;
    auto options = options_for(each_transport());
    options.restart = {.budget = 1'000'000, .window = 1h, .initial_pause = 0s, .max_pause = 0s};
    TestWorker worker{options};
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::atomic<int> settled{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 8; ++i) {
        callers.emplace_back([&, i] {
            for (std::int64_t round = 0; !done; ++round) {
                try {
                    if (worker.call(Add{round, i}) != round + i) ++wrong;
                } catch (const CallError& error) {
                    if (cause_of(error) != errc::worker_killed &&
                        cause_of(error) != errc::start_failed) {
                        ++wrong;
                    }
                }
                ++settled;
            }
        });
    }
    for (int round = 0; round < 20; ++round) {
        const auto before = settled.load();
        CHECK(eventually([&] { return settled > before + 16; }));
        if (const auto pid = worker.pid(); pid != 0) ::kill(static_cast<::pid_t>(pid), SIGKILL);
    }
    done = true;
    for (auto& caller : callers) caller.join();

    CHECK(wrong == 0);
    CHECK(worker.call(Add{1, 2}) == 3);
}

}  // namespace
}  // namespace tether_test::restart_test
