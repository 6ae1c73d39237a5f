// Ending a worker: stop() and its ladder, kill(), what is left afterwards.

#include <asio/use_future.hpp>

#include <future>
#include <thread>

#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::stop_kill_test {
namespace {

using tether::ExitStatus;

TEST_CASE("what was answered before a stranger's SIGTERM is not lost", "[process][stop]") {
    const Census census;
    const TemporaryFolder folder;
    Gate start{folder / "start"};
    Gate gate{folder / "gate"};
    TestWorker worker{options_for({"wait", start.path()}, each_transport())};
    // Both are there when the worker begins to read.
    auto first = worker.async_call(Stall{gate.path()}, asio::use_future);
    auto second = worker.async_call(Number{}, asio::use_future);
    REQUIRE(start.hear_entered());
    start.open();
    REQUIRE(gate.hear_entered());
    ::kill(static_cast<::pid_t>(worker.pid()), SIGTERM);
    gate.open();

    CHECK(first.get());
    start.open();  // of the next process, if the signal came too early for the second
    CHECK_NOTHROW(second.get());
}

TEST_CASE("what a handler returns when a stranger told its worker to stop is no answer",
          "[process][stop]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(transport);
#if !defined(TETHER_TEST_TSAN)  // it delivers no signal to a thread that waits for a lock
    options.concurrency = GENERATE(1u, 2u);
#endif
    TestWorker worker{options};
    auto by_asking = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    ::kill(static_cast<::pid_t>(worker.pid()), SIGTERM);
    auto error = error_of([&] { by_asking.get(); });
    INFO(error.what());
    CHECK(error.code() == errc::worker_exited);
    CHECK(error.code() == errc::outcome_unknown);

#if !defined(TETHER_TEST_TSAN)  // it delivers no signal to a thread that waits for a condition
    auto by_token = worker.async_call(AwaitToken{gate.path()}, asio::use_future);
    REQUIRE(gate.hear(Gate::stopped));
    REQUIRE(gate.hear_entered());
    ::kill(static_cast<::pid_t>(worker.pid()), SIGTERM);
    error = error_of([&] { by_token.get(); });
    CHECK(error.code() == errc::worker_exited);
    CHECK(worker.generation() == 2);
#endif
}

TEST_CASE("an idle worker stops at once, with code 0", "[process][stop]") {
    const Census census;
    auto options = options_for(each_transport());
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{options};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    const Stopwatch watch;

    CHECK(how(worker.stop()) == exited_well);

    CHECK(watch.elapsed() < soon);
    CHECK(process_state(pid) == '\0');  // reaped, too
    CHECK(worker.pid() == 0);
    CHECK(worker.state() == tether::WorkerState::stopped);
    REQUIRE(worker.last_exit().has_value());
    CHECK(worker.last_exit()->status == ExitStatus::exited(0));
}

TEST_CASE("stopping may be repeated, and ends with restart", "[process][stop]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    REQUIRE(worker.call(Count{}) == 1);
    CHECK(how(worker.stop()) == exited_well);
    CHECK(how(worker.stop()) == exited_well);
    worker.kill();

    CHECK(error_of([&] { worker.call(Count{}); }).code() == errc::stopped);
    auto later = worker.async_call(Count{}, asio::use_future);
    CHECK(error_of([&] { later.get(); }).code() == errc::stopped);
    CHECK(worker.generation() == 1);

    worker.restart();
    CHECK(worker.call(Count{}) == 1);  // a fresh handler
    CHECK(worker.generation() == 2);
}

TEST_CASE("a worker may be stopped while it starts", "[process][stop][F30]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for({"wait", gate.path()}, transport);
    options.stop = {.drain = 50ms, .terminate = 50ms};
    TestWorker worker{options};
    REQUIRE(gate.hear_entered());
    auto pending = worker.async_call(Nothing{}, asio::use_future);
    const Stopwatch watch;

    const auto status = worker.stop();

    CHECK(watch.elapsed() < soon);
    CHECK(status.has_value());
    const auto error = error_of([&] { pending.get(); });
    CHECK(error.code() == errc::stopped);
    // It has left, and who stops the worker does not know what became of it.
    CHECK(error.code() == errc::outcome_unknown);
}

TEST_CASE("there is nothing to stop where nothing was started", "[process][stop]") {
    const Census census;
    auto options = options_for();
    options.program = "/nonexistent/tool";
    TestWorker worker{options};
    CHECK_FALSE(worker.stop().has_value());
    worker.kill();
}

TEST_CASE("stop asks the running handler and waits for it", "[process][stop]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(transport);
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{options};
    auto pending = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());

    CHECK(how(worker.stop()) == exited_well);

    CHECK(gate.hear(Gate::stopped));
    const auto error = error_of([&] { pending.get(); });
    INFO(error.what());
    CHECK(error.code() == errc::stopped);
    CHECK(error.code() == errc::outcome_unknown);
}

