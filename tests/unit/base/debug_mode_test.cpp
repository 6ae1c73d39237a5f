#include <tether/detail/base/debug_mode.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace debug_mode_test {

using namespace tether::detail;
using namespace std::chrono_literals;

TEST_CASE("a worker waits for a debugger where the setting names it, or names none") {
    for (const auto* setting : {"wait", "wait:lint"}) CHECK(waits_for_debugger(setting, "lint"));
    for (const auto* setting : {"", "1", "wait:", "wait:lin", "wait:lint2", "waits", "WAIT"}) {
        CHECK_FALSE(waits_for_debugger(setting, "lint"));
    }
    CHECK(waits_for_debugger("wait:a:b", "a:b"));
}

TEST_CASE("nothing ends a worker that is debugged because time has passed") {
    tether::WorkerOptions options;
    options.start_timeout = options.call_timeout = options.idle_timeout = 1s;
    options.stop = {1s, 1s};
    options.stuck.heartbeat = 1s;
    options.orphan_grace = 3s;
    const auto result = without_timeouts(options);
    CHECK(result.start_timeout == tether::no_timeout);
    CHECK(result.call_timeout == tether::no_timeout);
    CHECK(result.idle_timeout == tether::no_timeout);
    CHECK(result.stop.drain == tether::no_timeout);
    CHECK(result.stop.terminate == tether::no_timeout);
    CHECK(result.stuck.action == tether::StuckPolicy::Action::keep);
    CHECK(result.stuck.heartbeat == tether::no_timeout);
    CHECK(result.orphan_grace == 3s);  // a parent that is gone is no matter of patience
}

TEST_CASE("the person who debugs is told what to type") {
    CHECK(describe_for_debugger("li\x1bnt", "12") ==
          "tether: worker \"li\\x1bnt\" is process 12, without timeouts (TETHER_DEBUG): gdb -p 12");
}

}  // namespace debug_mode_test
