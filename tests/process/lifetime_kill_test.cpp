// The parent is killed at random moments of its worker's life.

#include <algorithm>

#include "host_process.hpp"

namespace tether_lifetime::lifetime_kill {

using namespace std::chrono_literals;

namespace {

struct Stage {
    const char* name;
    const char* gate;                  // where the worker waits until the test lets it go on
    const char* commands;              // what the host is told
    const char* event;                 // what begins the stage
    std::chrono::microseconds spread;  // the parent is killed that long into it, at most
    const char* more;                  // what the host is told when the stage begins
    bool opens_gate;                   // then, rather than when the parent is dead
};

// The times are those of an idle machine: from main to the first answer it is some 10 ms.
const Stage stages[] = {
    {"spawning", "", "", "main", 4ms, "", false},
    {"before the accept", "main", "", "gate", 0ms, "", false},
    {"in the accept and the hello", "main", "call echo x\n", "gate", 3ms, "", true},
    {"constructing the handler", "constructor", "", "gate", 1ms, "", false},
    {"after the first start", "", "", "constructed", 1ms, "", false},
    {"idle", "", "call echo x\n", "answer", 2ms, "", false},
    {"in a call", "", "call until_stopped\n", "running", 1ms, "", false},
    {"in stop", "", "call echo x\nstop\n", "stopping", 3ms, "", false},
    {"in stop, cleaning up", "destructor", "call echo x\nstop\n", "gate", 1ms, "", false},
    {"in stop, letting go of a call", "", "thread until_stopped\n", "running", 2ms, "stop\n",
     false},
};

const std::string transports[] = {"unix_path", "unix_path", "automatic", "tcp", "socket_pair"};

void kill_once(Scene& scene, const Stage& stage, Moments& moments) {
    scene.forget_events();
    const auto transport = moments.one_of(transports);
    INFO("transport " << transport);
    Host host{scene,
              "host",
              {"transport=" + transport},
              {.environment = {{"TETHER_TEST_GATE", stage.gate}}}};
    host.type(stage.commands);
    REQUIRE(scene.wait_for(stage.event));
    host.type(stage.more);
    if (stage.opens_gate) scene.open_gate();
    const auto moment = moments.up_to(stage.spread);
    let_pass(moment);
    host.send(SIGKILL);
    REQUIRE(host.wait() == "signal 9");
    scene.open_gate();

    const auto left = scene.left_after(soon);
    scene.close_gate();
    TETHER_TELL_STORY(scene, host);
    INFO("killed after " << moment.count() << " us; left: " << Scene::describe(left));
    REQUIRE(left.empty());
    REQUIRE(scene.temp_entries().size() <= 1);
}

}  // namespace

TEST_CASE("a parent killed at a random moment leaves nobody and no file behind", "[F21][F85]") {
    Moments moments;
    INFO("TETHER_TEST_SEED=" << moments.used_seed());
    const auto& stage = GENERATE(from_range(std::begin(stages), std::end(stages)));
    INFO("killed when " << stage.name);

    Scene scene;
    const auto start = SteadyClock::now();
    for (int round = 0; round < rounds(40); ++round) kill_once(scene, stage, moments);
    print_time(std::string{"killed when "} + stage.name, since(start));

    // The next start removes what the last one that was killed left.
    Host next{scene, "host", {"transport=unix_path"}};
    next.type("call echo x\nend return\n");
    CHECK(next.wait() == "exit 7");
    CHECK(scene.temp_entries().empty());
}

}  // namespace tether_lifetime::lifetime_kill
