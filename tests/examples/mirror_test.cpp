// mirror as its users run it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "depscan_support.hpp"
#include "run_program.hpp"
#include "support/catch.hpp"

namespace {

namespace fs = std::filesystem;

ProgramRun run_mirror(const std::string& arguments, const std::string& input = "") {
    return run_program("printf '" + input + "' | '" TETHER_EXAMPLES_DIR "/mirror' " + arguments +
                       " 2>/dev/null");
}

std::string content(const fs::path& file) {
    std::ifstream in{file, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

/// Two small files, and one that is more than what may be on the way.
struct Tree {
    Tree() {
        folder.write("source/a/small", "small\n");
        folder.write("source/a/b/empty", "");
        folder.write("source/large", std::string(8 << 20, 'x'));
        fs::permissions(source() + "/a/small", fs::perms::owner_all);
        fs::create_directory(source() + "/no_files");
    }
    [[nodiscard]] std::string source() const { return folder / "source"; }
    [[nodiscard]] std::string target() const { return folder / "target"; }
    [[nodiscard]] std::string both() const { return source() + " " + target(); }

    TemporaryFolder folder;
};

/// The files and folders below `root`, with what is in them.
std::vector<std::string> listing(const std::string& root) {
    std::vector<std::string> entries;
    for (const auto& entry : fs::recursive_directory_iterator{root}) {
        entries.push_back(entry.path().lexically_relative(root).string() + '=' +
                          (entry.is_directory() ? "folder" : content(entry.path())));
    }
    std::sort(entries.begin(), entries.end());
    return entries;
}

}  // namespace

TEST_CASE("mirror run: a tree arrives", "[mirror][run]") {
    const Tree tree;
    const auto run = run_mirror(tree.both());
    CHECK(run.exit_code == 0);
    CHECK(run.out.starts_with("3 files, 0 skipped, 8388614 bytes, digest "));
    CHECK(listing(tree.source()) == listing(tree.target()));
    CHECK(fs::status(tree.target() + "/a/small").permissions() == fs::perms::owner_all);
    CHECK(nothing_left_behind());
}

TEST_CASE("mirror run: a target within the source", "[mirror][run]") {
    const Tree tree;
    CHECK(run_mirror(tree.source() + " " + tree.source() + "/copy").exit_code == 0);
    CHECK_FALSE(fs::exists(tree.source() + "/copy/copy"));
    CHECK(fs::exists(tree.source() + "/copy/large"));
}

TEST_CASE("mirror run: a file that exists is overwritten or not", "[mirror][run]") {
    const Tree tree;
    const auto file = tree.folder.write("target/a/small", "before\n");
    const bool answer = GENERATE(false, true);
    SECTION("always") {
        CHECK(run_mirror(tree.both() + (answer ? " yes" : " no")).exit_code == 0);
        CHECK(content(file) == (answer ? "small\n" : "before\n"));
    }
    SECTION("as the terminal says") {
        const auto run = run_mirror(tree.both() + " ask", answer ? "y\\n" : "");
        CHECK(run.out.find(answer ? " 0 skipped" : " 1 skipped") != std::string::npos);
        CHECK(content(file) == (answer ? "small\n" : "before\n"));
    }
    CHECK(content(tree.target() + "/large") == content(tree.source() + "/large"));
}

TEST_CASE("mirror run: cancelled in the middle, it leaves no half file", "[mirror][run]") {
    const Tree tree;
    const bool exists = GENERATE(false, true);
    if (exists) tree.folder.write("target/large", "before\n");
    const auto run = run_mirror(tree.both() + " yes 1000000");
    CHECK(run.exit_code == 1);
    CHECK(run.out.empty());
    CHECK(nothing_left_behind());
    CHECK(fs::exists(tree.target()));
    CHECK_FALSE(fs::exists(tree.target() + "/large.mirror-part"));
    CHECK(fs::exists(tree.target() + "/large") == exists);
    if (exists) CHECK(content(tree.target() + "/large") == "before\n");
}

TEST_CASE("mirror run: SIGTERM, while it asks", "[mirror][run]") {
    const Tree tree;
    tree.folder.write("target/large", "before\n");
    // The shell is told when the question is out, and answers it only afterwards.
    const auto run =
        run_program("sh -c 'cd " + tree.folder.path() +
                    " && mkfifo in && { \"" TETHER_EXAMPLES_DIR "/mirror\" " + tree.both() +
                    " <in 2>err & } && exec 3>in && until grep -q Overwrite err; do "
                    ":; done; kill -TERM $! && echo y >&3; wait $!; echo $?'");
    CHECK(run.out == "1\n");
    CHECK(content(tree.target() + "/large") == "before\n");
    CHECK_FALSE(fs::exists(tree.target() + "/large.mirror-part"));
}

TEST_CASE("mirror run: what cannot be copied", "[mirror][run]") {
    const Tree tree;
    CHECK(run_mirror(tree.folder / "missing" + " " + tree.target()).exit_code == 1);
    CHECK(run_mirror(tree.source() + " /proc/nowhere").exit_code == 1);
    CHECK(run_mirror(tree.source()).exit_code == 2);
}
