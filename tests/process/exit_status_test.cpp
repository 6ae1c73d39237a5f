// An idle worker neither holds the host up nor changes its exit status, wherever it is kept.

#include "exit_test_support.hpp"

namespace tether_lifetime::exit_status {

using namespace std::chrono_literals;

namespace {

struct Ending {
    const char* way;
    const char* status;
};

const Ending endings[] = {{"return", "exit 7"},     {"exit", "exit 7"},
                          {"quick_exit", "exit 7"}, {"exception", "signal 6"},
                          {"abort", "signal 6"},    {"_exit", "exit 7"}};

}  // namespace

TEST_CASE("an idle worker holds up no end of the host", "[F34]") {
    const auto& ending = GENERATE(from_range(std::begin(endings), std::end(endings)));
    const std::string storage = GENERATE("local", "static", "leaked");
    const std::string commands =
        GENERATE("", "call echo x\n", "call echo x\nstop\n", "call echo x\nkill\n");
    Scene scene;
    Host host{scene, "host", {"storage=" + storage}};
    host.type(commands + "end " + ending.way + "\n");
    check_quick_end(scene, host, ending.status, storage + ", " + ending.way);
    // An orderly end, not a kill, where there was a worker.
    if (commands == "call echo x\n") CHECK(scene.count("destroyed") == 1);
}

TEST_CASE("a global worker holds up no end of the host", "[F34]") {
    const auto& ending = GENERATE(from_range(std::begin(endings), std::end(endings)));
    const bool used = GENERATE(true, false);
    Scene scene;
    Host host{scene,
              "global_worker",
              {std::string{"way="} + ending.way, std::string{"calls="} + (used ? "1" : "0")}};
    if (used) CHECK(scene.wait_for("answer") == "x");
    check_quick_end(scene, host, ending.status, std::string{"global, "} + ending.way);
    CHECK(scene.count("main") == 1);
    if (used) CHECK(scene.count("destroyed") == 1);
}

TEST_CASE("a host ends at once although it started and stopped many workers", "[F38]") {
    Scene scene;
    Host host{scene, "host", {}};
    host.type("cycles " + std::to_string(rounds(200)) + "\nend return\n");
    REQUIRE(scene.wait_for("cycled", long_time * 4));
    CHECK(scene.count("bad") == 0);
    check_quick_end(scene, host, "exit 7", "after many cycles");
}

}  // namespace tether_lifetime::exit_status
