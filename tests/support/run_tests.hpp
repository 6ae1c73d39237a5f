#pragma once

namespace tether_test {

/// Runs the test cases of this program as its command line says, and returns the exit code.
int run_tests(int argc, char** argv);

}  // namespace tether_test
