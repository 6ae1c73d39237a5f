// Why: a host that turns into a daemon closes all its descriptors, those of Asio's reactor too.
// Asio does not tell their numbers; once one of them is found, its loss can be detected.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/features.hpp>

#include <cerrno>
#include <vector>

#include <fcntl.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/epoll.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

inline constexpr bool watches_closed_files = TETHER_WATCHES_CLOSED_FILES != 0;

// Occupies all free numbers below `end`, so that descriptors whose numbers cannot be chosen get
// numbers from `end` on.
class LowDescriptorsHeld {
public:
    explicit LowDescriptorsHeld(int end) {
        held_.reserve(static_cast<std::size_t>(end) + 1);
        int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        while (fd != -1) {
            held_.emplace_back(fd);
            if (fd >= end) break;
            fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
        }
    }

private:
    std::vector<Descriptor> held_;
};

// The reactor's own descriptor.
class ReactorDescriptor {
public:
    // Unknown.
    ReactorDescriptor() noexcept = default;

    // Finds the reactor where `watched` is registered, among the numbers from `begin` to `end`.
    static ReactorDescriptor find([[maybe_unused]] int watched, [[maybe_unused]] int begin,
                                  [[maybe_unused]] int end) noexcept {
#if defined(__linux__)
        for (int fd = begin; fd < end; ++fd) {
            ::epoll_event nothing{};
            if (::epoll_ctl(fd, EPOLL_CTL_ADD, watched, &nothing) == 0) {  // another reactor
                ::epoll_ctl(fd, EPOLL_CTL_DEL, watched, &nothing);
            } else if (errno == EEXIST) {
                return ReactorDescriptor{fd};
            }
        }
#endif
        return {};
    }

    // -1: unknown.
    [[nodiscard]] int number() const noexcept { return fd_; }
    // False: other code has closed it. Takes one system call.
    [[nodiscard]] bool is_there() const noexcept { return fd_ == -1 || identity_.is_still(fd_); }

private:
    explicit ReactorDescriptor(int fd) noexcept : fd_(fd), identity_(fd) {}

    int fd_ = -1;
    FileIdentity identity_;
};

}  // namespace detail
TETHER_NAMESPACE_END
