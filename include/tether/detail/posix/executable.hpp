// Why: which file to run is settled before the spawn, so that an error can say what was looked for.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/posix/descriptor.hpp>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <limits.h>
#include <sys/stat.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif
#if defined(__FreeBSD__)
#include <sys/sysctl.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// The running executable. On Linux the very file, even when another one took its name meanwhile.
inline std::string own_executable() {
#if defined(__APPLE__)
    std::string path(PATH_MAX, '\0');
    auto size = static_cast<std::uint32_t>(path.size());
    if (::_NSGetExecutablePath(path.data(), &size) != 0) {
        throw std::system_error(ENAMETOOLONG, std::system_category(), "path of this executable");
    }
    return path.c_str();
#elif defined(__FreeBSD__)
    int query[] = {CTL_KERN, KERN_PROC, KERN_PROC_PATHNAME, -1};
    std::string path(PATH_MAX, '\0');
    auto size = path.size();
    if (::sysctl(query, 4, path.data(), &size, nullptr, 0) != 0) {
        throw_last_error("path of this executable");
    }
    return path.c_str();
#else
    std::string path(PATH_MAX, '\0');
    const auto size = ::readlink("/proc/self/exe", path.data(), path.size());
    if (size == -1) throw_last_error("readlink /proc/self/exe");
    path.resize(static_cast<std::size_t>(size));
    // Replaced or removed: the link itself still leads to the old file.
    struct ::stat status {};
    const bool gone = path.ends_with(" (deleted)") && ::stat(path.c_str(), &status) != 0;
    return gone ? "/proc/self/exe" : path;
#endif
}

inline std::string current_directory() {
    std::string path(PATH_MAX, '\0');
    if (::getcwd(path.data(), path.size()) == nullptr) {
        throw_last_error("the current directory (a relative path starts there)");
    }
    path.resize(path.find('\0'));
    return path;
}

inline bool is_program(const std::string& path) noexcept {
    struct ::stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
           ::access(path.c_str(), X_OK) == 0;
}

// Only in folders with an absolute path: what a relative one means depends on where the host is.
inline std::string find_in_path(const std::string& name) {
    const char* variable = std::getenv("PATH");
    std::string_view rest{variable != nullptr ? variable : "/usr/bin:/bin"};
    while (!rest.empty()) {
        const auto colon = std::min(rest.find(':'), rest.size());
        std::string candidate{rest.substr(0, colon)};
        rest.remove_prefix(std::min(colon + 1, rest.size()));
        if (!candidate.starts_with('/')) continue;
        candidate.append(1, '/').append(name);
        if (is_program(candidate)) return candidate;
    }
    throw std::system_error(ENOENT, std::system_category(), "find \"" + name + "\" in PATH");
}

// An absolute path for WorkerOptions::program; the file need not exist.
inline std::string resolve_program(const std::string& program) {
    if (program.empty()) return own_executable();
    if (program.find('/') == std::string::npos) return find_in_path(program);
    if (program.front() == '/') return program;
    return current_directory() + "/" + program;
}

}  // namespace detail
TETHER_NAMESPACE_END
