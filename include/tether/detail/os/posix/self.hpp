// Why: what a process asks the system about itself and its parent, and changes about itself. The
// rooms above do not name the system.
#pragma once

#include <tether/config.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <sys/types.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#include <sys/syscall.h>
#elif defined(__APPLE__)
#include <pthread.h>
#elif defined(__FreeBSD__)
#include <pthread.h>
#include <pthread_np.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::uint64_t own_process_number() noexcept {
    return static_cast<std::uint64_t>(::getpid());
}

inline void set_variable(const char* name, const std::string& value) {
    ::setenv(name, value.c_str(), 1);
}
inline void remove_variable(const char* name) noexcept { ::unsetenv(name); }

// Shows each line when it is complete, although stdout is a pipe.
inline void buffer_stdout_by_lines() noexcept { std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ); }

// For lists of processes, debuggers and profilers: as much of it as the system has room for, in
// whole characters. The main thread's name is that of the process. Threads that this one starts
// inherit it. Allocates nothing.
inline void name_this_thread(std::string_view name) noexcept {
    std::array<char, 16> text{};  // all that Linux takes, with the null byte
    auto size = std::min(name.size(), text.size() - 1);
    const auto continues = [&](char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80; };
    while (size != 0 && size < name.size() && continues(name[size])) --size;
    std::copy_n(name.data(), size, text.data());
#if defined(__linux__)
    ::prctl(PR_SET_NAME, text.data());
#elif defined(__APPLE__)
    ::pthread_setname_np(text.data());
#elif defined(__FreeBSD__)
    ::pthread_set_name_np(::pthread_self(), text.data());
#endif
}

// As name_this_thread() has it, or the system.
inline std::string name_of_this_thread() {
    std::array<char, 16> text{};
#if defined(__linux__)
    ::prctl(PR_GET_NAME, text.data());
#endif
    text.back() = '\0';
    return text.data();
}

// As lists of threads have it; the same as the process's for the main thread.
inline std::int64_t own_thread_number() noexcept {
#if defined(__linux__)
    return ::syscall(SYS_gettid);
#else
    return static_cast<std::int64_t>(::getpid());
#endif
}

// The parent of this process by its number, where there is nothing better: the number may have gone
// to another process.
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
