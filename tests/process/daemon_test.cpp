// A host turns into a daemon while it has workers, and closes every descriptor above 2.

#include <filesystem>

#include "exit_test_support.hpp"
#include "support/sanitizers.hpp"

// The thread sanitizer keeps a record of descriptors, by their numbers. It does not bear a program
// that closes all of them behind its back.
#if !defined(TETHER_TEST_TSAN)

namespace tether_lifetime::daemons {

using namespace std::chrono_literals;

namespace {

constexpr auto named = "this process has closed the descriptors of its workers";

const std::vector<std::string> kinds{"blocking", "stoppable", "future", "callback", "coroutine"};

// Nothing tells the background thread of a loss that comes while it runs; docs/reliability.md says
// so. Without calls that begin or end it comes to rest.
[[maybe_unused]] bool background_thread_rests(::pid_t pid) {
    const auto tasks = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& task : std::filesystem::directory_iterator{tasks}) {
        const auto number = std::stoi(task.path().filename());
        if (name_of(number) != "tether") continue;
        const auto before = contents(task.path() / "status");  // counts how often it was woken
        let_pass(50ms);
        return state_of(number) == 'S' && contents(task.path() / "status") == before;
    }
    return false;
}

// One at a time, so that each has reached its handler.
void pend_each(Scene& scene, const Host& host, const std::vector<std::string>& which = kinds) {
    host.type("worker\n");
    CHECK(scene.wait_for("worker") == "x");
    for (const auto& kind : which) {
        host.type("pend " + kind + "\n");
        REQUIRE(scene.wait_for("running"));
    }
#if !defined(TETHER_FORCE_PORTABLE)  // it never rests there, for want of a pidfd
    CHECK(eventually([&] { return background_thread_rests(host.pid()); }));
#endif
}

void check_new_worker(Scene& scene, const Host& host) {
    host.type("worker\ncall last\n");
    CHECK(scene.wait_for("worker") == "x");
    CHECK(scene.wait_for("call") == "a");
    CHECK(scene.wait_for("future_call") == "b");
    CHECK(scene.wait_for("callback_call") == "c");
    CHECK(scene.wait_for("coroutine_call") == "d");
}

void check_refused(Scene& scene, const std::string& what) {
    INFO(what);
    const auto outcome = scene.wait_for(what);
    REQUIRE(outcome);
    CHECK_THAT(*outcome, Catch::StartsWith("error "));
    CHECK_THAT(*outcome, Catch::Contains(named));
}

void check_prompt(Scene& scene, const std::string& what, Milliseconds bound) {
    const auto took = scene.wait_for(what);
    REQUIRE(took);
    CHECK(Milliseconds{std::stol(*took)} < within(bound));
}

}  // namespace

TEST_CASE("pending calls fail once the host has closed its descriptors", "[F105][serial]") {
    const std::string way = GENERATE("range", "loop", "reuse");
    // Each alone as well: no other thread notices it in its place.
    const std::string only = GENERATE("", "blocking", "future", "callback", "coroutine");
#if defined(TETHER_FORCE_PORTABLE)  // nothing can wake the background thread there
    if (!only.empty() && only != "blocking") return;
#endif
    const auto pending = only.empty() ? kinds : std::vector{only};
    CAPTURE(way, only);
    Scene scene;
    Host host{scene, "daemon", {"concurrency=5"}};
    pend_each(scene, host, pending);
    host.type("close " + way + "\n");
    REQUIRE(scene.wait_for("closed"));
    const auto start = SteadyClock::now();
    // They are told in any order.
    for (const auto& kind : pending) {
        INFO(kind);
        REQUIRE(scene.wait_count(kind, 1));
    }
    const auto took = since(start);
    print_time(way + ": calls failed after", took);
    CHECK(took < within(Milliseconds{2500}));
    const auto story = scene.story();
    for (const auto& kind : pending) {
        CHECK_THAT(story, Catch::Contains(kind + " error "));
    }
    CHECK_THAT(story, Catch::Contains(named));
    const auto left = scene.left_after(soon, {host.pid()});
    TETHER_TELL_STORY(scene, host);
    CHECK(left.empty());  // the old worker has ended

    check_new_worker(scene, host);
    host.type("destroy old\n");
    check_prompt(scene, "freed", 500ms);
    host.type("processor\n");
    check_prompt(scene, "processor", 300ms);
    if (way == "reuse") {
        host.type("look\n");
        CHECK(scene.wait_for("written") == "0");
        CHECK(scene.wait_for("kept") == "all");
    }
    host.type("end return\n");
    check_quick_end(scene, host, "exit 7", "daemon");
}

