// The parent is killed while the worker can hardly notice, or has started processes of its own.

#include <algorithm>

#include "host_process.hpp"

namespace tether_lifetime::lifetime_stuck {

using namespace std::chrono_literals;

namespace {

void check_gone(const Scene& scene, const std::string& what, std::vector<::pid_t> spared = {}) {
    const auto start = SteadyClock::now();
    const auto left = scene.left_after(soon, std::move(spared));
    print_time(what + ", all gone after", since(start));
    INFO("left: " << Scene::describe(left));
    CHECK(left.empty());
}

::pid_t pid_in(const std::optional<std::string>& event) {
    REQUIRE(event);
    return static_cast<::pid_t>(std::stol(event->substr(event->rfind(' ') + 1)));
}

}  // namespace

TEST_CASE("a stuck handler does not outlive the parent", "[F22]") {
    const std::string what =
        GENERATE("spin", "read", "signals_blocked", "stdio_lock", "loader_lock", "malloc_lock",
                 "stopped", "shell_and_wait sleep 1000");
    INFO(what);
    Scene scene;
    Host host{scene, "host", {}};
    host.type("call " + what + "\n");
    const auto worker = pid_in(scene.wait_for("running"));
    if (what == "stopped") REQUIRE(eventually([&] { return state_of(worker) == 'T'; }));
    host.send(SIGKILL);
    CHECK(host.wait() == "signal 9");
    check_gone(scene, what);
}

TEST_CASE("a handler stuck in its constructor does not outlive the parent", "[F22]") {
    Scene scene;
    Host host{scene, "host", {}, {.environment = {{"TETHER_TEST_GATE", "constructor"}}}};
    REQUIRE(scene.wait_for("gate"));
    host.send(SIGKILL);
    CHECK(host.wait() == "signal 9");
    check_gone(scene, "constructor");
}

TEST_CASE("a handler stuck in its destructor does not outlive the parent", "[F22]") {
    Scene scene;
    Host host{scene, "host", {}, {.environment = {{"TETHER_TEST_GATE", "destructor"}}}};
    host.type("call echo x\n");
    REQUIRE(scene.wait_for("answer"));
    host.send(SIGKILL);
    CHECK(host.wait() == "signal 9");
    check_gone(scene, "destructor");
}

TEST_CASE("a worker that was stopped when idle does not outlive the parent", "[F22]") {
    Scene scene;
    Host host{scene, "host", {}};
    host.type("call pid\n");
    const auto worker = pid_in(scene.wait_for("answer"));
    ::kill(worker, SIGSTOP);
    REQUIRE(eventually([&] { return state_of(worker) == 'T'; }));
    const std::string end = GENERATE("sigkill", "_exit", "exec", "exit");
    INFO(end);
    host.type("end " + end + "\n");
    CHECK(host.wait() != "still running");
    check_gone(scene, "stopped, " + end);
}

TEST_CASE("what a handler started does not outlive its worker", "[F23]") {
    std::vector<std::string> commands{"sleep 1000", "sleep 1000 & sleep 1000 & wait",
                                      "trap '' TERM HUP INT; sleep 1000"};
    // Without a way to list the children of a process they escape by leaving its group.
    if (!portable) {
        for (const auto* escaping :
             {"timeout 60 sleep 50", "setsid sleep 50", "(setsid sleep 50 &) ; sleep 1000",
              "setsid sh -c 'setsid sleep 50 & timeout 60 sleep 50'"}) {
            commands.emplace_back(escaping);
        }
    }
    const auto command = GENERATE_COPY(from_range(commands));
    const std::string end = GENERATE("stop", "kill", "end exit", "end return", "end sigkill",
                                     "end _exit", "end exec_sleep");
    INFO(command << ", then " << end);

    Scene scene;
    Host host{scene, "host", {}};
    host.type("call shell " + command + "\n");
    REQUIRE(scene.wait_for("answer"));
    const auto sleeps = [&] {
        return std::ranges::any_of(scene.processes(),
                                   [](::pid_t pid) { return name_of(pid) == "sleep"; });
    };
    REQUIRE(eventually(sleeps));
    host.type(end + "\n");
    if (end == "stop") REQUIRE(scene.wait_for("stopped"));
    if (end == "kill") REQUIRE(scene.wait_for("killed"));
    if (end.starts_with("end")) REQUIRE(scene.wait_for("ending"));
    if (end != "stop" && end != "kill" && end != "end exec_sleep") {
        REQUIRE(host.wait() != "still running");
    }
    const auto spared = [&] { return std::vector<::pid_t>{host.pid()}; };
    check_gone(scene, command + ", " + end, spared());
}

TEST_CASE("what a handler started does not outlive it when the worker itself is killed", "[F23]") {
    Scene scene;
    Host host{scene, "host", {}};
    host.type("call shell sleep 1000\ncall pid\n");
    REQUIRE(scene.wait_for("answer"));
    const auto worker = pid_in(scene.wait_for("answer"));
    ::kill(worker, SIGKILL);
    check_gone(scene, "worker killed", {host.pid()});
}

}  // namespace tether_lifetime::lifetime_stuck
