// Why: a number says little to whoever reads a log. What it most likely means is put into words
// here, the same for every error.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/signal_names.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Of a worker that somebody else killed; `oom_kills` as in ExitReport.
inline std::string describe_foreign_kill(std::optional<std::uint64_t> oom_kills) {
    const auto kills = oom_kills.value_or(0);
    if (kills != 0) {
        return "most likely for lack of memory: the kernel counted " + std::to_string(kills) +
               " out-of-memory kill" + (kills == 1 ? "" : "s") + " in its control group meanwhile";
    }
    const std::string text = "it was not killed by this program";
    if (!oom_kills) return text + " but by another, or by the kernel for lack of memory";
    return text + ", and the kernel counted no out-of-memory kill in its control group";
}

inline std::string quote_lines(std::string_view lines) {
    std::string text;
    std::size_t begin = 0;
    while (begin < lines.size()) {
        const auto end = std::min(lines.find('\n', begin), lines.size());
        text.append("\n  | ").append(lines.substr(begin, end - begin));
        begin = end + 1;
    }
    return text;
}

// The same of as many of the last lines as take at most `most` bytes, but of some text at least.
inline std::string quote_last_lines(std::string_view lines, std::size_t most) {
    auto text = quote_lines(lines);
    most = std::max<std::size_t>(most, 512);
    if (text.size() <= most) return text;
    const auto line = text.find("\n  | ", text.size() - most);
    return line == text.npos ? "\n  | ..." + text.substr(text.size() - most)
                             : "\n  | ..." + text.substr(line);
}

}  // namespace detail
TETHER_NAMESPACE_END
