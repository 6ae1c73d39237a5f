// However the parent ends, the worker ends; and whatever else the parent does, it does not.

#include <algorithm>

#include "host_process.hpp"

namespace tether_lifetime::lifetime_parent {

using namespace std::chrono_literals;

namespace {

struct Ending {
    const char* way;
    const char* status;
};

const Ending endings[] = {
    {"return", "exit 7"},       {"exit", "exit 7"},      {"quick_exit", "exit 7"},
    {"_exit", "exit 7"},        {"abort", "signal 6"},   {"exception", "signal 6"},
    {"sigterm", "signal 15"},   {"sigkill", "signal 9"}, {"exec", "exit 0"},
    {"exec_sleep", "sleeping"},
};

}  // namespace

TEST_CASE("however the parent ends, nobody is left behind", "[F21]") {
    const auto& ending = GENERATE(from_range(std::begin(endings), std::end(endings)));
    const std::string busy =
        GENERATE("call echo x", "thread until_stopped", "thread spin", "async until_stopped");
    INFO(ending.way << " after " << busy);

    Scene scene;
    Host host{scene, "host", {"drain=200", "terminate=200"}};
    host.type(busy + "\n");
    REQUIRE(scene.wait_for(busy == "call echo x" ? "answer" : "running"));
    host.type(std::string{"end "} + ending.way + "\n");
    REQUIRE(scene.wait_for("ending"));
    std::vector<::pid_t> spared;
    if (std::string_view{ending.status} == "sleeping") {
        spared = {host.pid()};
    } else {
        CHECK(host.wait() == ending.status);
    }

    const auto start = SteadyClock::now();
    const auto left = scene.left_after(soon, spared);
    print_time(std::string{ending.way} + " after " + busy + ", all gone after", since(start));
    TETHER_TELL_STORY(scene, host);
    INFO("left: " << Scene::describe(left));
    CHECK(left.empty());
    if (!spared.empty()) CHECK(name_of(host.pid()) == "sleep");
}

TEST_CASE("a parent that was stopped is served as if nothing had happened", "[F2]") {
    struct Pause {
        const char* when;
        const char* gate;
        const char* commands;
        const char* event;  // when the worker has done all it can do alone
    };
    const auto pause = GENERATE(
        Pause{"after the spawn", "", "sigstop\ncall echo a\ncall echo b\npid\n", "constructed"},
        Pause{"before the accept", "main", "sigstop\ncall echo a\ncall echo b\npid\n",
              "constructed"},
        Pause{"after the hello", "", "call echo a\nsigstop\ncall echo b\npid\n", "answer"});
    const std::string transport = GENERATE("automatic", "unix_path", "tcp", "socket_pair");
    INFO(pause.when << ", " << transport);

    Scene scene;
    // The parent sleeps through its own start timeout.
    Host host{scene,
              "host",
              {"start_timeout=" + std::to_string(within(500ms).count()), "transport=" + transport},
              {.environment = {{"TETHER_TEST_GATE", pause.gate}}}};
    host.type(pause.commands);
    const auto worker = scene.wait_for("spawned");
    REQUIRE(worker);
    if (pause.event == std::string{"answer"}) REQUIRE(scene.wait_for("answer") == "a");
    REQUIRE(host.wait_stopped());
    scene.open_gate();
    REQUIRE(scene.wait_count("constructed", 1));
    let_pass(within(600ms));
    CHECK(eventually([&] { return state_of(static_cast<::pid_t>(std::stol(*worker))) == 'S'; }));
    host.send(SIGCONT);
    REQUIRE(scene.wait_for("continued"));
    if (pause.event == std::string{"constructed"}) CHECK(scene.wait_for("answer") == "a");
    CHECK(scene.wait_for("answer") == "b");
    CHECK(scene.wait_for("pid") == *worker + " generation 1");
    TETHER_TELL_STORY(scene, host);
    host.type("end exit\n");
    CHECK(host.wait() == "exit 7");
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("a parent that is stopped in a call gets its answer afterwards", "[F2]") {
    Scene scene;
    Host host{scene, "host", {}};
    host.type("call for 300\n");
    REQUIRE(scene.wait_for("running"));
    host.send(SIGSTOP);
    REQUIRE(host.wait_stopped());
    let_pass(600ms);
    host.send(SIGCONT);
    CHECK(scene.wait_for("answer") == "done");
    host.type("call echo again\n");
    CHECK(scene.wait_for("answer") == "again");
}

TEST_CASE("a host whose starting thread ends keeps its worker", "[F27]") {
    Scene scene;
    Host host{scene, "host", {"in_thread=1"}};
    const auto worker = scene.wait_for("spawned");
    REQUIRE(worker);
    host.type("call for 300\ncall echo x\npid\n");
    CHECK(scene.wait_for("answer") == "done");
    CHECK(scene.wait_for("answer") == "x");
    CHECK(scene.wait_for("pid") == *worker + " generation 1");
    host.type("end _exit\n");
    CHECK(host.wait() == "exit 7");
    CHECK(scene.left_after(soon).empty());
}

}  // namespace tether_lifetime::lifetime_parent