TEST_CASE("stop gives the handler's destructor its time", "[process][stop][F39]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for({"wait-in-destructor", gate.path()}, transport);
    options.stop = {.drain = patience, .terminate = 0s};
    TestWorker worker{options};
    worker.call(Nothing{});
    auto status = std::async(std::launch::async, [&] { return worker.stop(); });
    REQUIRE(gate.hear(Gate::stopped));

    CHECK(status.wait_for(700ms) == std::future_status::timeout);
    gate.open();

    CHECK(how(status.get()) == exited_well);
}

TEST_CASE("a handler that ignores everything is killed", "[process][stop][F22]") {
    const Census census;
    const auto transport = each_transport();
    for (const bool blocks_signals : {false, true}) {
        CAPTURE(blocks_signals);
        const TemporaryFolder folder;
        Gate gate{folder / "gate"};
        auto options = options_for(transport);
        options.stop = {.drain = 100ms, .terminate = 100ms};
        TestWorker worker{options};
        auto pending =
            worker.async_call(SpinForever{gate.path(), blocks_signals}, asio::use_future);
        REQUIRE(gate.hear_entered());
        const Stopwatch watch;

        CHECK(how(worker.stop()) == was_killed);

        CHECK(watch.elapsed() >= 200ms);
        CHECK(watch.elapsed() < soon);
        CHECK(error_of([&] { pending.get(); }).code() == errc::stopped);
    }
}

TEST_CASE("steps of no length are skipped", "[process][stop]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.stop = {.drain = 0s, .terminate = 0s};
    TestWorker worker{options};
    auto pending = worker.async_call(SpinForever{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());
    CHECK(how(worker.stop()) == was_killed);
    CHECK_THROWS_AS(pending.get(), CallError);
}

TEST_CASE("a stopped process is ended, too", "[process][stop][F41]") {
    const Census census;
    auto options = options_for(each_transport());
    options.stop = {.drain = 100ms, .terminate = 100ms};
    TestWorker worker{options};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    ::kill(static_cast<::pid_t>(pid), SIGSTOP);
    REQUIRE(eventually([&] { return process_state(pid) == 'T'; }));
    const Stopwatch watch;

    // Woken by the request to stop, or killed.
    CHECK(worker.stop().has_value());

    CHECK(watch.elapsed() < soon);
    CHECK(process_state(pid) == '\0');
}

TEST_CASE("many threads may stop a worker", "[process][stop]") {
    const Census census;
    auto options = options_for(each_transport());
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{options};
    worker.call(Nothing{});
    std::vector<std::future<std::optional<ExitStatus>>> results;
    for (int i = 0; i < 8; ++i) {
        results.push_back(std::async(std::launch::async, [&] { return worker.stop(); }));
    }
    for (auto& result : results) CHECK(how(result.get()) == exited_well);
}

TEST_CASE("stop, kill, restart and calls from many threads at once", "[process][stop][F54]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for(each_transport());
    options.stop = {.drain = 500ms, .terminate = 100ms};
    options.restart.budget = 100'000;
    mark.put_into(options);
    TestWorker worker{options};
    std::atomic<int> settled{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 50; ++round) {
                try {
                    worker.call(Add{1, 1});
                } catch (const CallError&) {
                }
                ++settled;
            }
        });
    }
    threads.emplace_back([&] {
        for (int round = 0; round < 10; ++round) worker.kill();
    });
    threads.emplace_back([&] {
        for (int round = 0; round < 10; ++round) worker.restart();
    });
    threads.emplace_back([&] {
        for (int round = 0; round < 10; ++round) worker.stop();
    });
    for (auto& thread : threads) thread.join();

    CHECK(settled == 200);
    worker.restart();
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(mark.processes().size() == 1);
}

TEST_CASE("kill ends the worker now; the next call starts it again", "[process][kill]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    auto pending = worker.async_call(Await{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());
    const Stopwatch watch;

    worker.kill();

    CHECK(watch.elapsed() < soon);
    CHECK(process_state(pid) == '\0');
    const auto error = error_of([&] { pending.get(); });
    INFO(error.what());
    CHECK(error.code() == errc::worker_killed);
    CHECK(contains(error.what(), "kill()"));
    CHECK(worker.state() == tether::WorkerState::ended);
    CHECK(worker.last_exit()->status == ExitStatus::signaled(SIGKILL));

    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 2);
}

TEST_CASE("kill does not count as a crash", "[process][kill]") {
    const Census census;
    auto options = options_for();
    options.restart.budget = 1;
    options.restart.initial_pause = patience;
    TestWorker worker{options};
    for (int i = 0; i < 5; ++i) {
        worker.call(Nothing{});
        worker.kill();
    }
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 6);
}

// What a handler started and left running; where the system has a list of children, also in a group
// or session of its own.
const char* const grandchildren[] = {
    "sleep 1000",      "nohup sleep 1000",    "trap '' TERM; sleep 77",       "sleep 52 & sleep 53",
#if !defined(TETHER_FORCE_PORTABLE)
    "setsid sleep 50", "timeout 60 sleep 50", "(setsid sleep 51 &) ; exit 0",
#endif
};

