// Why: every descriptor is created close-on-exec, because another thread of the host may spawn at
// any moment. It gets a number of 10 or above, so that it collides neither with 0 to 2 of a host
// that closed them nor with the numbers that a child expects. Usually it is far above, so that a
// number which other code closed by mistake is not given to the next file that is opened.
#pragma once

#include <tether/config.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

// How often Tether has found all descriptors of this process closed, as a daemon closes them. No
// descriptor that was opened before is Tether's any more, whatever file has its number by now.
inline std::atomic<unsigned>& descriptor_losses() noexcept {
    static std::atomic<unsigned> count{0};
    return count;
}

// The file that a number stands for. Other code in the process may close the number by mistake, and
// then get it for a file of its own.
class FileIdentity {
public:
    FileIdentity() noexcept = default;
    explicit FileIdentity(int fd) noexcept {
        struct ::stat status {};
        known_ = ::fstat(fd, &status) == 0;
        device_ = status.st_dev;
        inode_ = status.st_ino;
    }

    [[nodiscard]] bool known() const noexcept { return known_; }
    // Async-signal-safe. True where the system does not tell.
    [[nodiscard]] bool is_still(int fd) const noexcept {
        if (losses_ != descriptor_losses().load(std::memory_order_relaxed)) return false;
        if (!known_) return true;
        struct ::stat status {};
        if (::fstat(fd, &status) != 0) return errno != EBADF;
        return status.st_dev == device_ && status.st_ino == inode_;
    }

private:
    // Needed because all eventfds have the same inode, and all pidfds before Linux 6.9.
    unsigned losses_ = descriptor_losses().load(std::memory_order_relaxed);
    bool known_ = false;
    ::dev_t device_ = 0;
    ::ino_t inode_ = 0;
};

// The number of the file that a descriptor stands for; 0 where the system does not tell.
inline std::uint64_t file_number(int fd) noexcept {
    struct ::stat status {};
    return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

class Descriptor {
public:
    static constexpr int lowest = 10;

    Descriptor() noexcept = default;
    explicit Descriptor(int fd) noexcept : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)), identity_(other.identity_) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        if (this == &other) return *this;
        reset(std::exchange(other.fd_, -1));
        identity_ = other.identity_;
        return *this;
    }
    ~Descriptor() { reset(); }

    // Takes over a new descriptor. For -1, throws an error that names the step that made it.
    static Descriptor adopt(int fd, const std::string& step) {
        if (fd == -1) throw_last_error(step);
        const int high = fd >= usual_lowest() ? fd : copy_high(fd);
        if (high == -1 && fd < lowest) {
            const Descriptor low{fd};
            throw_last_error(step);
        }
        if (high != -1 && high != fd) ::close(fd);
        return known(high != -1 ? high : fd);
    }
    // A descriptor that is recognized later.
    static Descriptor known(int fd) noexcept {
        Descriptor result{fd};
        result.identity_ = FileIdentity{fd};
        return result;
    }

    // A copy with a high number, which other code is unlikely to use. -1: there is none.
    static int copy_high(int fd) noexcept {
        const int from = usual_lowest();
        const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, from);
        if (high != -1 || from == lowest) return high;
        return ::fcntl(fd, F_DUPFD_CLOEXEC, lowest);
    }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ != -1; }
    // False: other code has closed it, and may have a file of its own there by now.
    [[nodiscard]] bool is_ours() const noexcept { return fd_ != -1 && identity_.is_still(fd_); }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    void reset(int fd = -1) noexcept {
        if (is_ours()) ::close(fd_);
        fd_ = fd;
        identity_ = {};
    }

    // High, because new files get the lowest free number; but low enough for select(). Others after
    // the host has closed all, because a thread of ours may be about to write to an old number.
    static int usual_lowest() noexcept {
        ::rlimit limit{};
        if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return lowest;
        const auto high = std::min<::rlim_t>(limit.rlim_cur, 2048) / 4;
        const auto losses = descriptor_losses().load(std::memory_order_relaxed);
        return std::max(lowest, static_cast<int>(high + high / 4 * (losses % 4)));
    }

private:
    int fd_ = -1;
    FileIdentity identity_;
};

inline Descriptor open_null_for_reading() {
    return Descriptor::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC), "open /dev/null");
}

// A copy of this process' stderr, or of /dev/null if the host has closed it.
inline Descriptor copy_of_own_stderr() {
    const int fd = Descriptor::copy_high(STDERR_FILENO);
    if (fd != -1) return Descriptor::known(fd);
    return Descriptor::adopt(::open("/dev/null", O_RDWR | O_CLOEXEC), "open /dev/null");
}

// Reads from a pipe; 0 at its end. Negative: see would_block().
inline std::ptrdiff_t read_some(int fd, char* data, std::size_t size) noexcept {
    return retry([&] { return ::read(fd, data, size); });
}

struct DescriptorPair {
    Descriptor first;
    Descriptor second;
};

// Occupies those of 0, 1, 2 that the host has closed, while descriptors are made whose numbers
// cannot be chosen.
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

// Whether it is an eventfd or the like, rather than a file, a socket or a pipe.
inline bool is_anonymous(int fd) noexcept {
    struct ::stat status {};
    return ::fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == 0;
}

inline bool is_open(int fd) noexcept { return ::fcntl(fd, F_GETFD) != -1; }

inline void set_close_on_exec(int fd) noexcept { ::fcntl(fd, F_SETFD, FD_CLOEXEC); }

// Tries both ways, because a filter of system calls may refuse one. Throws a std::system_error that
// names `step`, because a descriptor that blocks could hold up its thread for ever.
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
