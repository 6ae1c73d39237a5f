// What is around a worker may be strange: a listener that is slow to accept, folders that only one
// side sees, no loopback interface, many workers that come and go at once.

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

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

}  // namespace
}  // namespace tether_test::surroundings_test
