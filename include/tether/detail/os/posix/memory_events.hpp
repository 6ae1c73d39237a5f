// Why: when memory runs out, the kernel kills without telling the parent, and only counts the kill
// in the control group. The counts before and after tell such a kill from one by another process.
#pragma once

#include <tether/config.hpp>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Where the kernel counts for a control group: `folder` + path + `file`. In a container the path
// may be the host's, and `folder` itself the group that is meant.
struct MemoryEventsFile {
    std::string folder{};
    std::string path{};
    std::string file{};
};

// Of a process, given the contents of its /proc/<pid>/cgroup: of version 2 the line "0::<path>", of
// version 1 "<n>:<..,memory,..>:<path>".
inline MemoryEventsFile memory_events_file(std::string_view groups) {
    MemoryEventsFile version2;
    while (!groups.empty()) {
        const auto line = groups.substr(0, groups.find('\n'));
        groups.remove_prefix(std::min(groups.size(), line.size() + 1));
        const auto first = line.find(':');
        const auto second = first == line.npos ? line.npos : line.find(':', first + 1);
        if (second == line.npos) continue;
        const auto controllers =
            "," + std::string{line.substr(first + 1, second - first - 1)} + ",";
        auto path = std::string{line.substr(second + 1)};
        if (path == "/") path.clear();
        if (controllers.find(",memory,") != std::string::npos) {
            return {"/sys/fs/cgroup/memory", path, "/memory.oom_control"};
        }
        if (controllers == ",,") version2 = {"/sys/fs/cgroup", path, "/memory.events"};
    }
    return version2;
}

// Out-of-memory kills in the control group of this process so far; nothing if the system does not
// count them.
inline std::optional<std::uint64_t> count_oom_kills() noexcept {
#if defined(__linux__)
    try {
        std::ifstream own{"/proc/self/cgroup"};
        const std::string groups{std::istreambuf_iterator<char>{own}, {}};
        const auto where = memory_events_file(groups);
        std::ifstream events{where.folder + where.path + where.file};
        if (!events) events.open(where.folder + where.file);
        std::string key;
        std::uint64_t value = 0;
        while (events >> key >> value) {
            if (key == "oom_kill") return value;
        }
    } catch (...) {  // evidence is welcome, never required
    }
#endif
    return std::nullopt;
}

}  // namespace detail
TETHER_NAMESPACE_END
