// What a person sees of workers in a list of processes and in a debugger, and TETHER_DEBUG.

#include <sys/ptrace.h>

#include "host_process.hpp"
#include "support/sanitizers.hpp"

namespace tether_lifetime::debugging {

using namespace std::chrono_literals;

namespace {

HostOptions with_debug(const std::string& setting, const std::string& gate = {}) {
    return {.environment = {{"TETHER_DEBUG", setting}, {"TETHER_TEST_GATE", gate}}};
}

::pid_t pid_of_worker(Scene& scene) {
    return static_cast<::pid_t>(std::stol(scene.wait_for("spawned").value_or("0")));
}

// What a debugger does; destroyed on the thread that made it.
class Tracer {
public:
    explicit Tracer(::pid_t pid)
        : pid_(pid), attached_(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0) {}
    Tracer(const Tracer&) = delete;
    Tracer& operator=(const Tracer&) = delete;
    ~Tracer() {
        if (!attached_) return;
        ::ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr);
        ::waitpid(pid_, nullptr, __WALL);
        ::ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
    }
    [[nodiscard]] bool attached() const noexcept { return attached_; }

private:
    ::pid_t pid_;
    bool attached_;
};

// How many lines of `text`, with ';' between them, are `name`.
std::ptrdiff_t count_names(const std::string& text, const std::string& name) {
    std::ptrdiff_t count = 0;
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line, ';');) count += line == name ? 1 : 0;
    return count;
}

}  // namespace

TEST_CASE("calls have no timeouts where TETHER_DEBUG is set", "[process][debugging]") {
    const auto [setting, debugs] = GENERATE(table<std::string, bool>(
        {{"", false}, {"0", false}, {"1", true}, {"yes", true}, {"wait:another", true}}));
    Scene scene;
    Host host{scene, "debugged", {}, with_debug(setting)};
    host.type("ask deadline\nsend deadline\ncall sleep 300\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("answer") == (debugs ? "none" : "some"));
    const auto answer = scene.wait_for("answer").value_or("");
    INFO(answer);
    CHECK((answer == "done") == debugs);
    host.close_input();
    CHECK(host.wait() == "exit 0");
    const auto line = "tether: worker \"lint\" is process ";
    CHECK((host.errors().find(line) != std::string::npos) == debugs);
}

TEST_CASE("a worker is told with the command that attaches to it", "[process][debugging]") {
    Scene scene;
    Host host{scene, "debugged", {}, with_debug("1")};
    const auto pid = std::to_string(pid_of_worker(scene));
    host.type("ask nothing\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("answer") == "done");
    CHECK(host.errors() == "tether: worker \"lint\" is process " + pid +
                               ", without timeouts (TETHER_DEBUG): gdb -p " + pid + "\n");
}

TEST_CASE("a worker that stands still, or has nothing to do, stays under TETHER_DEBUG",
          "[process][debugging]") {
    const bool debugs = GENERATE(true, false);
    Scene scene;
    Host host{scene, "debugged", {}, with_debug(debugs ? "1" : "0")};
    const auto pid = pid_of_worker(scene);
    const auto worker = pidfd_of(pid);
    host.type("ask nothing\n");
    TETHER_TELL_STORY(scene, host);
    REQUIRE(scene.wait_for("answer") == "done");
    if (!debugs) {
        CHECK(wait_readable(worker.get(), long_time));  // it was idle
        return;
    }
    ::kill(pid, SIGSTOP);
    host.type("send nothing\n");
    CHECK_FALSE(wait_readable(worker.get(), 1500ms));
    ::kill(pid, SIGCONT);
    host.type("ask output_of echo $PPID\n");
    CHECK(scene.wait_for("answer") == std::to_string(pid) + ";");
}

TEST_CASE("stop() waits for a handler for ever under TETHER_DEBUG", "[process][debugging]") {
    const bool debugs = GENERATE(true, false);
    Scene scene;
    Host host{scene, "debugged", {}, with_debug(debugs ? "1" : "0", "stall")};
    const auto worker = pidfd_of(pid_of_worker(scene));
    host.type("send stall\n");
    REQUIRE(scene.wait_for("gate"));
    host.type("stop\n");
    TETHER_TELL_STORY(scene, host);
    if (!debugs) {
        CHECK(scene.wait_for("stopped") == "was killed by signal 9 (SIGKILL)");
        return;
    }
    CHECK_FALSE(wait_readable(worker.get(), 500ms));
    scene.open_gate();
    CHECK(scene.wait_for("stopped") == "exited with code 0");
}

TEST_CASE("a worker waits for a debugger", "[process][debugging]") {
    const std::string setting = GENERATE("wait", "wait:lint");
    Scene scene;
    Host host{scene, "debugged", {"start_timeout=300"}, with_debug(setting)};
    const auto pid = pid_of_worker(scene);
    host.type("ask nothing\n");
    TETHER_TELL_STORY(scene, host);
    CHECK_FALSE(scene.wait_for("constructed", 1s));
    CHECK(host.errors() == "tether: worker \"lint\" is process " + std::to_string(pid) +
                               " and waits for a debugger (TETHER_DEBUG): gdb -p " +
                               std::to_string(pid) + "\n");
    SECTION("until there is one") {
        const Tracer tracer{pid};
        if (!tracer.attached()) {
            WARN("not tried: no right to trace");
            return;
        }
        CHECK(scene.wait_for("answer") == "done");
        CHECK(scene.count("constructed") == 1);
    }
    SECTION("or until its parent is gone") {
        host.send(SIGKILL);
        CHECK(host.wait() == "signal 9");
        CHECK(scene.left_after(long_time).empty());
    }
}

TEST_CASE("stop() ends a worker that waits for a debugger", "[process][debugging]") {
    Scene scene;
    Host host{scene, "debugged", {}, with_debug("wait")};
    const auto pid = pid_of_worker(scene);
    host.type("stop\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("stopped") == "exited with code 0");
    CHECK(state_of(pid) == 'X');
    CHECK(scene.count("constructed") == 0);
}

TEST_CASE("processes and threads have names", "[process][debugging]") {
    Scene scene;
    Host host{scene, "debugged", {}};
    host.type("threads\n");
    TETHER_TELL_STORY(scene, host);
#if defined(TETHER_TEST_TSAN)  // it has a thread of its own, with the name of the main thread
    const auto of_the_sanitizer = 1;
#else
    const auto of_the_sanitizer = 0;
#endif
    const auto own = scene.wait_for("threads").value_or("");
    CHECK(count_names(own, "tether") == 1);
    CHECK(count_names(own, "debugged") == 1 + of_the_sanitizer);

    host.type("ask output_of cat /proc/$PPID/task/*/comm\n");
    const auto threads = scene.wait_for("answer").value_or("");
    CHECK(count_names(threads, "lint") == 2 + of_the_sanitizer);  // which run handlers
    CHECK(count_names(threads, "tether-guard") == 1);

    host.type("ask output_of tr '\\0' '|' </proc/$PPID/cmdline\n");
    CHECK(scene.wait_for("answer") == "debugged: worker lint|");
}

TEST_CASE("a worker that is another program keeps its command line", "[process][debugging]") {
    Scene scene;
    Host host{scene, "debugged", {}};
    host.type("with_program " + host_path("debugged") + "\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(scene.wait_for("command") == host_path("debugged") + "|");
    CHECK(scene.wait_for("name") == "a worker of th;");  // 15 bytes, whole characters
}

}  // namespace tether_lifetime::debugging
