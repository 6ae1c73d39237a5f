// coroutines as its users run it.
#include "run_program.hpp"
#include "support/catch.hpp"

TEST_CASE("coroutines run: each way to await a call", "[coroutines][run]") {
    const auto run = run_program("'" TETHER_EXAMPLES_DIR "/coroutines'");
    CHECK(run.exit_code == 0);
    CHECK(run.out ==
          "in turn: dozed 1 ms\n"
          "in turn: dozed 2 ms\n"
          "both: dozed 3 ms, dozed 4 ms\n"
          "first: number 1, dozed 5 ms\n"
          "too late: true\n"
          "refused: true\n"
          "cancelled: true\n");
    CHECK(nothing_left_behind());
}
