// Why: what a process asks the system about itself and its parent, and changes about itself. The
// rooms above do not name the system.
#pragma once

#include <tether/config.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/types.h>
#include <unistd.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::uint64_t own_process_number() noexcept {
    return static_cast<std::uint64_t>(::getpid());
}

inline void set_variable(const char* name, const std::string& value) {
    ::setenv(name, value.c_str(), 1);
}
inline void remove_variable(const char* name) noexcept { ::unsetenv(name); }

// So that a line is seen when it is complete, though stdout is a pipe.
inline void buffer_stdout_by_lines() noexcept { std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ); }

// The parent of this process by its number, where there is nothing better: a number may belong to a
// stranger by now.
class ParentByNumber {
public:
    explicit ParentByNumber(std::uint64_t number) noexcept
        : number_(static_cast<::pid_t>(number)), is_child_(::getppid() == number_) {}

    [[nodiscard]] bool is_gone() const noexcept {
        if (::kill(number_, 0) == -1 && errno == ESRCH) return true;
        return is_child_ && ::getppid() != number_;  // dead, but not reaped
    }

private:
    ::pid_t number_;
    bool is_child_;
};

}  // namespace detail
TETHER_NAMESPACE_END
