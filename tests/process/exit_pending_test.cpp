// Calls that are pending when the host exits, and uses of a worker after that.

#include "exit_test_support.hpp"

namespace tether_lifetime::exit_pending {

using namespace std::chrono_literals;

TEST_CASE("a call that is pending at exit is dropped, its handler not invoked", "[exit]") {
    const std::string context = GENERATE("own", "user");
    // Where the destructor of the worker runs, it ends its calls with `stopped`: not these.
    const std::string storage = GENERATE("leaked", "local");
    const std::string way = GENERATE("exit", "quick_exit", "return");
    if (way == "return" && storage == "local") return;
    INFO(context << ", " << storage << ", " << way);

    Scene scene;
    Host host{scene, "host", {"storage=" + storage, "context=" + context}};
    host.type("async until_stopped\nasync until_stopped\n");
    REQUIRE(scene.wait_for("running"));
    host.type("end " + way + "\n");
    check_quick_end(scene, host, "exit 7", "async pending, " + storage + ", " + way);
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.count("completed") == 0);
}

TEST_CASE("a wait for the end and a stop that are pending at exit are dropped", "[exit]") {
    const std::string pending = GENERATE("async_wait", "async_stop");
    const std::string context = GENERATE("own", "user");
    INFO(pending << ", " << context);

    Scene scene;
    // The handler ignores that it should stop, so that the worker is there until the exit.
    Host host{scene, "host", {"storage=leaked", "context=" + context, "drain=1000000"}};
    host.type("async spin\n");
    REQUIRE(scene.wait_for("running"));
    host.type(pending + "\n");
    REQUIRE(scene.wait_count("sent", 2));
    host.type("end exit\n");
    CHECK(host.wait() == "exit 7");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.left_after(soon).empty());
    CHECK(scene.count("ended") == 0);
}

TEST_CASE("a worker that is destroyed ends its calls", "[exit]") {
    struct Case {
        const char* arguments;
        const char* way;
    };
    const auto one = GENERATE(Case{"context=own", "return"}, Case{"context=user", "return"},
                              Case{"storage=static", "return"}, Case{"storage=static", "exit"});
    Scene scene;
    Host host{scene, "host", {one.arguments}};
    host.type("async until_stopped\n");
    REQUIRE(scene.wait_for("running"));
    host.type(std::string{"end "} + one.way + "\n");
    check_quick_end(scene, host, "exit 7", "async pending, destroyed");
}

TEST_CASE("a thread that is in a call holds up no exit", "[exit][F29]") {
    const std::string way = GENERATE("exit", "quick_exit", "_exit", "exception");
    const std::string storage = GENERATE("static", "leaked", "local");
    Scene scene;
    // All three are in their calls: one that comes later than a static worker's end is a mistake.
    Host host{scene, "host", {"storage=" + storage, "concurrency=3"}};
    host.type("thread until_stopped\nthread until_stopped\nthread until_stopped\n");
    REQUIRE(scene.wait_count("running", 3));
    host.type("end " + way + "\n");
    check_quick_end(scene, host, way == "exception" ? "signal 6" : "exit 7",
                    "thread in a call, " + storage + ", " + way);
}

TEST_CASE("exit may be called on Tether's own thread", "[exit]") {
    const std::string storage = GENERATE("static", "leaked", "local");
    Scene scene;
    Host host{scene, "host", {"storage=" + storage}};
    host.type("async_exit echo x\n");
    REQUIRE(scene.wait_for("exit"));
    const auto start = SteadyClock::now();
    CHECK(host.wait() == "exit 7");
    print_time("exit on the background thread, ended after", since(start));
    TETHER_TELL_STORY(scene, host);
    CHECK(since(start) < soon);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("exit may be called in an output callback", "[exit][F29]") {
    const std::string storage = GENERATE("leaked", "local", "static");
    INFO(storage);
    Scene scene;
    Host host{scene, "host", {"storage=" + storage, "output=exit"}};
    host.type("call print_lines 1\n");
    REQUIRE(scene.wait_for("callback"));
    const auto start = SteadyClock::now();
    CHECK(host.wait() == "exit 7");
    print_time("exit in an output callback, " + storage + ": ended after", since(start));
    TETHER_TELL_STORY(scene, host);
    CHECK(since(start) < soon);
    CHECK(scene.count("callback") == 1);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("an output callback that blocks for ever holds up no exit", "[exit]") {
    const std::string way = GENERATE("return", "exit", "quick_exit");
    Scene scene;
    Host host{scene, "host", {"storage=leaked", "output=block"}};
    host.type("async print_lines 1\n");
    REQUIRE(scene.wait_for("callback"));
    host.type("end " + way + "\n");
    REQUIRE(scene.wait_for("ending"));
    const auto start = SteadyClock::now();
    CHECK(host.wait() == "exit 7");
    print_time("an output callback blocks, " + way + ": ended after", since(start));
    TETHER_TELL_STORY(scene, host);
    CHECK(since(start) < soon);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("a worker that is used after the exit hook is stopped", "[exit]") {
    const std::string way = GENERATE("return", "exit");
    Scene scene;
    Host host{scene, "late_static", {"way=" + way}};
    CHECK(scene.wait_for("answer") == "x");
    check_quick_end(scene, host, "exit 7", "late uses");
    TETHER_TELL_STORY(scene, host);
    for (const auto* use : {"call", "again", "new", "restart"}) {
        INFO(use);
        const auto outcome = scene.wait_for(use);
        REQUIRE(outcome);
        CHECK(outcome->find("error the worker was stopped (") == 0);
    }
    CHECK(scene.wait_for("state"));
    CHECK(scene.wait_for("kill") == "done");
    CHECK(scene.wait_for("stop") == "done");
    CHECK(scene.wait_for("pid") == "0");
    CHECK(scene.wait_for("late") == "end");
    CHECK(scene.count("completed") == 0);
    CHECK(scene.count("constructed") == 1);
}

}  // namespace tether_lifetime::exit_pending
