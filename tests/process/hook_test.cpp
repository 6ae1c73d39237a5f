// Programs that do not say that they may be a worker do not start themselves for ever.

#include "host_process.hpp"

namespace tether_lifetime::hook {

using namespace std::chrono_literals;

namespace {

void check_named_error(const std::optional<std::string>& answer) {
    REQUIRE(answer);
    INFO(*answer);
    CHECK(answer->find("error the program does not call tether::serve_if_worker (") == 0);
    CHECK(answer->find("serve_if_worker<") != std::string::npos);  // the line to add
}

}  // namespace

TEST_CASE("a program without the hook gets an error that names it", "[F8]") {
    Scene scene;
    Host host{scene, "forgetful", {}};
    CHECK(host.wait() == "exit 0");
    TETHER_TELL_STORY(scene, host);
    // The last answer is the parent's. The worker has one too, if it still comes to say so.
    for (auto left = scene.count("answer"); left > 1; --left) {
        check_named_error(scene.wait_for("answer"));
    }
    const auto answer = scene.wait_for("answer");
    check_named_error(answer);
    CHECK(answer->find("worker \"forgetful\"") != std::string::npos);
    CHECK(scene.count("main") == 2);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("calling again starts one process at a time, within the budget", "[F8]") {
    Scene scene;
    Host host{scene, "forgetful", {"calls=20"}};
    CHECK(host.wait() == "exit 0");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.count("main") <= 7);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("a global worker of a program without the hook gets the error too", "[F8]") {
    const std::string early = GENERATE("", "1");
    INFO("used before main: " << early);
    Scene scene;
    Host host{scene, "forgetful_global", {}, {.environment = {{"TETHER_TEST_EARLY", early}}}};
    CHECK(host.wait() == "exit 0");
    TETHER_TELL_STORY(scene, host);
    check_named_error(scene.wait_for(early.empty() ? "answer" : "early"));
    CHECK(scene.count("process") <= 3);
    CHECK(scene.left_after(soon).empty());
}

TEST_CASE("a program that never comes to use Tether as a worker is a start that failed", "[F8]") {
    struct Case {
        const char* otherwise;
        const char* error;
    };
    const auto one = GENERATE(Case{"returns", "error the worker could not be started ("},
                              Case{"waits", "error the worker was not ready in time ("});
    Scene scene;
    Host host{scene,
              "forgetful",
              {"start_timeout=" + std::to_string(within(500ms).count())},
              {.environment = {{"TETHER_TEST_OTHERWISE", one.otherwise}}}};
    CHECK(host.wait() == "exit 0");
    TETHER_TELL_STORY(scene, host);
    const auto answer = scene.wait_for("answer");
    REQUIRE(answer);
    INFO(*answer);
    CHECK(answer->find(one.error) == 0);
    if (one.otherwise == std::string_view{"returns"}) {
        CHECK(answer->find("serve_if_worker") != std::string::npos);
    }
    CHECK(scene.count("main") == 2);
    CHECK(scene.left_after(soon).empty());
}

}  // namespace tether_lifetime::hook