TEST_CASE("a worker of before the descriptors were closed refuses calls by name", "[F105]") {
    const std::string way = GENERATE("range", "reuse");
    Scene scene;
    Host host{scene, "daemon", {}};
    host.type("worker\nclose " + way + "\n");
    CHECK(scene.wait_for("worker") == "x");
    REQUIRE(scene.wait_for("closed"));
    host.type("call first\nrestart\n");
    for (const auto* kind : {"call", "future_call", "callback_call", "restart"}) {
        check_refused(scene, kind);
    }
    TETHER_TELL_STORY(scene, host);
    host.type("processor\n");
    check_prompt(scene, "processor", 300ms);
    check_new_worker(scene, host);
    host.type("end exit\n");
    check_quick_end(scene, host, "exit 7", "after refusals");
}

TEST_CASE("descriptors may be closed in the middle of async calls", "[F105]") {
#if defined(TETHER_FORCE_PORTABLE)
    return;
#endif
    Scene scene;
    Host host{scene, "daemon", {"concurrency=2"}};
    for (std::size_t round = 1; round <= 10; ++round) {
        INFO("round " << round);
        host.type("worker\ntraffic\nclose range\nask\n");
        // At the latest then: the background thread may just have been on its way to wait.
        REQUIRE(scene.wait_count("traffic", 4 * round));
    }
    TETHER_TELL_STORY(scene, host);
    host.type("processor\n");
    check_prompt(scene, "processor", 300ms);
    check_new_worker(scene, host);
    host.type("end exit\n");
    check_quick_end(scene, host, "exit 7", "after traffic");
}

TEST_CASE("each worker after descriptors were closed works, again and again", "[F105]") {
    Scene scene;
    Host host{scene, "daemon", {}};
    host.type("worker\n");
    CHECK(scene.wait_for("worker") == "x");
    for (int round = 0; round < 6; ++round) {
        INFO("round " << round);
        const auto* const way = round % 2 == 0 ? "range" : "loop";
        host.type(std::string{"close "} + way + "\n");
        REQUIRE(scene.wait_for("closed"));
        check_new_worker(scene, host);
    }
    host.type("processor\ndestroy all\n");
    check_prompt(scene, "processor", 300ms);
    check_prompt(scene, "freed", 1500ms);
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.left_after(soon, {host.pid()}).empty());
    host.type("end exit\n");
    check_quick_end(scene, host, "exit 7", "six times a daemon");
}

TEST_CASE("a daemon that forks and closes its descriptors can have workers", "[F105]") {
    Scene scene;
    Host host{scene, "daemon", {"concurrency=5"}};
    host.type("worker\nfork\nclose range\n");
    CHECK(scene.wait_for("worker") == "x");
    REQUIRE(scene.wait_for("copy"));
    REQUIRE(scene.wait_for("closed"));
    check_new_worker(scene, host);
    pend_each(scene, host);
    host.type("close reuse\n");
    REQUIRE(scene.wait_for("closed"));
    for (const auto& kind : kinds) REQUIRE(scene.wait_count(kind, 1));
    check_new_worker(scene, host);
    host.type("look\n");
    CHECK(scene.wait_for("written") == "0");
    CHECK(scene.wait_for("kept") == "all");
    // What the stacks of the original's threads point to is a leak in the copy.
    host.type(instrumented ? "end _exit\n" : "end exit\n");
    check_quick_end(scene, host, "exit 7", "forked daemon");
}

TEST_CASE("a host that closes its descriptors ends at once", "[F105]") {
    const std::string end = GENERATE("return", "exit", "quick_exit", "_exit");
    INFO(end);
    Scene scene;
    Host host{scene, "daemon", {}};
    host.type("worker\n");
    CHECK(scene.wait_for("worker") == "x");
    const std::string pending = GENERATE("", "pend callback\n");
    host.type(pending);
    if (!pending.empty()) REQUIRE(scene.wait_for("running"));
    host.type("close range\nend " + end + "\n");
    check_quick_end(scene, host, "exit 7", "closed, then " + end);
}

TEST_CASE("a worker is destroyed at once after the host has closed its descriptors", "[F105]") {
    Scene scene;
    Host host{scene, "daemon", {}};
    host.type("worker\n");
    CHECK(scene.wait_for("worker") == "x");
    host.type("close range\ndestroy all\n");
    check_prompt(scene, "freed", 1500ms);
    CHECK(scene.left_after(soon, {host.pid()}).empty());
    check_new_worker(scene, host);
}

}  // namespace tether_lifetime::daemons

#endif
