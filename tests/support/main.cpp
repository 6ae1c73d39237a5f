#include "support/run_tests.hpp"

// The `main` of every test program whose folder has no main.cpp of its own.
int main(int argc, char** argv) { return tether_test::run_tests(argc, argv); }
