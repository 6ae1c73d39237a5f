// Why: a number says little to the reader of a log. Its most likely meaning is put into words here,
// the same for every error.
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

// For a worker that was killed from outside; `oom_kills` as in ExitReport.
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

// As quote_lines(), for the last lines that fit into `most` bytes; 512 bytes are always allowed.
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
