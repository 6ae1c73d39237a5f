// A shared object that owns a worker is unloaded.

#include "exit_test_support.hpp"

namespace tether_lifetime::plugin {

using namespace std::chrono_literals;

namespace {

std::vector<std::string> arguments(const std::string& storage, int rounds,
                                   const std::string& pending, const std::string& end) {
    return {host_path("owner.so"),  host_path("host"), storage,
            std::to_string(rounds), pending,           end};
}

}  // namespace

#if !defined(TETHER_TEST_TSAN)
TEST_CASE("an unloaded plugin takes its worker and its thread with it", "[exit][plugin]") {
    const std::string storage = GENERATE("static", "leaked");
    const std::string end = GENERATE("return", "quick_exit");
    INFO(storage << ", " << end);
    Scene scene;
    // A leak of a plugin that is gone cannot be told from a mistake.
    Host host{scene,
              "loader",
              arguments(storage, 3, "", end),
              {.environment = {{"ASAN_OPTIONS", "detect_leaks=0"}}}};
    for (int i = 0; i < 3; ++i) CHECK(scene.wait_for("answer") == "x");
    const auto unloaded = scene.wait_for("unloaded");
    REQUIRE(unloaded);
    if (!instrumented) CHECK(*unloaded == "threads 1 gone");
    const auto left = scene.left_after(soon, {host.pid()});
    TETHER_TELL_STORY(scene, host);
    CHECK(left.empty());
    CHECK(scene.count("destroyed") == 3);
    host.type("g");
    check_quick_end(scene, host, "exit 7", "plugin, " + storage);
}

#endif

TEST_CASE("a plugin may be loaded when the program exits", "[exit][plugin]") {
    const std::string storage = GENERATE("static", "leaked");
    Scene scene;
    Host host{scene,
              "loader",
              arguments(storage, 1, "", "loaded"),
              {.environment = {{"ASAN_OPTIONS", "detect_leaks=0"}}}};
    CHECK(scene.wait_for("answer") == "x");
    check_quick_end(scene, host, "exit 7", "loaded plugin, " + storage);
    CHECK(scene.count("destroyed") == 1);
}

#if !defined(TETHER_TEST_TSAN)
TEST_CASE("a plugin is unloaded with a call pending", "[exit][plugin]") {
    const std::string storage = GENERATE("static", "leaked");
    Scene scene;
    Host host{scene,
              "loader",
              arguments(storage, 2, "until_stopped", "return"),
              {.environment = {{"ASAN_OPTIONS", "detect_leaks=0"}}}};
    for (int i = 0; i < 2; ++i) {
        REQUIRE(scene.wait_for("running"));
        host.type("g");
    }
    REQUIRE(scene.wait_for("unloaded"));
    const auto left = scene.left_after(soon, {host.pid()});
    TETHER_TELL_STORY(scene, host);
    CHECK(left.empty());
    if (storage == "leaked") CHECK(scene.count("completed") == 0);
    host.type("g");
    check_quick_end(scene, host, "exit 7", "plugin with a pending call, " + storage);
}
#endif

}  // namespace tether_lifetime::plugin
