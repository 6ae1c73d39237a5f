// TETHER_TRACE and TETHER_LOG in the environment of a program, and a trace whose parent is killed.

#include "host_process.hpp"
#include "process/support/trace.hpp"

namespace tether_lifetime::tracing_host {

using namespace std::chrono_literals;
using tether_test::Trace;

namespace {

HostOptions with(const std::string& variable, const std::string& value) {
    return {.environment = {{variable, value}}};
}

// Without what differs from run to run, a line each.
std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream{text};
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

bool has_line(const std::string& text, const std::string& begin, const std::string& part) {
    return std::ranges::any_of(lines_of(text), [&](const std::string& line) {
        return line.starts_with(begin) && line.find(part) != std::string::npos;
    });
}

}  // namespace

TEST_CASE("TETHER_TRACE has both processes write a trace", "[process][tracing]") {
    Scene scene;
    const auto path = scene.path("trace.json");
    Host host{scene, "host", {}, with("TETHER_TRACE", path)};
    host.type("call echo x\nend return\n");
    TETHER_TELL_STORY(scene, host);
    CHECK(host.wait() == "exit 7");
    CHECK(host.errors().empty());
    const Trace trace{path};
    CHECK(trace.processes().size() == 2);
    CHECK(trace.name_of(host.pid()) == "host");
    CHECK(trace.first("b", "call ask")["pid"] == host.pid());
    CHECK(trace.first("B", "run ask")["pid"] != host.pid());
    CHECK(trace.has("i", "exit: exited with code 0"));
}

TEST_CASE("a trace is valid when the parent is killed", "[process][tracing]") {
    Scene scene;
    const auto path = scene.path("trace.json");
    SECTION("with an idle worker") {
        Host host{scene, "host", {}, with("TETHER_TRACE", path)};
        host.type("call echo x\n");
        REQUIRE(scene.wait_for("answer"));
        host.send(SIGKILL);
        CHECK(host.wait() == "signal 9");
        CHECK(scene.left_after(soon).empty());
        CHECK(Trace{path}.first("i", "leaves")["args"]["parent"] == "gone");
    }
    SECTION("with a handler that never returns") {
        Host host{scene, "host", {"grace=50"}, with("TETHER_TRACE", path)};
        host.type("async spin\n");
        REQUIRE(scene.wait_for("running"));
        // The handler may be faster than the thread that tells of having sent the request.
        const auto has_call = [&] {
            try {
                return Trace{path}.has("b", "call ask");
            } catch (const nlohmann::json::parse_error&) {  // it was added to between two reads
                return false;
            }
        };
        REQUIRE(eventually(has_call));
        host.send(SIGKILL);
        CHECK(host.wait() == "signal 9");
        CHECK(scene.left_after(soon).empty());
        const Trace trace{path};
        CHECK(trace.has("B", "run ask"));
        CHECK_FALSE(trace.has("e", "call ask"));
    }
}

TEST_CASE("a trace is valid whenever the parent is killed", "[process][tracing]") {
    Moments moments;
    INFO("TETHER_TEST_SEED=" << moments.used_seed());
    Scene scene;
    const auto path = scene.path("trace.json");
    for (int round = 0; round < rounds(40); ++round) {
        scene.forget_events();
        Host host{scene, "host", {}, with("TETHER_TRACE", path)};
        const bool started = round % 2 == 0;
        host.type("call_until_interrupted\n");
        REQUIRE(scene.wait_for(started ? "looping" : "main"));
        let_pass(moments.up_to(5ms));
        host.send(SIGKILL);
        REQUIRE(host.wait() == "signal 9");
        REQUIRE(scene.left_after(soon).empty());
        REQUIRE_NOTHROW(Trace{path});
    }
}

TEST_CASE("TETHER_LOG=debug tells what Tether does, one line each", "[process][tracing]") {
    Scene scene;
    Host host{scene, "host", {}, with("TETHER_LOG", "debug")};
    host.type("call pid\n");
    const auto worker = scene.wait_for("answer").value_or("");
    host.type("kill\ncall echo x\nstop\nend return\n");
    CHECK(host.wait() == "exit 7");
    TETHER_TELL_STORY(scene, host);
    const auto errors = host.errors();
    const auto parents = "tether[" + std::to_string(host.pid()) + "]: worker \"host\"";
    const auto of_worker = parents + " (pid " + worker + "): ";
    const auto workers = "tether[" + worker + "]: ";
    CHECK(has_line(errors, of_worker + "started in ", "generation 1: host: worker"));
    CHECK(has_line(errors, of_worker + "ready after ", " ms"));
    CHECK(has_line(errors, of_worker + "killed, with all that it has started", ""));
    CHECK(has_line(errors, of_worker + "was killed by signal 9", "Worker::kill()"));
    CHECK(has_line(errors, parents + ": the next call starts another process", ""));
    CHECK(has_line(errors, parents, "generation 2: host: worker"));
    CHECK(has_line(errors, parents, "asked to stop"));
    CHECK(has_line(errors, parents + ": no other process follows", ""));
    CHECK(has_line(errors, workers + "worker \"host\" begins", "generation 1"));
    CHECK(has_line(errors, workers + "greeting: ", " ms"));
    CHECK(has_line(errors, "tether[", "leaves with exit code 0"));
    for (const auto& line : lines_of(errors)) CHECK(line.starts_with("tether["));
}

TEST_CASE("TETHER_LOG=debug tells of starts and calls that fail", "[process][tracing]") {
    Scene scene;
    SECTION("a start") {
        Host host{scene, "host", {"program=/no/such/program"}, with("TETHER_LOG", "debug")};
        host.type("call echo x\nend return\n");
        CHECK(host.wait() == "exit 7");
        CHECK(has_line(host.errors(), "tether[", "/no/such/program"));
    }
    SECTION("calls") {
        Host host{scene, "host", {}, with("TETHER_LOG", "debug")};
        host.type("thread until_stopped\n");
        REQUIRE(scene.wait_for("running"));
        host.type("stop\nend return\n");
        CHECK(host.wait() == "exit 7");
        TETHER_TELL_STORY(scene, host);
        CHECK(has_line(host.errors(), "tether[", "call 1: call \"ask\""));
    }
}

TEST_CASE("nothing is said for another value of TETHER_LOG", "[process][tracing]") {
    const std::string value = GENERATE("", "0", "info");
    Scene scene;
    Host host{scene, "host", {}, with("TETHER_LOG", value)};
    host.type("call echo x\nend return\n");
    CHECK(host.wait() == "exit 7");
    CHECK(host.errors().empty());
}

}  // namespace tether_lifetime::tracing_host
