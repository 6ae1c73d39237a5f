// Why: a worker runs before a person can attach to it, and some systems let only a parent attach.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/executable.hpp>

#include <cstdlib>
#include <optional>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// Whether a debugger (or strace) holds this process. Nothing: the system does not tell.
inline std::optional<bool> is_traced() {
#if defined(__linux__)
    constexpr std::string_view field = "\nTracerPid:";
    const auto status = contents_of("/proc/self/status");
    const auto at = status.find(field);
    if (at == status.npos) return std::nullopt;
    return std::strtol(status.c_str() + at + field.size(), nullptr, 10) != 0;
#else
    return std::nullopt;
#endif
}

// Where the system restricts that to descendants of the debugger (Yama).
inline void let_any_debugger_attach() noexcept {
#if defined(PR_SET_PTRACER)
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
#endif
}

}  // namespace detail
TETHER_NAMESPACE_END
