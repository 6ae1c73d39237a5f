// A host with a worker named "lint" that has very little time for anything, for the tests of
// TETHER_DEBUG, of names, and of programs beside this one.

#include <tether/beside_executable.hpp>

#include <sstream>

#include "host_support.hpp"

using namespace tether_host;

namespace {

class Debugged final : public tether::Handler<AskProtocol> {
public:
    Debugged() { announce("constructed " + std::to_string(::getpid())); }

    // None of it heeds a request to stop.
    std::string handle(const Ask& ask, tether::CallContext<Ask>& call) override {
        if (ask.what == "output_of") return output_of(ask.argument);
        if (ask.what == "deadline") return call.deadline() ? "some" : "none";
        if (ask.what == "sleep") pause_for(std::chrono::milliseconds{std::stoi(ask.argument)});
        if (ask.what == "stall") pass_gate("stall");
        return "done";
    }
};

tether::WorkerOptions hasty(const Arguments& arguments) {
    tether::WorkerOptions options;
    options.name = "lint";
    options.start_timeout = std::chrono::milliseconds{arguments.number("start_timeout", 60'000)};
    options.call_timeout = 50ms;
    options.stop = {50ms, 50ms};
    options.stuck = {.grace = 50ms, .silence = 1s, .heartbeat = 50ms};
    options.idle_timeout = 100ms;
    options.concurrency = 2;
    return options;
}

std::string names_of_threads() { return output_of("cat /proc/$PPID/task/*/comm"); }

void obey(AskWorker& worker, const std::string& command, const std::string& rest) {
    const Ask ask{rest.substr(0, rest.find(' ')),
                  rest.substr(std::min(rest.size(), rest.find(' ') + 1))};
    if (command == "call") {
        announce_outcome(
            "answer", [&] { return worker.call(ask, {.timeout = 100ms, .run_timeout = 100ms}); });
    } else if (command == "ask") {
        announce_outcome("answer", [&] { return worker.call(ask, {.timeout = 1min}); });
    } else if (command == "send") {
        worker.async_call(ask, [](const std::exception_ptr&, const std::string&) {});
    } else if (command == "stop") {
        announce_outcome("stopped", [&] { return describe(worker.stop()); });
    } else if (command == "threads") {
        announce("threads " + one_line(names_of_threads()));
    } else if (command == "with_program") {
        AskWorker other{{.name = "a worker of th\u00ea checks", .program = rest}};
        const auto tell = [&](const std::string& what, const std::string& shell) {
            announce_outcome(what, [&] { return other.call(Ask{"output_of", shell}); });
        };
        tell("command", "tr '\\0' '|' </proc/$PPID/cmdline");
        tell("name", "cat /proc/$PPID/comm");
    } else if (command == "beside") {
        announce_outcome("beside", [&] {
            AskWorker other{{.program = tether::beside_executable(rest)}};
            return other.call(Ask{"output_of", "readlink /proc/$PPID/exe"});
        });
    }
}

}  // namespace

int main(int argc, char** argv) {
    forbid_core_files();
    if (auto code = tether::serve_if_worker<Debugged>(argc, argv)) return *code;
    AskWorker worker{hasty(Arguments{argc, argv})};
    announce("spawned " + std::to_string(worker.pid()));
    for (auto line = next_command(); !line.empty(); line = next_command()) {
        std::istringstream words{line};
        std::string command;
        words >> command;
        std::string rest;
        std::getline(words >> std::ws, rest);
        obey(worker, command, rest);
    }
    return 0;
}
