// Why: more workers than processors only get in each other's way, and what a process may use is
// less than what the machine has: in a container, in a batch job, under taskset.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/executable.hpp>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// The processors that a quota is worth, rounded up: "max 100000" or "150000 100000", as cpu.max of
// a control group has it. 0: no quota.
inline unsigned cores_of_quota(std::string_view cpu_max) {
    const auto space = cpu_max.find(' ');
    if (space == std::string_view::npos) return 0;
    const auto quota = std::strtoull(std::string{cpu_max.substr(0, space)}.c_str(), nullptr, 10);
    const auto period = std::strtoull(std::string{cpu_max.substr(space)}.c_str(), nullptr, 10);
    if (quota == 0 || period == 0) return 0;
    return static_cast<unsigned>(
        std::clamp<unsigned long long>((quota + period - 1) / period, 1, 1024));
}

// That of the group of this name (as in "/user.slice/job") and of those around it, below `root`.
inline unsigned cores_of_group(std::string group, const std::string& root) {
    unsigned least = 0;
    for (;;) {
        const auto cores = cores_of_quota(contents_of((root + group + "/cpu.max").c_str()));
        if (cores != 0 && (least == 0 || cores < least)) least = cores;
        if (group.empty()) return least;
        group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
    }
}

inline unsigned usable_cores() {
    unsigned cores = std::max(1U, std::thread::hardware_concurrency());
#if defined(__linux__)
    ::cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        cores = static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
    }
    const auto groups = contents_of("/proc/self/cgroup");  // "0::/name" is that of version 2
    const auto found = groups.rfind("0::/", 0) == 0 ? 0 : groups.find("\n0::/");
    if (found != std::string::npos) {
        const auto begin = groups.find('/', found);
        auto group = groups.substr(begin, groups.find('\n', begin) - begin);
        if (group == "/") group.clear();
        const auto quota = cores_of_group(group, "/sys/fs/cgroup");
        if (quota != 0) cores = std::min(cores, quota);
    }
#endif
    return std::min(cores, 1024U);
}

}  // namespace detail
TETHER_NAMESPACE_END
