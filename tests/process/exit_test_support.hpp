#pragma once

#include "host_process.hpp"

namespace tether_lifetime {

// From the moment the host said that it is ending: its status, how long it took, and which
// processes were left.
inline void check_quick_end(Scene& scene, Host& host, const std::string& status,
                            const std::string& what) {
    REQUIRE(scene.wait_for("ending"));
    const auto start = SteadyClock::now();
    CHECK(host.wait() == status);
    const auto took = since(start);
    const auto left = scene.left_after(soon);
    print_time(what + ": ended after", took);
    print_time(what + ": all gone after", since(start));
    TETHER_TELL_STORY(scene, host);
    INFO(what << ", left: " << Scene::describe(left));
    CHECK(left.empty());
    CHECK(took < within(Milliseconds{2500}));
}

}  // namespace tether_lifetime
