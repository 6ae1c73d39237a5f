// words as its users run it.
#include <fstream>
#include <string>

#include "run_program.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

TEST_CASE("words run: the counts come in the order of the files", "[words][run]") {
    const tether_test::TemporaryFolder folder;
    std::string files;
    std::string counts;
    for (int i = 0; i < 20; ++i) {
        const auto file = folder / std::to_string(i);
        std::ofstream text{file};
        for (int word = 0; word < i; ++word) text << "word ";
        files += " " + file;
        counts += std::to_string(i) + " " + file + "\n";
    }
    const auto run = run_program("'" TETHER_EXAMPLES_DIR "/words'" + files);
    CHECK(run.exit_code == 0);
    CHECK(run.out == counts + "190 in all\n");
    CHECK(nothing_left_behind());
    const auto with_statistics =
        run_program("'" TETHER_EXAMPLES_DIR "/words'" + files + " --stats 2>&1 >/dev/null");
    CHECK(with_statistics.out.find("calls: 20 served, 0 failed") != std::string::npos);
}

TEST_CASE("words run: a file that cannot be read ends it", "[words][run]") {
    const auto run = run_program("'" TETHER_EXAMPLES_DIR "/words' /nonexistent 2>&1");
    CHECK(run.exit_code == 1);
    CHECK(run.out.find("cannot read /nonexistent") != std::string::npos);
}
