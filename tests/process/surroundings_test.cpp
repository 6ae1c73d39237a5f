// What is around a worker may be strange: a listener that is slow to accept, folders that only one
// side sees, no loopback interface, many workers that come and go at once.

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "process/support/worker_under_test.hpp"

namespace tether_test::surroundings_test {
namespace {

/// The child, started by `unshare` with these options.
tether::WorkerOptions unshared(const std::vector<std::string>& flags, tether::Transport transport) {
    auto options = options_for(transport);
    options.program = "unshare";
    options.arguments = flags;
    options.arguments.emplace_back(TETHER_MISBEHAVING_CHILD);
    return options;
}

bool can_unshare(const std::string& flags) {
    return std::system(("unshare " + flags + " true >/dev/null 2>&1").c_str()) == 0;
}

TEST_CASE("callers that come while the worker is slow to accept share one connection",
          "[process][start][F4]") {
    const Census census;
    const auto transport = each_transport();
    for (int round = 0; round < 20; ++round) {
        const TemporaryFolder folder;
        Gate gate{folder / "gate"};
        TestWorker worker{options_for({"wait", gate.path()}, transport)};
        REQUIRE(gate.hear_entered());
        std::atomic<int> right{0};
        {
            std::vector<std::jthread> callers;
            for (int i = 0; i < 4; ++i) {
                callers.emplace_back([&] { right += worker.call(Add{20, 22}) == 42 ? 1 : 0; });
            }
            gate.open();
        }
        CHECK(right == 4);
        CHECK(worker.generation() == 1);
        // The listener is gone once the parent is in: what is left is the connection.
        const auto process = worker.call(Who{});
        CHECK(std::ranges::count_if(process.descriptors, [](const std::string& text) {
                  return contains(text, "socket:");
              }) == 2);
    }
}

TEST_CASE("workers that start and stop at once do not touch each other's sockets",
          "[process][start][F57]") {
    const Census census;
    const auto transport = each_transport();
    std::atomic<int> right{0};
    {
        std::vector<std::jthread> owners;
        for (int i = 0; i < 4; ++i) {
            owners.emplace_back([&] {
                for (int round = 0; round < 25; ++round) {
                    TestWorker worker{options_for(transport)};
                    right += worker.call(Add{round, 1}) == round + 1 ? 1 : 0;
                }
            });
        }
    }
    CHECK(right == 100);
}

TEST_CASE("parent and worker need not see the same folders", "[process][start][F68]") {
    if (!can_unshare("--mount")) {
        WARN("not tried: no right to make a mount namespace");
        return;
    }
    const Census census;
    const auto transport = each_transport();
    auto options =
        unshared({"--mount", "sh", "-c", "mount -t tmpfs none \"$XDG_RUNTIME_DIR\" && exec \"$0\""},
                 transport);
    TestWorker worker{options};
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(how(worker.stop()) == exited_well);
}

TEST_CASE("a worker without any network interface", "[process][start][F89]") {
    if (!can_unshare("--net")) {
        WARN("not tried: no right to make a network namespace");
        return;
    }
    const Census census;
    const auto transport = each_transport();
    TestWorker worker{unshared({"--net"}, transport)};
    CHECK(worker.call(Add{1, 2}) == 3);
}

/// What a process has from the thread that started it.
struct Inherited {
    int processors = 0;
    int policy = 0;
    int nice = 0;
    std::string timer_slack{};

    friend bool operator==(const Inherited&, const Inherited&) = default;
};

Inherited inherited_by(::pid_t process) {
    ::cpu_set_t set;
    REQUIRE(::sched_getaffinity(process, sizeof set, &set) == 0);
    return {CPU_COUNT(&set), ::sched_getscheduler(process),
            ::getpriority(PRIO_PROCESS, static_cast<::id_t>(process)),
            read_file("/proc/" + std::to_string(process) + "/timerslack_ns")};
}

void pin_and_slow_this_thread() {
    ::cpu_set_t set;
    ::sched_getaffinity(0, sizeof set, &set);
    int first = 0;
    while (!CPU_ISSET(first, &set)) ++first;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    ::sched_setaffinity(0, sizeof set, &set);
    const ::sched_param parameters{};
    ::sched_setscheduler(0, SCHED_BATCH, &parameters);
    // Only root may take this back.
    if (::geteuid() == 0) ::setpriority(PRIO_PROCESS, 0, 7);
    ::prctl(PR_SET_TIMERSLACK, 1'000'000);
}

TEST_CASE("each process of a worker has the surroundings of the first",
          "[process][restart][F101]") {
    const Census census;
    TestWorker worker{options_for()};
    worker.call(Nothing{});
    const auto first = inherited_by(static_cast<::pid_t>(worker.pid()));
    std::thread{[&] {
        pin_and_slow_this_thread();
        const auto own = inherited_by(::gettid());
        worker.kill();
        worker.call(Nothing{});
        CHECK(inherited_by(::gettid()) == own);
    }}.join();
    CHECK(worker.generation() == 2);
    CHECK(inherited_by(static_cast<::pid_t>(worker.pid())) == first);
}

}  // namespace
}  // namespace tether_test::surroundings_test
