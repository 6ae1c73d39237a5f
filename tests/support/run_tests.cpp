#define CATCH_CONFIG_RUNNER
// A crash is reported by the sanitizer or by ctest: Catch2's handlers would stand in their way.
#define CATCH_CONFIG_NO_POSIX_SIGNALS
#include "support/run_tests.hpp"

#include "support/catch.hpp"

int tether_test::run_tests(int argc, char** argv) { return Catch::Session{}.run(argc, argv); }
