#pragma once

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plugin_host {

struct Finding {
    int line{};
    std::string message{};
};

/// Lets one plugin check one text. Not `idempotent`, although it is: a plugin that crashes is not
/// worth a second crash.
struct Check {
    static constexpr std::string_view name = "check";
    using Response = std::vector<Finding>;

    std::string plugin{};  // path of the shared object
    std::string text{};
};

struct CheckProtocol {
    static constexpr std::string_view name = "tether.example.plugin_host";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Check>;
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Finding, line, message)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Check, plugin, text)

/// What the worker logs before it runs a plugin: the rest of its output is that plugin's.
inline std::string announcement(std::string_view plugin) {
    return "running " + std::string{plugin};
}

}  // namespace plugin_host
