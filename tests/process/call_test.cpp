// Worker::call: what goes over arrives, and what comes back is its answer.

#include <cstdlib>
#include <set>
#include <thread>

#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::call_test {
namespace {

TEST_CASE("a call returns what the handler returned", "[process][call]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};

    CHECK(worker.call(Add{20, 22}) == 42);
    const auto echoed = worker.call(Echo{"text", tether::Bytes{"blob"}});
    CHECK(echoed.text == "text");
    CHECK(echoed.blob.view() == "blob");
    worker.call(Nothing{});
    CHECK(worker.call(Make{5}).view() == patterned(5).view());
}

TEST_CASE("the handler is made once and keeps its state", "[process][call]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};

    for (std::int64_t expected = 1; expected <= 100; ++expected) {
        REQUIRE(worker.call(Count{}) == expected);
    }
    CHECK(worker.generation() == 1);
}

TEST_CASE("the worker is a process of its own, with its own session and group", "[process][call]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};

    const auto who = worker.call(Who{});

    CHECK(who.pid == worker.pid());
    CHECK(who.pid != ::getpid());
    CHECK(who.session == who.pid);
    CHECK(who.group == who.pid);
}

TEST_CASE("the worker has no descriptors but those it was given", "[process][call][F36]") {
    const Census census;
    // Something that another library left inheritable.
    int leaky[2];
    REQUIRE(::pipe(leaky) == 0);
    TestWorker worker{options_for(each_transport())};

    const auto who = worker.call(Who{});
    ::close(leaky[0]);
    ::close(leaky[1]);

    CAPTURE(who.descriptors);
    std::set<int> low;
    std::multiset<std::string> targets;
    std::string standard_error;
    for (const auto& descriptor : who.descriptors) {
        const auto number = std::stoi(descriptor);
        if (number < 10) low.insert(number);
        if (number > 2) targets.insert(descriptor.substr(descriptor.find(' ') + 1));
        if (number == 2) standard_error = descriptor.substr(2);
        if (number == 0) CHECK(contains(descriptor, "/dev/null"));
    }
    CHECK(low == std::set{0, 1, 2});
    std::size_t sockets = 0;
    for (const auto& target : targets) {
        if (contains(target, "socket:")) ++sockets;
        // A pipe that the worker made to wake its threads has both its ends here. Its stderr has a
        // copy for what it logs.
        if (contains(target, "pipe:") && target != standard_error) {
            CHECK(targets.count(target) == 2);
        }
    }
    CHECK(sockets == 2);  // the control channel and the connection; no listener any more
}

TEST_CASE("calls may be made before the worker has started to serve", "[process][call][F1]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for({"wait", gate.path()}, transport)};
    CHECK(worker.state() == tether::WorkerState::starting);

    std::int64_t sum = 0;
    std::thread caller{[&] { sum = worker.call(Add{1, 2}); }};
    const bool entered = gate.hear_entered();
    CHECK(worker.state() == tether::WorkerState::starting);
    gate.open();
    caller.join();

    CHECK(entered);
    CHECK(sum == 3);
    CHECK(worker.state() == tether::WorkerState::ready);
}

TEST_CASE("calls wait for the handler's constructor", "[process][call]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for({"wait-in-constructor", gate.path()}, transport)};

    std::int64_t sum = 0;
    std::thread caller{[&] { sum = worker.call(Add{1, 2}); }};
    const bool entered = gate.hear_entered();
    CHECK(worker.state() == tether::WorkerState::starting);
    gate.open();
    caller.join();

    CHECK(entered);
    CHECK(sum == 3);
}

TEST_CASE("a small call allocates nothing", "[process][call]") {
    if (instrumented) return;
    CHECK(std::system(TETHER_HOSTS_DIR "/allocations") == 0);
}

TEST_CASE("any allocation of a call may fail", "[process][call]") {
    CHECK(std::system(TETHER_HOSTS_DIR "/starved") == 0);
}

TEST_CASE("a worker outlives the thread that started it", "[process][call][F27]") {
    const Census census;
    std::optional<TestWorker> worker;
    const auto transport = each_transport();
    std::thread{[&] {
        worker.emplace(options_for(transport));
        worker->call(Nothing{});
    }}.join();

    const auto pid = worker->pid();
    for (int i = 0; i < 100; ++i) worker->call(Nothing{});
    CHECK(worker->pid() == pid);
    CHECK(worker->generation() == 1);
}

TEST_CASE("workers do not mix their answers", "[process][call]") {
    const Census census;
    const auto transport = each_transport();
    std::vector<TestWorker> workers;
    for (int i = 0; i < 8; ++i) workers.emplace_back(options_for(transport));

    for (std::int64_t round = 0; round < 20; ++round) {
        for (std::size_t i = 0; i < workers.size(); ++i) {
            REQUIRE(workers[i].call(Add{round, static_cast<std::int64_t>(i)}) ==
                    round + static_cast<std::int64_t>(i));
        }
    }
    std::set<std::int64_t> pids;
    for (auto& worker : workers) pids.insert(worker.pid());
    CHECK(pids.size() == workers.size());
}

TEST_CASE("a worker can be moved", "[process][call]") {
    const Census census;
    TestWorker first{options_for()};
    const auto pid = first.pid();
    REQUIRE(first.call(Count{}) == 1);

    TestWorker second{std::move(first)};
    CHECK(second.pid() == pid);
    CHECK(second.call(Count{}) == 2);

    TestWorker third{options_for()};
    const auto replaced = third.pid();
    third = std::move(second);
    CHECK(third.call(Count{}) == 3);
    CHECK(eventually([&] { return !is_running(replaced); }));
}

TEST_CASE("the number that the handler sees is unique", "[process][call]") {
    const Census census;
    TestWorker worker{options_for()};
    std::set<std::uint64_t> numbers;
    for (int i = 0; i < 100; ++i) numbers.insert(worker.call(Number{}));
    CHECK(numbers.size() == 100);
}

TEST_CASE("destroying a worker ends its process", "[process][call]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for(each_transport());
    mark.put_into(options);
    {
        TestWorker called{options};
        called.call(Nothing{});
        const TestWorker never_called{options};
        CHECK(eventually([&] { return mark.processes().size() == 2; }));
    }
    CHECK(mark.processes().empty());
}

}  // namespace
}  // namespace tether_test::call_test
