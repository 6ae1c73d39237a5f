// What a LoopbackWorker has to do with its process; see hosts/loopback.cpp.

#include <cstdlib>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::loopback_test {

TEST_CASE("a call ends in the same way in a Worker and in a LoopbackWorker",
          "[process][loopback][F12]") {
    CHECK(std::system(TETHER_HOSTS_DIR "/loopback alike") == 0);
}

// The thread sanitizer keeps a record of descriptors, and does not bear that all are closed.
#if !defined(TETHER_TEST_TSAN)
TEST_CASE("a LoopbackWorker bears it when its host closes all descriptors",
          "[process][loopback][F105]") {
    CHECK(std::system(TETHER_HOSTS_DIR "/loopback closed") == 0);
}
#endif

TEST_CASE("in a forked copy a LoopbackWorker of the original is inert",
          "[process][loopback][F33][F93]") {
    CHECK(std::system(TETHER_HOSTS_DIR "/loopback forked") == 0);
}

TEST_CASE("a program exits while calls to LoopbackWorkers are pending",
          "[process][loopback][F104]") {
    CHECK(std::system(TETHER_HOSTS_DIR "/loopback exit") == 0);
}

}  // namespace tether_test::loopback_test
