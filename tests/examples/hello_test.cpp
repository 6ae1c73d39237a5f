// hello as its users run it.
#include "run_program.hpp"
#include "support/catch.hpp"

TEST_CASE("hello run: answers, an error, and nothing left behind", "[hello][run]") {
    const auto run = run_program("'" TETHER_EXAMPLES_DIR "/hello' 2>/dev/null");
    CHECK(run.exit_code == 0);
    CHECK(run.out == "Hello, world!\nHello, future!\nrefused: whom shall I greet?\n");
    CHECK(nothing_left_behind());
}
