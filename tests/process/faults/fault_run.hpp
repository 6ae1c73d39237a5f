#pragma once

// One run of hosts/faults under the interposer: what it said, how it ended, what it left.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "../host_process.hpp"
#include "functions.hpp"

namespace tether_lifetime::faults {

using namespace std::chrono_literals;

struct Run {
    std::string fault{};
    std::string transport = "automatic";
    std::string ended{};
    std::map<std::string, std::vector<std::string>> told{};  // by the first word of the line
    std::string output{};
    std::string errors{};
    bool fired = false;
    std::vector<std::uint32_t> calls{};  // of the side that was asked for
    std::vector<std::string> temp_entries{};
    std::string left{};
};

// Counts, and lets nothing fail.
inline const std::string none = "nowhere:read:1:0";

inline std::string joined(const std::vector<std::string>& texts) {
    std::string all;
    for (const auto& text : texts) all += text + "\n";
    return all;
}

inline std::vector<std::uint32_t> read_counts(const std::string& path) {
    const auto bytes = contents(path);
    std::vector<std::uint32_t> counts(tether_faults::all);
    std::memcpy(counts.data(), bytes.data(), std::min(bytes.size(), counts.size() * 4));
    return counts;
}

inline Run run_host(Run result, const std::vector<std::string>& arguments, const std::string& side,
                    const std::vector<std::string>& wrapper = {}) {
    Scene scene;
    HostOptions options{.wrapper = wrapper};
    if (!result.fault.empty()) {
        options.environment = {{"LD_PRELOAD", host_path("fault_interposer.so")},
                               {"TETHER_TEST_FAULT", result.fault},
                               {"TETHER_TEST_FAULT_DIR", scene.directory()}};
    }
    Host host{scene, "faults", arguments, options};
    const auto output = host.read_output(long_time);
    result.output = output.value_or("");
    result.ended = host.wait(output ? long_time : Milliseconds{0});
    result.errors = host.errors();
    std::istringstream lines{result.output};
    for (std::string line; std::getline(lines, line);) {
        const auto space = std::min(line.find(' '), line.size());
        result.told[line.substr(0, space)].push_back(line.substr(std::min(space + 1, line.size())));
    }
    result.fired = std::filesystem::exists(scene.path("fired"));
    result.calls = read_counts(scene.path("counts." + side));
    result.temp_entries = scene.temp_entries();
    result.left = Scene::describe(scene.left_after(soon, {host.pid()}));
    return result;
}

// False: a sanitizer must be the first library of a program, and that place is taken.
inline bool can_interpose() {
    if (instrumented) WARN("not under a sanitizer: it does not bear a library loaded before it");
    return !instrumented;
}

}  // namespace tether_lifetime::faults
