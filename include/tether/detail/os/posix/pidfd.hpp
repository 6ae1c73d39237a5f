// Why: a process is watched and signalled through a descriptor where there is one, because its
// number may belong to another process by now.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/features.hpp>

#include <cerrno>

#include <sys/types.h>
#include <unistd.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline Descriptor open_pidfd([[maybe_unused]] ::pid_t pid) noexcept {
#if TETHER_HAS_PIDFD
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (fd != -1) {
        // A low number is just as good; this must not fail for lack of a high one.
        const int high = fd >= Descriptor::lowest ? -1 : Descriptor::copy_high(fd);
        if (high == -1) return Descriptor::known(fd);
        ::close(fd);
        return Descriptor::known(high);
    }
#endif
    return {};
}

inline Descriptor open_own_pidfd() noexcept { return open_pidfd(::getpid()); }

inline int signal_pidfd([[maybe_unused]] int pidfd, [[maybe_unused]] int number,
                        [[maybe_unused]] unsigned flags = 0) noexcept {
#if TETHER_HAS_PIDFD
    return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, flags));
#else
    errno = ENOSYS;
    return -1;
#endif
}

inline bool is_pidfd(int fd) noexcept { return signal_pidfd(fd, 0) == 0 || errno != EBADF; }

}  // namespace detail
TETHER_NAMESPACE_END
