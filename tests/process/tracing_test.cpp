// What a trace shows of workers of this process.

#include <asio/use_future.hpp>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <thread>

#include "process/support/captured_stderr.hpp"
#include "process/support/trace.hpp"
#include "process/support/worker_under_test.hpp"

namespace tether_test::tracing_test {
namespace {

tether::WorkerOptions traced_options(const std::string& path) {
    auto options = options_for();
    options.trace = path;
    return options;
}

bool contains(const Trace::Event& text, const std::string& part) {
    return text.get<std::string>().find(part) != std::string::npos;
}

// Of a worker with one thread: that of the call's event.
std::optional<Trace::Event> run_end_after(const Trace& trace, const Trace::Event& begin) {
    for (const auto& event : trace.events()) {
        if (event["ph"] == "E" && event["tid"] == begin["tid"] && event["ts"] > begin["ts"]) {
            return event;
        }
    }
    return std::nullopt;
}

}  // namespace

TEST_CASE("a trace shows calls in both processes on one time line", "[process][tracing]") {
    const Census census;
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    const auto self = ::getpid();
    ::pid_t pid = 0;
    {
        TestWorker worker{traced_options(path)};
        CHECK(worker.call(Add{1, 2}) == 3);
        CHECK(worker.async_call(Echo{"x", {}}, asio::use_future).get().text == "x");
        worker.call(Nothing{});
        pid = static_cast<::pid_t>(worker.pid());
        worker.stop();
    }
    const Trace trace{path};
    CHECK(trace.processes() == std::set<::pid_t>{self, pid});
    CHECK(trace.name_of(pid) == "worker child");
    CHECK_FALSE(trace.name_of(self).empty());

    const auto spawn = trace.first("X", "spawn child");
    CHECK(spawn["pid"] == self);
    CHECK(spawn["args"]["pid"] == pid);
    CHECK(spawn["args"]["generation"] == 1);
    CHECK(spawn["args"]["transport"] != "automatic");
    CHECK(spawn["args"]["command"] == TETHER_MISBEHAVING_CHILD);
    CHECK(begin_of(trace.first("b", "start child")) == begin_of(spawn));
    CHECK(begin_of(trace.first("e", "start child")) > end_of(spawn));
    CHECK(trace.first("X", "greeting")["pid"] == pid);
    CHECK(trace.first("X", "handler's constructor")["pid"] == pid);

    for (const std::string name : {"add", "echo", "nothing"}) {
        INFO(name);
        const auto begin = trace.first("b", "call " + name);
        const auto end = trace.first("e", "call " + name);
        CHECK(begin["pid"] == self);
        CHECK(begin["id"] == end["id"]);
        CHECK(begin["args"]["worker pid"] == pid);
        CHECK(end["args"]["result"] == "an answer");
        const auto encode = trace.first("X", "encode " + name, self);
        REQUIRE(encode.contains("ts"));
        CHECK(end_of(encode) <= begin_of(begin));
        const auto run = trace.first("B", "run " + name);
        CHECK(run["pid"] == pid);
        CHECK(run["args"]["call"] == begin["args"]["call"]);
        const auto run_end = run_end_after(trace, run);
        REQUIRE(run_end);
        CHECK(begin_of(begin) <= begin_of(run));
        CHECK(begin_of(run) <= begin_of(*run_end));
        CHECK(begin_of(*run_end) <= begin_of(end));
        // Of the request in the worker; of the answer in the parent, if there is something in it.
        const auto decodes = trace.all("X", "decode " + name);
        REQUIRE(decodes.size() == (name == "nothing" ? 1 : 2));
        CHECK(decodes[0]["pid"] == pid);
        CHECK(begin_of(run) <= begin_of(decodes[0]));
        CHECK(end_of(decodes[0]) <= begin_of(*run_end));
        if (decodes.size() == 2) CHECK(decodes[1]["pid"] == self);
    }
    for (const auto& begin : trace.all("b", "queue")) {
        bool found = false;
        for (const auto& end : trace.all("e", "queue")) {
            found = found || (end["id"] == begin["id"] && begin_of(end) >= begin_of(begin));
        }
        CHECK(found);
    }
    CHECK(trace.first("i", "asked to stop")["pid"] == self);
    CHECK(trace.first("i", "leaves")["args"]["exit code"] == 0);
    CHECK(trace.first("i", "exit: exited with code 0")["pid"] == pid);
}

TEST_CASE("requests that wait for another show it in a trace", "[process][tracing]") {
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    Gate gate{folder / "gate"};
    std::uint64_t waited = 0;
    {
        TestWorker worker{traced_options(path)};
        auto first = worker.async_call(Stall{gate.path()}, asio::use_future);
        REQUIRE(gate.hear_entered());
        auto second = worker.async_call(Stall{gate.path()}, asio::use_future);
        auto third = worker.async_call(Number{}, asio::use_future);
        std::this_thread::sleep_for(50ms);  // both are there when the worker reads next
        gate.open();
        first.get();
        REQUIRE(gate.hear_entered());
        std::this_thread::sleep_for(20ms);
        gate.open();
        second.get();
        waited = third.get();
    }
    const Trace trace{path};
    const auto run = trace.first("B", "run number");
    CHECK(run["args"]["call"] == waited);
    const auto of_it = [&](const std::string& phase) {
        for (const auto& event : trace.all(phase, "queue")) {
            if (event["args"]["call"] == waited) return begin_of(event);
        }
        throw std::runtime_error("the call has not waited");
    };
    CHECK(of_it("e") - of_it("b") >= 20'000);
    CHECK(of_it("e") <= begin_of(run));
}

TEST_CASE("a trace is valid when the worker is killed in a handler", "[process][tracing]") {
    const Census census;
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    TestWorker worker{traced_options(path)};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    CHECK_THROWS_AS(worker.call(Signal{SIGKILL, {}}), CallError);
    const Trace trace{path};
    const auto run = trace.first("B", "run signal");
    CHECK(run["pid"] == pid);
    CHECK_FALSE(run_end_after(trace, run));
    CHECK(contains(trace.first("e", "call signal")["args"]["result"], "signal 9"));
    CHECK(trace.first("i", "exit: was killed by signal 9 (SIGKILL)")["pid"] == pid);
}

TEST_CASE("a trace is valid at any moment while workers are killed", "[process][tracing]") {
    const Census census;
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    auto options = traced_options(path);
    options.restart = {.budget = 1000, .initial_pause = 0s};
    TestWorker worker{options};
    const int rounds = instrumented ? 10 : 100;
    for (int round = 0; round < rounds; ++round) {
        std::thread killer{[&, pid = static_cast<::pid_t>(worker.pid())] {
            std::this_thread::sleep_for(std::chrono::microseconds{round * 97});
            if (pid != 0) ::kill(pid, SIGKILL);
        }};
        for (int call = 0; call < 20; ++call) {
            try {
                worker.call(Add{call, 1});
            } catch (const CallError&) {  // it was killed before it was ready
            }
        }
        killer.join();
        CHECK_NOTHROW(Trace{path});
    }
}

TEST_CASE("a trace shows why a call ended without an answer", "[process][tracing]") {
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    Gate gate{folder / "gate"};
    {
        TestWorker worker{traced_options(path)};
        std::stop_source source;
        std::thread canceller{[&] {
            static_cast<void>(gate.hear_entered());
            source.request_stop();
        }};
        CHECK_THROWS_AS(worker.call(Await{gate.path()}, {.stop_token = source.get_token()}),
                        CallError);
        canceller.join();
        CHECK_THROWS_AS(worker.call(AwaitBriefly{gate.path()}), CallError);
        CHECK_THROWS_AS(worker.call(Throw{"exception"}), RemoteError);
        worker.kill();
    }
    const Trace trace{path};
    const auto result_of = [&](const std::string& request) {
        return trace.first("e", "call " + request)["args"]["result"];
    };
    CHECK(trace.has("i", "cancel await"));
    CHECK(contains(result_of("await"), "cancelled"));
    CHECK(contains(result_of("await_briefly"), "150 ms"));
    CHECK(result_of("throw") == "the handler's error");
    CHECK(trace.first("i", "killed, with all that it has started")["cat"] == "kill");
}

TEST_CASE("a call that is sent again is there twice in a trace", "[process][tracing]") {
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    {
        TestWorker worker{traced_options(path)};
        CHECK(worker.call(IdempotentEffect{folder / "effect", 1}) == 2);
        CHECK(worker.generation() == 2);
    }
    const Trace trace{path};
    const auto begins = trace.all("b", "call idempotent_effect");
    REQUIRE(begins.size() == 2);
    CHECK(begins[0]["id"] != begins[1]["id"]);
    CHECK(trace.all("e", "call idempotent_effect").size() == 2);
    CHECK(trace.all("X", "encode idempotent_effect").size() >= 1);
    CHECK(trace.all("X", "spawn child").at(1)["args"]["generation"] == 2);
    CHECK(trace.processes().size() == 3);
}

TEST_CASE("a start that fails is in the trace", "[process][tracing]") {
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    auto options = traced_options(path);
    options.program = folder / "no-such-program";
    TestWorker worker{options};
    CHECK_THROWS_AS(worker.call(Nothing{}), CallError);
    CHECK(contains(Trace{path}.first("i", "start failed: child")["args"]["error"],
                   "no-such-program"));
}

TEST_CASE("a worker finds the trace by its environment, unless that is set", "[process][tracing]") {
    const TemporaryFolder folder;
    const auto path = folder / "trace.json";
    auto options = traced_options(path);
    const bool removed = GENERATE(false, true);
    if (removed) options.environment["TETHER_TRACE"] = std::nullopt;
    ::pid_t pid = 0;
    {
        TestWorker worker{options};
        const auto variables = worker.call(Who{}).environment;
        CHECK(std::ranges::count(variables, "TETHER_TRACE=" + path) == (removed ? 0 : 1));
        pid = static_cast<::pid_t>(worker.pid());
    }
    const Trace trace{path};
    CHECK(trace.has("b", "call who"));
    CHECK(trace.has("B", "run who") == !removed);
    CHECK(trace.name_of(pid) == "worker child");
}

TEST_CASE("two workers may write one trace, or each its own", "[process][tracing]") {
    const TemporaryFolder folder;
    const bool shared = GENERATE(true, false);
    const auto path = folder / "trace.json";
    const auto other_path = shared ? path : folder / "other.json";
    {
        auto options = traced_options(other_path);
        options.name = "other";
        TestWorker worker{traced_options(path)};
        TestWorker other{options};
        worker.call(Add{1, 2});
        other.call(Add{1, 2});
    }
    CHECK(Trace{path}.all("b", "call add").size() == (shared ? 2 : 1));
    CHECK(Trace{path}.has("X", "spawn other") == shared);
    CHECK(Trace{other_path}.has("X", "spawn other"));
    CHECK(Trace{other_path}.has("X", "spawn child") == shared);
}

TEST_CASE("a file that cannot be a trace is told once and left alone", "[process][tracing]") {
    const TemporaryFolder folder;
    const auto path = folder / "notes.txt";
    std::ofstream{path} << "dear diary\n";
    CapturedStderr captured;
    {
        TestWorker worker{traced_options(path)};
        CHECK(worker.call(Add{1, 2}) == 3);
        worker.restart();
        CHECK(worker.call(Add{1, 2}) == 3);
    }
    CHECK(captured.finish().starts_with("tether: nothing is traced: " + path + " is no trace"));
    CHECK(captured.finish().find('\n') == captured.finish().size() - 1);
    CHECK(std::filesystem::file_size(path) == 11);
}

TEST_CASE("no trace where the name has a null byte", "[process][tracing]") {
    CHECK_THROWS_AS(TestWorker{traced_options(std::string{"a\0b", 3})}, std::invalid_argument);
}

}  // namespace tether_test::tracing_test
