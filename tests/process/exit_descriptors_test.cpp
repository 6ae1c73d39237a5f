// Nobody who waits for the host's pipes to end waits for the worker.

#include <algorithm>
#include <map>
#include <set>

#include "host_process.hpp"

namespace tether_lifetime::exit_descriptors {

using namespace std::chrono_literals;

namespace {

struct Open {
    int number;
    std::string target;
    bool close_on_exec;
};

std::vector<Open> parse(std::string text) {
    std::ranges::replace(text, ';', '\n');
    std::istringstream lines{text};
    std::vector<Open> result;
    for (Open open; lines >> open.number >> open.target >> open.close_on_exec;) {
        result.push_back(open);
    }
    return result;
}

std::size_t count_targets(const std::vector<Open>& opens, std::string_view prefix) {
    return static_cast<std::size_t>(std::ranges::count_if(opens, [&](const Open& open) {
        return open.number > 2 && open.target.starts_with(prefix);
    }));
}

bool has_make() { return ::system("command -v make >/dev/null 2>&1") == 0; }

}  // namespace

TEST_CASE("a worker has exactly the descriptors that it needs", "[F36]") {
    const std::string transport = GENERATE("unix_abstract", "unix_path", "tcp", "socket_pair");
    INFO(transport);
    Scene scene;
    Host host{scene, "host", {"inheritable=1", "transport=" + transport}};
    host.type("call descriptors\n");
    const auto answer = scene.wait_for("answer");
    REQUIRE(answer);
    INFO(*answer);
    const auto opens = parse(*answer);

    REQUIRE(opens.size() > 3);
    CHECK(opens[0].target == "/dev/null");
    CHECK(opens[1].target.starts_with("pipe:"));
    CHECK(opens[2].target.starts_with("pipe:"));
    for (const auto& open : opens) {
        INFO(open.number << " " << open.target);
        CHECK(open.close_on_exec == (open.number > 2));
    }
    // The control channel and the connection; the parent; what wakes a poll, where it is a pipe
    // with both ends inside; a copy of stderr for the log.
    const auto sockets = count_targets(opens, "socket:");
    const auto parents = count_targets(opens, "anon_inode:[pidfd]");
    const auto pipes = count_targets(opens, "pipe:");
    CHECK(sockets == 2);
    CHECK(parents == (portable ? 0U : 1U));
    const auto wake_ups = count_targets(opens, "anon_inode:[eventfd]");
    CHECK(sockets + parents + pipes + wake_ups + 3 == opens.size());
    std::map<std::string, int> ends;
    for (const auto& open : opens) {
        if (open.number > 2 && open.target.starts_with("pipe:")) ++ends[open.target];
    }
    for (const auto& [pipe, count] : ends) {
        INFO(pipe);
        CHECK(count == (pipe == opens[2].target ? 1 : 2));
    }
}

TEST_CASE("what a handler starts has only the standard descriptors", "[F36]") {
    Scene scene;
    Host host{scene, "host", {"inheritable=1"}};
    host.type("call output_of ls -1 /proc/self/fd\n");
    const auto answer = scene.wait_for("answer");
    REQUIRE(answer);
    CHECK(*answer == "0;1;2;3;");  // 3 is the listing itself
}

TEST_CASE("whoever reads the host's output sees its end although a worker is still there",
          "[F36]") {
    const std::string end = GENERATE("_exit", "sigkill", "abort", "exec");
    Scene scene;
    Host host{scene, "host", {"inheritable=1", "grace=20000"}};
    host.type("thread spin\n");
    REQUIRE(scene.wait_for("running"));
    host.type("end " + end + "\n");
    REQUIRE(scene.wait_for("ending"));
    const auto start = SteadyClock::now();
    CHECK(host.read_output(within(5s)) == "");
    print_time("end of output after", since(start));
    CHECK(host.wait() != "still running");
    CHECK_FALSE(scene.processes().empty());  // the worker, still in its grace
}

TEST_CASE("make with a pipe behind it ends when the host does", "[F36]") {
    if (!has_make()) {
        WARN("not tried: there is no make");
        return;
    }
    Scene scene;
    std::ofstream{scene.path("Makefile")}
        << "all: one two\none two:\n\t@printf 'thread spin\\nend _exit\\n' | " << host_path("host")
        << " grace=20000; test $$? = 7\n";
    Host make{scene,
              "",
              {},
              {.wrapper = {"sh", "-c", "make -C \"$1\" -j2 2>&1 | cat", "sh", scene.directory()}}};
    const auto start = SteadyClock::now();
    CHECK(make.wait(within(10s)) == "exit 0");
    print_time("make ended after", since(start));
    const auto output = make.read_output();
    INFO(output.value_or("no end"));
    CHECK(scene.count("ending") == 2);
}

}  // namespace tether_lifetime::exit_descriptors
