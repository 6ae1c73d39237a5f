// Tether: what a worker may use of the machine.
#pragma once

#include <tether/config.hpp>
#include <tether/duration.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

TETHER_NAMESPACE_BEGIN

/// Limits that the operating system enforces on a worker. A member without a value leaves the
/// parent's limit in place.
///
///     tether::Worker<LintProtocol> worker{{.limits = {.cpu_time = 10min, .nice = 10}}};
///
/// The worker sets them itself, before its handler is constructed; what it starts inherits them,
/// each process with an allowance of its own. The handler cannot raise them again. What the system
/// refuses is an error of the start, `errc::start_failed`. A plain value.
struct Limits {
    /// The address space, in bytes; beyond it allocations fail (`std::bad_alloc`). Count in some
    /// 100 MiB for code and thread stacks, and much more under a sanitizer. POSIX: `RLIMIT_AS`.
    std::optional<std::uint64_t> memory_bytes{};

    /// Processor time of the whole process since it was started, all its threads together; then the
    /// system ends it, on POSIX by `SIGXCPU`, and a second later by `SIGKILL` (`RLIMIT_CPU`). In
    /// whole seconds, rounded up.
    std::optional<Duration> cpu_time{};

    /// The size of a core dump, in bytes; 0 for none. POSIX: `RLIMIT_CORE`.
    std::optional<std::uint64_t> core_bytes{};

    /// The nice value, from -20 (first) to 19 (last). Below the parent's only with privileges.
    /// POSIX: `setpriority`.
    std::optional<int> nice{};

    /// True if both limit the same to the same values.
    friend bool operator==(const Limits&, const Limits&) = default;
};

/// A phrase such as "memory 512 MiB, CPU time 10 s", as it stands in the text of an `ExitReport`;
/// empty when nothing is limited.
[[nodiscard]] inline std::string to_string(const Limits& limits) {
    std::string text;
    const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
    if (const auto bytes = limits.memory_bytes) {
        add("memory " + std::to_string(*bytes / (1024 * 1024)) + " MiB");
    }
    if (const auto time = limits.cpu_time) {
        const auto seconds = std::chrono::ceil<std::chrono::seconds>(*time);
        add("CPU time " + std::to_string(seconds.count()) + " s");
    }
    if (limits.core_bytes) add("core dump " + std::to_string(*limits.core_bytes) + " bytes");
    if (limits.nice) add("nice " + std::to_string(*limits.nice));
    return text;
}

TETHER_NAMESPACE_END
