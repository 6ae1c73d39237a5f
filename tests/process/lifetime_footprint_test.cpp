// The host's process is its own: what it had set up stays as it was.

#include "exit_test_support.hpp"

namespace tether_lifetime::footprint {

using namespace std::chrono_literals;

#if !defined(TETHER_TEST_TSAN)
TEST_CASE("a worker changes nothing about the host's process", "[footprint]") {
    Scene scene;
    Host host{scene, "footprint", {"mode=look"}};
    CHECK(scene.wait_for("answer") == "x");
    CHECK(scene.wait_for("footprint") == "same");
    CHECK(scene.wait_for("descriptors") == "same");
    // The background thread and the sentinel's take no signals: all but 9, 19 and what the C
    // library keeps for itself.
    CHECK(scene.wait_for("threads") == "2");
    CHECK(scene.wait_for("blocked") == "fffffffe7ffbfeff");
    CHECK(scene.wait_for("blocked") == "fffffffe7ffbfeff");
    check_quick_end(scene, host, "exit 7", "footprint");
    CHECK(scene.wait_for("at_exit") == "0");
    TETHER_TELL_STORY(scene, host);
}

#endif

TEST_CASE("a host that ignores SIGCHLD has no zombies and hangs nowhere", "[F32]") {
    const int count = rounds(40);
    Scene scene;
    Host host{scene, "footprint", {"mode=ignore", "count=" + std::to_string(count)}};
    for (int i = 0; i < count; ++i) {
        const auto answer = scene.wait_for("answer");
        REQUIRE(answer);
        CHECK(answer->starts_with("x "));
    }
    CHECK(scene.wait_for("children") == "none");
    check_quick_end(scene, host, "exit 7", "SIGCHLD ignored");
}

TEST_CASE("a host that waits for any child takes nothing that a worker needs", "[F32]") {
    const int count = rounds(40);
    Scene scene;
    Host host{scene, "footprint", {"mode=wait_any", "count=" + std::to_string(count)}};
    for (int i = 0; i < count; ++i) {
        const auto answer = scene.wait_for("answer");
        REQUIRE(answer);
        CHECK(answer->starts_with("x "));
    }
    CHECK(scene.wait_for("echo") == "x");
    CHECK(scene.wait_for("echo") == "x");
    check_quick_end(scene, host, "exit 7", "waitpid(-1)");
}

TEST_CASE("a host without standard descriptors gets none from a worker", "[footprint]") {
    Scene scene;
    Host host{scene, "footprint", {"mode=closed"}};
    CHECK(scene.wait_for("answer") == "x");
    const auto descriptors = scene.wait_for("descriptors");
    REQUIRE(descriptors);
    INFO(*descriptors);
    CHECK(descriptors->starts_with("0 /dev/null 0;1 pipe:"));
    CHECK(scene.wait_for("again") == "again");
    CHECK(scene.wait_for("standard") == "closed");
    CHECK(scene.wait_for("standard") == "closed");
    TETHER_TELL_STORY(scene, host);
    check_quick_end(scene, host, "exit 7", "no standard descriptors");
    CHECK(scene.count("completed") == 1);
}

}  // namespace tether_lifetime::footprint
