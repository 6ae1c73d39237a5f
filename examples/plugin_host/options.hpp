#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace plugin_host {

struct Options {
    bool json = false;
    std::chrono::milliseconds timeout{2000};  // for each plugin
    std::string text_file{};
    std::vector<std::string> plugins{};
};

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

constexpr std::string_view usage =
    "usage: plugin_host [--json] [--timeout=MILLISECONDS] TEXT_FILE PLUGIN...\n";

inline Options parse_options(const std::vector<std::string>& arguments) {
    constexpr std::string_view timeout = "--timeout=";
    Options options;
    std::vector<std::string> names;
    for (const auto& argument : arguments) {
        if (argument == "--json") {
            options.json = true;
        } else if (argument.starts_with(timeout)) {
            const auto number = argument.substr(timeout.size());
            const bool digits = number.find_first_not_of("0123456789") == std::string::npos;
            if (!digits || number.empty() || number.size() > 9 || number == "0") {
                throw UsageError("--timeout needs a number of milliseconds");
            }
            options.timeout = std::chrono::milliseconds{std::stol(number)};
        } else if (argument.starts_with("--")) {
            throw UsageError("unknown option " + argument);
        } else {
            names.push_back(argument);
        }
    }
    if (names.size() < 2) throw UsageError("a text file and a plugin are needed");
    options.text_file = names.front();
    options.plugins.assign(names.begin() + 1, names.end());
    return options;
}

}  // namespace plugin_host
