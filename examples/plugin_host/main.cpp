// plugin_host: runs plugins that nobody should trust. See README.md for what it shows about Tether.
#include <tether/tether.hpp>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "check_protocol.hpp"
#include "options.hpp"
#include "outcome.hpp"
#include "plugin_runner.hpp"

namespace {

using namespace plugin_host;

enum ExitCode { all_ok = 0, some_failed = 1, wrong_usage = 2 };

std::string read_file(const std::string& path) {
    std::ifstream in{path, std::ios::binary};
    std::string text{std::istreambuf_iterator<char>{in}, {}};
    if (!in) throw std::runtime_error(path + " cannot be read");
    return text;
}

tether::WorkerOptions worker_options() {
    return {
        .name = "plugins",
        // Crashes are what this worker is for: no limit to their number, no pause after one.
        .restart = {.budget = tether::RestartPolicy::unlimited,
                    .initial_pause = tether::Duration::zero()},
        // Whatever a plugin prints to stdout or stderr.
        .output = tether::Output::to([](const tether::LogRecord& record) {
            std::cerr << "  > " << printable(record.text) << '\n';
        }),
    };
}

/// The worker was there, and then it was not: the plugin's doing.
bool ended(const tether::CallError& error) {
    return error.cause() == tether::errc::worker_killed ||
           error.cause() == tether::errc::worker_exited;
}

/// What the worker that has just ended wrote to its stderr since it ran `plugin`.
std::vector<std::string> last_words(const tether::ExitReport& report, const std::string& plugin) {
    std::istringstream tail{report.stderr_tail};
    std::vector<std::string> lines;
    for (std::string line; std::getline(tail, line);) {
        lines.push_back(line);
        if (line == announcement(plugin)) lines.clear();
    }
    return lines;
}

/// Runs one plugin, and tells what became of it. Throws only for what is not the plugin's fault.
Outcome run(tether::Worker<CheckProtocol>& worker, const Check& check,
            std::chrono::milliseconds timeout) {
    Outcome outcome{.plugin = std::filesystem::path{check.plugin}.stem().string(), .fate = "ok"};
    try {
        outcome.findings = worker.call(check, {.timeout = timeout});
    } catch (const tether::RemoteError& error) {  // it let an exception escape, or is no plugin
        outcome.fate = "failed";
        outcome.detail = error.message();
    } catch (const tether::CallError& error) {
        if (error.cause() == tether::errc::timeout) {
            outcome.fate = "timed out";
            outcome.detail = "no answer within " + std::to_string(timeout.count()) + " ms";
            worker.kill();  // or the next call would wait for this plugin to come back
            if (const auto report = worker.last_exit()) {
                outcome.last_words = last_words(*report, check.plugin);
            }
        } else if (const auto* report = error.report(); report != nullptr && ended(error)) {
            outcome.fate = report->status.signal() ? "crashed" : "exited";
            outcome.detail = to_string(report->status);
            outcome.last_words = last_words(*report, check.plugin);
        } else {
            throw;
        }
    }
    return outcome;
}

int run_all(const Options& options) {
    const auto text = read_file(options.text_file);
    tether::Worker<CheckProtocol> worker{worker_options()};
    std::vector<Outcome> outcomes;
    for (const auto& plugin : options.plugins) {
        const auto path = std::filesystem::absolute(plugin).string();
        outcomes.push_back(run(worker, {path, text}, options.timeout));
    }
    worker.stop();  // so that all its output has been shown before the summary

    (options.json ? print_json : print_text)(std::cout, outcomes);
    if (!std::cout.flush()) throw std::runtime_error("stdout cannot be written to");
    return std::ranges::all_of(outcomes, &Outcome::ok) ? all_ok : some_failed;
}

}  // namespace

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<PluginRunner>(argc, argv)) return *exit_code;
    try {
        return run_all(parse_options({argv + std::min(argc, 1), argv + argc}));
    } catch (const UsageError& error) {
        std::cerr << "plugin_host: " << error.what() << '\n' << usage;
        return wrong_usage;
    } catch (const std::exception& error) {
        std::cerr << "plugin_host: " << error.what() << '\n';
        return some_failed;
    }
}