void start_grandchildren(TestWorker& worker, const ProcessMark& mark) {
    for (const auto* command : grandchildren) worker.call(Start{command});
    // The worker, and at least a process for each.
    REQUIRE(eventually([&] { return mark.processes().size() > std::size(grandchildren); }));
}

TEST_CASE("stop ends grandchildren", "[process][stop][F23]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for(each_transport());
    mark.put_into(options);
    TestWorker worker{options};
    start_grandchildren(worker, mark);

    CHECK(how(worker.stop()) == exited_well);

    CHECK(mark.all_gone());
}

TEST_CASE("kill ends grandchildren", "[process][kill][F23]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for(each_transport());
    mark.put_into(options);
    TestWorker worker{options};
    start_grandchildren(worker, mark);

    worker.kill();

    CHECK(mark.all_gone());
}

TEST_CASE("stopping a stuck worker by force ends grandchildren", "[process][stop][F23]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const ProcessMark mark;
    auto options = options_for();
    options.stop = {.drain = 50ms, .terminate = 50ms};
    mark.put_into(options);
    TestWorker worker{options};
    start_grandchildren(worker, mark);
    auto pending = worker.async_call(SpinForever{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());

    CHECK(how(worker.stop()) == was_killed);

    CHECK(mark.all_gone());
    CHECK_THROWS_AS(pending.get(), CallError);
}

TEST_CASE("a crash ends what is in the worker's group", "[process][kill][F23]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for(each_transport());
    mark.put_into(options);
    TestWorker worker{options};
    worker.call(Start{"sleep 1000"});
    worker.call(Start{"nohup sleep 1000"});
    REQUIRE(eventually([&] { return mark.processes().size() >= 3; }));

    CHECK_THROWS_AS(worker.call(Signal{SIGSEGV, {}}), CallError);

    CHECK(mark.all_gone());
}

TEST_CASE("whoever holds the worker's output does not hold up its end", "[process][stop][F50]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for(each_transport());
    mark.put_into(options);
    TestWorker worker{options};
    worker.call(Start{"setsid sh -c 'while :; do echo spam; echo spam >&2; done'"});
    REQUIRE(eventually([&] { return mark.processes().size() >= 2; }));
    const Stopwatch watch;

    // Killed like this, it cannot take along what has a session of its own.
    ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);

    CHECK(eventually([&] { return worker.state() == tether::WorkerState::ended; }, soon));
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.stop().has_value());
    CHECK(watch.elapsed() < soon);
}

TEST_CASE("stop while a large request is on its way", "[process][stop]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(transport);
    options.stop = {.drain = 100ms, .terminate = 100ms};
    TestWorker worker{options};
    auto first = worker.async_call(Await{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());
    auto second = worker.async_call(Echo{"", patterned(8 << 20)}, asio::use_future);
    auto third = std::async(std::launch::async, [&] {
        return error_of([&] { worker.call(Echo{"", patterned(8 << 20)}); });
    });

    worker.stop();

    CHECK(error_of([&] { first.get(); }).code() == errc::stopped);
    CHECK(error_of([&] { second.get(); }).code() == errc::stopped);
    CHECK(third.get().code() == errc::stopped);
}

TEST_CASE("a worker that goes on reading after stop gets no more of a settled request",
          "[process][stop]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for({"wait-in-destructor", gate.path()}, each_transport());
    options.stop = {.drain = patience, .terminate = 0s};
    TestWorker worker{options};
    worker.call(Nothing{});
    for (int i = 0; i < 4; ++i) {
        // Completed, and thus destroyed, while a part of it is still to be sent.
        worker.async_call(Echo{"", patterned(4 << 20)}, [](std::exception_ptr, const Echoed&) {});
    }
    auto status = std::async(std::launch::async, [&] { return worker.stop(); });
    CHECK(gate.hear(Gate::stopped));
    gate.open();
    CHECK(status.get().has_value());
}

TEST_CASE("restart changes the options", "[process][restart]") {
    const Census census;
    auto options = options_for(each_transport());
    TestWorker worker{options};
    CHECK(worker.call(Count{}) == 1);
    const auto pid = worker.pid();

    options.arguments = {"serve", "more"};
    worker.restart(options);

    CHECK(worker.call(Who{}).arguments == options.arguments);
    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.generation() == 2);
    CHECK_FALSE(is_running(pid));

    worker.restart();
    CHECK(worker.call(Who{}).arguments == options.arguments);
    CHECK(worker.generation() == 3);
}

TEST_CASE("1,000 cycles of start, call and stop leave nothing", "[process][stop][F84]") {
    const Census census;
    for (int i = 0; i < 200; ++i) {
        for (const auto transport : {tether::Transport::unix_abstract, tether::Transport::unix_path,
                                     tether::Transport::tcp, tether::Transport::socket_pair,
                                     tether::Transport::automatic}) {
            TestWorker worker{options_for(transport)};
            if (i % 2 == 0) REQUIRE(worker.call(Add{i, 1}) == i + 1);
        }
    }
}

}  // namespace
}  // namespace tether_test::stop_kill_test
