#include <tether/detail/os/os.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace trace_file_test {

namespace {

using namespace tether::detail;
using nlohmann::json;

using Folder = tether_test::TemporaryFolder;

std::string contents(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write(const std::string& path, const std::string& text) {
    std::ofstream{path, std::ios::binary} << text;
}

TraceEvent event(const std::string& name) { return {TracePhase::instant, "c", name}; }

// Without what it says of threads.
std::vector<std::string> names(const std::string& path) {
    std::vector<std::string> result;
    for (const auto& each : json::parse(contents(path))) {
        if (each["ph"] != "M") result.push_back(each["name"]);
    }
    return result;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a trace is valid from the beginning, and only its owner's") {
    const Folder folder;
    const auto path = folder / "trace.json";
    const auto& file = TraceFile::of(path);
    CHECK(json::parse(contents(path)) == json::array());
    CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::mask) ==
          (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
    file.add({event("a")});
    CHECK(names(path) == Names{"a"});
    file.add({event("b"), event("c")});
    CHECK(names(path) == Names{"a", "b", "c"});
    CHECK(&TraceFile::of(path) == &file);
}

TEST_CASE("an event has the process and the thread that tell it, and the thread its name once") {
    const Folder folder;
    const auto path = folder / "trace.json";
    std::thread{[&] {
        name_this_thread("teller");
        TraceFile::of(path).add({event("a")});
        TraceFile::of(path).add({event("b")});
    }}.join();
    const auto all = json::parse(contents(path));
    REQUIRE(all.size() == 3);
    CHECK(all[0]["name"] == "thread_name");
#if defined(__linux__)
    CHECK(all[0]["args"]["name"] == "teller");
    CHECK(all[0]["tid"] != all[0]["pid"]);
#endif
    CHECK(all[1]["pid"] == ::getpid());
    CHECK(all[1]["tid"] == all[0]["tid"]);
}

TEST_CASE("what is in a trace already stays, and an empty file becomes one") {
    const Folder folder;
    const auto path = folder / "trace.json";
    write(path, "[\n{\"ph\":\"i\",\"name\":\"old\"}\n]");
    TraceFile::of(path).add({event("new")});
    CHECK(names(path) == Names{"old", "new"});
    const auto other = folder / "empty.json";
    write(other, "");
    TraceFile::of(other).add({event("new")});
    CHECK(names(other) == Names{"new"});
}

TEST_CASE("what is no trace is not written to") {
    const Folder folder;
    const auto path = folder / "notes.txt";
    for (const std::string text : {"dear diary", "[]", "[1, 2]\n", "x"}) {
        write(path, text);
        CHECK_THROWS_AS(TraceFile::of(path), std::system_error);
        CHECK(contents(path) == text);
    }
    CHECK_THROWS_AS(TraceFile::of(folder / "nowhere/trace.json"), std::system_error);
    CHECK_THROWS_AS(TraceFile::of("/dev/null"), std::system_error);
    CHECK_THROWS_AS(TraceFile::of(std::filesystem::temp_directory_path()), std::system_error);
}

TEST_CASE("a write that was cut anywhere is mended by the next, and by mend()") {
    const Folder folder;
    const auto path = folder / "trace.json";
    const auto& file = TraceFile::of(path);
    file.add({event("a")});
    file.add({event("b")});
    const auto before = contents(path).size();
    file.add({event("c"), event("d")});
    const auto whole = contents(path);
    // The two bytes that close the trace are the first that a write replaces.
    for (auto size = before - 1; size < whole.size(); ++size) {
        write(path, whole.substr(0, size));
        file.mend();
        const auto mended = names(path);
        REQUIRE(mended.size() >= 1);
        CHECK(mended[0] == "a");
        write(path, whole.substr(0, size));
        file.add({event("e")});
        CHECK(names(path).back() == "e");
    }
    write(path, "[\n{\"ph\":\"i\",");
    file.add({event("f")});
    CHECK(names(path) == Names{"f"});
}

TEST_CASE("many threads write one trace") {
    const Folder folder;
    const auto path = folder / "trace.json";
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int j = 0; j < 50; ++j) TraceFile::of(path).add({event("x"), event("y")});
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(names(path).size() == 400);
}

TEST_CASE("a process that stands still with the lock of a trace holds up no other") {
    const Folder folder;
    const auto path = folder / "trace.json";
    const auto& file = TraceFile::of(path);
    const int other = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(::flock(other, LOCK_EX) == 0);
    for (int i = 0; i < 1000; ++i) file.add({event("lost")});  // the first one waits
    ::close(other);
    file.add({event("kept")});
    CHECK(names(path) == Names{"kept"});
}

TEST_CASE("a trace ends at the limit for files, without a signal") {
    const Folder folder;
    const auto path = folder / "trace.json";
    const auto& file = TraceFile::of(path);
    file.add({event("a")});
    ::rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    auto limit = before;
    limit.rlim_cur = 1000;
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (int i = 0; i < 100; ++i) file.add({event("b")});
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(contents(path).size() <= 1000);
    CHECK(names(path).size() > 3);
}

TEST_CASE("a trace is found again from another directory") {
    const Folder folder;
    const auto here = std::filesystem::current_path();
    std::filesystem::current_path(folder / "");
    const auto& file = TraceFile::of("trace.json");
    std::filesystem::current_path(here);
    file.add({event("a")});
    CHECK(file.path().ends_with("/trace.json"));
    CHECK(file.path().starts_with('/'));
    CHECK(names(file.path()) == Names{"a"});
}

}  // namespace trace_file_test
