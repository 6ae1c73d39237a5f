// depscan: who includes whom. See README.md for what it shows about Tether.
#include <tether/tether.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dispatcher.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "scanner.hpp"
#include "sources.hpp"

namespace {

using namespace depscan;

enum ExitCode { all_scanned = 0, scan_failed = 1, wrong_usage = 2 };

std::size_t worker_count(const Options& options) {
    constexpr unsigned most_by_default = 4;
    if (options.workers > 0) return options.workers;
    return std::clamp(std::thread::hardware_concurrency(), 1U, most_by_default);
}

int scan(const Options& options) {
    const auto sources = read_sources(options.paths, options.search_path);
    const auto style = options.quiet ? Progress::Style::silent : progress_style_of_stderr();
    auto progress = std::make_optional<Progress>(std::cerr, style);
    Dispatcher dispatcher{sources, worker_count(options), options.chaos_seed, *progress};
    dispatcher.run();
    progress.reset();

    const auto summary = dispatcher.graph().summary();
    if (options.json) {
        print_json(std::cout, dispatcher.graph(), summary, dispatcher.statistics());
    } else {
        print_summary(std::cout, summary, dispatcher.statistics());
    }
    return summary.failures.empty() ? all_scanned : scan_failed;
}

int run(const Options& options) {
    int exit_code = all_scanned;
    if (options.help) {
        std::cout << usage;
    } else {
        exit_code = scan(options);
    }
    if (!std::cout.flush()) throw std::runtime_error{"stdout cannot be written to"};
    return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<Scanner>(argc, argv)) return *exit_code;
    try {
        return run(parse_options({argv + std::min(argc, 1), argv + argc}));
    } catch (const UsageError& error) {
        std::cerr << "depscan: " << error.what() << "; see depscan --help\n";
        return wrong_usage;
    } catch (const std::exception& error) {
        std::cerr << "depscan: " << error.what() << '\n';
        return scan_failed;
    }
}
