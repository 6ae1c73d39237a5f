// A host that forks without exec.

#include "host_process.hpp"

namespace tether_lifetime::fork {

using namespace std::chrono_literals;

namespace {

// The sanitizers have reservations of their own about copies of a program with threads.
HostOptions options() {
    const auto add = [](const char* name, const char* more) {
        const char* value = std::getenv(name);
        return (value != nullptr ? std::string{value} + ":" : "") + more;
    };
    return {.environment = {{"TSAN_OPTIONS", add("TSAN_OPTIONS", "die_after_fork=0")},
                            {"ASAN_OPTIONS", add("ASAN_OPTIONS", "detect_leaks=0")}}};
}

// What the copy did has not touched the original's worker.
void check_worker_is_untouched(Scene& scene, Host& host, const std::optional<std::string>& first) {
    REQUIRE(first);
    CHECK(scene.wait_for("last") == *first);
    CHECK(scene.wait_for("generation") == "1");
    CHECK(host.wait() == "exit 0");
    CHECK(scene.left_after(soon).empty());
}

}  // namespace

TEST_CASE("the end of a forked copy stops nothing", "[F33]") {
    const std::string storage = GENERATE("local", "static");
    const std::string way = GENERATE("return", "exit", "quick_exit", "_exit", "exception");
    INFO(storage << ", " << way);
    Scene scene;
    Host host{scene, "forking", {"mode=end", "storage=" + storage, "way=" + way}, options()};
    const auto first = scene.wait_for("first");
    CHECK(scene.wait_for("copy_ended") == (way == "exception" ? "signal 6" : "exit 7"));
    TETHER_TELL_STORY(scene, host);
    check_worker_is_untouched(scene, host, first);
}

TEST_CASE("a worker cannot be used in a forked copy", "[F33]") {
    const std::string storage = GENERATE("local", "static");
    Scene scene;
    Host host{scene, "forking", {"mode=uses", "storage=" + storage, "way=return"}, options()};
    const auto first = scene.wait_for("first");
    for (const auto* use : {"call", "async_call", "stop", "async_stop", "async_wait", "kill",
                            "restart", "pid", "state"}) {
        INFO(use);
        const auto outcome = scene.wait_for(use);
        REQUIRE(outcome);
        INFO(*outcome);
        CHECK(outcome->find("error the worker belongs to the process this one was forked from") ==
              0);
    }
    CHECK(scene.wait_for("copy_ended") == "exit 7");
    check_worker_is_untouched(scene, host, first);
}

#if !defined(TETHER_TEST_TSAN)
TEST_CASE("a forked copy may have a worker of its own", "[F33]") {
    const std::string way = GENERATE("return", "exit", "quick_exit", "_exit");
    Scene scene;
    Host host{scene, "forking", {"mode=new", "storage=static", "again=1", "way=" + way}, options()};
    const auto first = scene.wait_for("first");
    CHECK(scene.wait_for("new") == "of the copy");
    const auto second = scene.wait_for("second");
    REQUIRE(second);
    CHECK(second->find("error the worker belongs") == 0);
    CHECK(scene.wait_for("third") == "of the second");
    CHECK(scene.wait_for("second_ended") == "exit 0");
    CHECK(scene.wait_for("between") == "still here");
    CHECK(scene.wait_for("copy_ended") == "exit 7");
    TETHER_TELL_STORY(scene, host);
    check_worker_is_untouched(scene, host, first);
}

#endif

TEST_CASE("a copy that lives on keeps no worker alive", "[F33]") {
    const std::string way = GENERATE("return", "exit", "_exit", "sigkill", "abort", "exec");
    Scene scene;
    Host host{scene, "forking", {"mode=sleep", "storage=static", "way=" + way}, options()};
    const auto copy = scene.wait_for("copy");
    REQUIRE(copy);
    // Either may be announced first.
    REQUIRE(scene.wait_count("sleeping", 1));
    host.type("go\n");
    CHECK(host.wait() != "still running");
    const auto start = SteadyClock::now();
    const auto copy_pid = static_cast<::pid_t>(std::stol(*copy));
    const auto left = scene.left_after(soon, {copy_pid});
    print_time("parent ended by " + way + " with a copy asleep, worker gone after", since(start));
    TETHER_TELL_STORY(scene, host);
    CHECK(left.empty());
    // It may not have fallen asleep yet.
    CHECK(eventually([&] { return state_of(copy_pid) == 'S'; }));
}

TEST_CASE("forks in the middle of calls end well", "[F33]") {
    Scene scene;
    Host host{scene,
              "forking",
              {"mode=busy", "storage=static", "count=" + std::to_string(rounds(50))},
              options()};
    const auto first = scene.wait_for("first");
    CHECK(scene.wait_for("bad") == "0");
    REQUIRE(first);
    CHECK(scene.wait_for("last") == *first);
    CHECK(host.wait() == "exit 0");
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("streams and subscriptions are inert in a forked copy", "[F33][live]") {
    CHECK(std::system(TETHER_HOSTS_DIR "/forking_live") == 0);
}

TEST_CASE("forks of another thread hold up no start and no stop", "[F37]") {
    const int count = rounds(40);
    Scene scene;
    Host host{scene, "forking", {"mode=beside", "count=" + std::to_string(count)}, options()};
    for (int i = 0; i < count; ++i) {
        REQUIRE(scene.wait_for("answer") == "x");
        // Not killed after the drain: nobody waited for the copies to close anything.
        REQUIRE(scene.wait_for("stopped") == "exited with code 0");
    }
    REQUIRE(scene.wait_for("done"));
    CHECK(host.wait() == "exit 0");
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("a forked copy that destroys its context cancels nothing of the original's", "[F33]") {
    Scene scene;
    Host host{scene, "host", {"concurrency=2"}, options()};
    host.type("fork_and_drop\n");
    REQUIRE(scene.wait_for("running"));
    host.type("fork\n");
    CHECK(scene.wait_for("copy_ended") == "7");
    TETHER_TELL_STORY(scene, host);
    const auto second = scene.wait_for("second");
    REQUIRE(second);
    CHECK(second->starts_with("error the call timed out"));
    CHECK(scene.wait_for("third") == "x");
    CHECK(scene.count("completed") == 0);
    scene.open_gate();
    CHECK(scene.wait_for("completed") == "done");
    CHECK(scene.wait_for("ran"));
    host.type("end return\n");
    CHECK(host.wait() == "exit 7");
    CHECK(scene.left_after(soon).empty());
}

}  // namespace tether_lifetime::fork
