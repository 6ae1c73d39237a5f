// two_programs as its users run it: word_count and word_count_worker are in TETHER_EXAMPLES_DIR.
#include <filesystem>
#include <string>

#include "depscan_support.hpp"
#include "run_program.hpp"
#include "support/catch.hpp"

namespace two_programs_test {
namespace {

const std::string parent = "'" TETHER_EXAMPLES_DIR "/word_count' ";

TEST_CASE("two_programs run: the worker counts for the parent", "[two_programs][run]") {
    const TemporaryFolder folder;
    const auto text = folder.write("text", "one two\nthree\n");
    const auto run = run_program(parent + text + " " + (folder / "missing") + " 2>/dev/null");
    CHECK(run.exit_code == 1);
    CHECK(run.out == "2 3 " + text + "\n");
    CHECK(nothing_left_behind());
}

TEST_CASE("two_programs run: without its worker the parent says what is missing",
          "[two_programs][run]") {
    const TemporaryFolder folder;
    const auto text = folder.write("text", "one\n");
    const auto alone = folder / "word_count";
    std::filesystem::copy_file(TETHER_EXAMPLES_DIR "/word_count", alone);
    const auto run = run_program(alone + " " + text + " 2>&1");
    CHECK(run.exit_code == 1);
    CHECK(run.out.find("word_count_worker") != std::string::npos);
}

TEST_CASE("two_programs run: the worker started by hand says what it is", "[two_programs][run]") {
    const auto run = run_program("'" TETHER_EXAMPLES_DIR "/word_count_worker' 2>&1");
    CHECK(run.exit_code == 2);
    CHECK(run.out.find("example.count") != std::string::npos);
}

}  // namespace
}  // namespace two_programs_test
