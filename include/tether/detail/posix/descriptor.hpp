// Why: every descriptor is born close-on-exec, since another thread of the host may spawn at any
// moment, and lives at 10 or above, so that it collides neither with 0 to 2 of a host that closed
// them nor with the numbers a child expects.
#pragma once

#include <tether/config.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::error_code last_error() noexcept { return {errno, std::system_category()}; }

[[noreturn]] inline void throw_last_error(const std::string& step) {
    const auto code = last_error();
    throw std::system_error(code, step);
}

// Repeats a system call that a signal interrupted.
template <class Call>
auto retry(Call call) noexcept {
    auto result = call();
    while (result == -1 && errno == EINTR) result = call();
    return result;
}

class Descriptor {
public:
    static constexpr int lowest = 10;

    Descriptor() noexcept = default;
    explicit Descriptor(int fd) noexcept : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    ~Descriptor() { reset(); }

    // Takes over a fresh descriptor, or throws for -1, naming the step that made it.
    static Descriptor adopt(int fd, const std::string& step) {
        if (fd == -1) throw_last_error(step);
        Descriptor low{fd};
        if (fd >= lowest) return low;
        const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, lowest);
        if (high == -1) throw_last_error(step);
        return Descriptor{high};
    }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ != -1; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    void reset(int fd = -1) noexcept {
        if (fd_ != -1) ::close(fd_);
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

struct DescriptorPair {
    Descriptor first;
    Descriptor second;
};

// Occupies those of 0, 1, 2 that the host has closed, for as long as somebody makes descriptors
// whose numbers cannot be chosen.
class StandardDescriptorsHeld {
public:
    StandardDescriptorsHeld() noexcept {
        for (auto& held : held_) {
            held.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
            if (held.get() > STDERR_FILENO) break;
        }
    }

private:
    std::array<Descriptor, 4> held_;
};

inline bool is_open(int fd) noexcept { return ::fcntl(fd, F_GETFD) != -1; }

inline void set_close_on_exec(int fd) noexcept { ::fcntl(fd, F_SETFD, FD_CLOEXEC); }

// By either way, since a filter of system calls may refuse one. A descriptor that blocked where
// none may would hold up its thread for ever: throws a std::system_error that names `step`.
inline void set_non_blocking(int fd, const std::string& step) {
    int on = 1;
    if (::ioctl(fd, FIONBIO, &on) == 0) return;
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags == -1 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1) throw_last_error(step);
}

inline bool set_blocking(int fd) noexcept {
    int off = 0;
    return ::ioctl(fd, FIONBIO, &off) == 0;
}

// Read end first.
inline DescriptorPair make_pipe(const std::string& step) {
    int fds[2];
#if defined(__linux__) || defined(__FreeBSD__)
    if (::pipe2(fds, O_CLOEXEC) != 0) throw_last_error(step);
#else
    if (::pipe(fds) != 0) throw_last_error(step);
    for (const int fd : fds) set_close_on_exec(fd);
#endif
    Descriptor second{fds[1]};
    Descriptor first = Descriptor::adopt(fds[0], step);
    return {std::move(first), Descriptor::adopt(second.release(), step)};
}

}  // namespace detail
TETHER_NAMESPACE_END
