// A worker that has something to finish is given the time it was promised.

#include "host_process.hpp"

namespace tether_lifetime::exit_drain {

using namespace std::chrono_literals;

TEST_CASE("a slow destructor of the handler is waited for", "[F39]") {
    const std::string end = GENERATE("stop", "end return");
    Scene scene;
    Host host{scene,
              "host",
              {"drain=" + std::to_string(within(5s).count())},
              {.environment = {{"TETHER_TEST_CLEANUP", "slow"}}}};
    host.type("call echo x\n" + end + "\n");
    const auto start = SteadyClock::now();
    if (end == "stop") {
        CHECK(scene.wait_for("stopped") == "exited with code 0");
    } else {
        CHECK(host.wait() == "exit 7");
    }
    print_time("slow destructor, " + end, since(start));
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.count("destroyed") == 1);
    CHECK(since(start) >= 3s);
}

TEST_CASE("a worker may print while it cleans up after its parent was killed", "[F48]") {
    Scene scene;
    Host host{scene, "host", {}, {.environment = {{"TETHER_TEST_CLEANUP", "print"}}}};
    host.type(GENERATE("call echo x\n", "call echo x\nthread until_stopped\n"));
    REQUIRE(scene.wait_for("answer"));
    host.send(SIGKILL);
    CHECK(host.wait() == "signal 9");
    CHECK(scene.wait_for("marked"));
    CHECK(scene.wait_for("destroyed"));
    CHECK(scene.left_after(soon).empty());
}

}  // namespace tether_lifetime::exit_drain
