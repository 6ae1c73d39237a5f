// Ends that must come although the system, the clock or the host does not play along.

#include "exit_test_support.hpp"

namespace tether_lifetime::bounded_end {

using namespace std::chrono_literals;

namespace {

// False where this system knows no such filter.
bool refuse_signals(Scene& scene, const Host& host) {
    host.type("refuse_signals\n");
    return scene.wait_for("refused") == "yes";
}

// Bounded, by far less than a wait without a bound; by how much, other tests measure.
void check_bounded_end(Scene& scene, Host& host, const std::string& what) {
    REQUIRE(scene.wait_for("ending"));
    const auto start = SteadyClock::now();
    CHECK(host.wait() == "exit 7");
    print_time(what + ": ended after", since(start));
    const auto left = scene.left_after(soon);
    TETHER_TELL_STORY(scene, host);
    INFO(what << ", left: " << Scene::describe(left));
    CHECK(left.empty());
    CHECK(since(start) < within(10s));
}

}  // namespace

TEST_CASE("a host that may send no signal ends its worker by its lifeline", "[exit][F91]") {
    struct Case {
        const char* arguments;
        const char* commands;
        const char* announced;
    };
    const auto one = GENERATE(Case{"storage=local", "stop\nreport\nend _exit\n", "stopped"},
                              Case{"storage=local", "kill\nreport\nend _exit\n", "killed"},
                              Case{"storage=local", "restart\nreport\nend _exit\n", "restarted"},
                              Case{"storage=local", "destroy\nend _exit\n", "destroyed_worker"},
                              Case{"storage=static", "end exit\n", "ending"},
                              Case{"storage=leaked", "end exit\n", "ending"});
    const std::string what = GENERATE("spin", "stopped");
    INFO(one.arguments << ": " << one.commands << what);
    Scene scene;
    Host host{scene, "host", {one.arguments, "drain=50", "grace=50"}};
    host.type("thread " + what + "\n");
    REQUIRE(scene.wait_for("running"));
    if (!refuse_signals(scene, host)) return;
    const auto start = SteadyClock::now();
    host.type(one.commands);
    CHECK(scene.wait_for(one.announced));
    if (std::string{one.commands}.find("report") != std::string::npos) {
        const auto report = scene.wait_for("report");
        REQUIRE(report);
        INFO(*report);
        CHECK(report->find("kill: Operation not permitted") != std::string::npos);
        CHECK(report->find("its control channel was cut") != std::string::npos);
    }
    CHECK(host.wait() == "exit 7");
    const auto left = scene.left_after(soon);
    TETHER_TELL_STORY(scene, host);
    CHECK(left.empty());
    print_time("no signal allowed, all gone after", since(start));
    CHECK(since(start) < within(10s));
}

TEST_CASE("a worker that cannot be ended is left behind, and reaped when it ends", "[F91]") {
    Scene scene;
    Host host{scene, "host", {"drain=50", "grace=3300"}};
    host.type("thread spin\n");
    const auto running = scene.wait_for("running");
    REQUIRE(running);
    const auto worker = static_cast<::pid_t>(std::stol(running->substr(running->rfind(' ') + 1)));
    if (!refuse_signals(scene, host)) return;
    host.type("stop\nreport\n");
    CHECK(scene.wait_for("stopped"));
    const auto report = scene.wait_for("report");
    REQUIRE(report);
    INFO(*report);
    CHECK(report->find("could not be ended") != std::string::npos);
    CHECK(report->find("kill: Operation not permitted") != std::string::npos);
    CHECK(report->find("is left behind") != std::string::npos);
    CHECK(eventually([&] { return state_of(worker) == 'X'; }));
    host.type("end exit\n");
    CHECK(host.wait() == "exit 7");
    CHECK(scene.left_after(soon).empty());
}

#if !defined(TETHER_TEST_TSAN)  // it reports what such a handler does
TEST_CASE("exit in a signal handler that interrupted a call ends the program", "[exit][F96]") {
    const std::string storage = GENERATE("static", "leaked", "local");
    Moments moments;
    for (int round = 0; round < rounds(8); ++round) {
        Scene scene;
        Host host{scene, "host", {"storage=" + storage}};
        host.type("call_until_interrupted\n");
        REQUIRE(scene.wait_for("looping"));
        let_pass(moments.up_to(3ms));
        const auto start = SteadyClock::now();
        host.send(SIGINT);
        CHECK(host.wait() == "exit 7");
        const auto left = scene.left_after(soon);
        INFO(storage << ", seed " << moments.used_seed());
        TETHER_TELL_STORY(scene, host);
        REQUIRE(left.empty());
        CHECK(since(start) < within(10s));
    }
}
#endif

TEST_CASE("a thread that is suspended inside a call holds up no exit", "[exit][F96]") {
    const std::string storage = GENERATE("static", "leaked");
    for (int round = 0; round < rounds(1); ++round) {
        Scene scene;
        Host host{scene, "host", {"storage=" + storage}};
        host.type("suspend_caller\n");
        REQUIRE(scene.wait_for("suspended"));
        host.type("end exit\n");
        check_bounded_end(scene, host, "a suspended caller, " + storage);
    }
}

TEST_CASE("a clock that stands still holds up no exit", "[exit][F103]") {
    const std::string storage = GENERATE("static", "leaked", "local");
    const std::string command = GENERATE("thread spin", "thread stopped", "call echo x");
    Scene scene;
    Host host{scene, "host", {"storage=" + storage, "drain=50", "grace=50"}};
    host.type(command + "\n");
    REQUIRE(scene.wait_for(command == "call echo x" ? "answer" : "running"));
    host.type("freeze_clock\n");
    if (scene.wait_for("frozen") != "yes") return;
    host.type(storage == "local" ? "end return\n" : "end exit\n");
    check_bounded_end(scene, host, "a frozen clock, " + storage + ", " + command);
}

}  // namespace tether_lifetime::bounded_end
