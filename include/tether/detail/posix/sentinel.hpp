// Why: a host that turns into a daemon closes all its descriptors, and the kernel tells nobody: a
// thread that waits for one of them sleeps on. It does tell of the end of a file's record lock: a
// process loses it with the first descriptor of that file that it closes, whatever copies its
// forked children hold. So one thread waits for such a lock of its own process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/lifecycle.hpp>
#include <tether/detail/posix/descriptor.hpp>
#include <tether/detail/posix/poll.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Occupies all free numbers below `end` while descriptors are made whose numbers cannot be chosen:
// those get numbers from `end` on.
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

// Notices that other code has closed the descriptors of this process.
class Sentinel {
public:
    Sentinel() : pipe_(make_pipe("pipe that notices the end of descriptors")) {}

    // A number above those of all descriptors that were made just before.
    [[nodiscard]] int highest() const noexcept {
        return std::max(pipe_.first.get(), pipe_.second.get());
    }
    [[nodiscard]] bool is_ours() const noexcept {
        return pipe_.first.is_ours() && pipe_.second.is_ours();
    }

    // For one thread: blocks until the descriptors are closed, or until stop().
    void wait() const noexcept {
        if (!is_ours() || wait_for_lock()) return;
        PollItem item = readable(pipe_.first.get());
        while (is_ours() && wait_once({&item, 1}, std::chrono::hours{1}) <= 0 && errno == EINTR) {
        }
    }

    // From another thread.
    void stop() const noexcept {
        if (!is_ours()) return;
        const char byte = 0;
        (void)!::write(pipe_.second.get(), &byte, 1);
        set_lock(pipe_.second.get(), F_SETLK, F_UNLCK);
    }

private:
    static bool set_lock(int fd, int command, int type) noexcept {
        struct ::flock lock {};
        lock.l_type = static_cast<short>(type);
        lock.l_whence = SEEK_SET;
        return retry([&] { return ::fcntl(fd, command, &lock); }) == 0;
    }

    // False: the system has no such locks, or a filter of system calls refuses them.
    [[nodiscard]] bool wait_for_lock() const noexcept {
#if defined(F_OFD_SETLKW) && !defined(TETHER_FORCE_PORTABLE)
        // The write end's lock is the process', the read end's would be that of the open file: they
        // exclude each other.
        if (!set_lock(pipe_.second.get(), F_SETLK, F_WRLCK)) return false;
        // stop() may have come before the lock.
        return ready_now(pipe_.first.get()) || set_lock(pipe_.first.get(), F_OFD_SETLKW, F_RDLCK);
#else
        return false;
#endif
    }

    DescriptorPair pipe_;
};

}  // namespace detail
TETHER_NAMESPACE_END
