// A handler that forks without exec: only the process that was started serves.

#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "process/support/worker_under_test.hpp"

namespace tether_test::forked_copy_test {
namespace {

TEST_CASE("a forked copy of a worker sends nothing and disturbs nothing", "[process][F93]") {
    const Census census;
    auto options = options_for(each_transport());
    options.concurrency = GENERATE(1U, 3U);
    TestWorker worker{options};
    const auto pid = worker.call(Who{}).pid;
    const std::vector<std::pair<std::string, int>> ends{{"return", 0},     {"throw", 0},
                                                        {"stop_token", 0}, {"exit", 7 << 8},
                                                        {"end_thread", 0}, {"terminate", SIGTERM}};
    for (const auto& [what, status] : ends) {
        if (instrumented && what == "exit") continue;  // a leak checker runs there
        CAPTURE(what);
        CHECK(worker.call(Meddle{"copy_" + what}) == status);
        CHECK(worker.call(Who{}).pid == pid);
    }
    CHECK(worker.generation() == 1);
    CHECK(worker.stop());
}

}  // namespace
}  // namespace tether_test::forked_copy_test
