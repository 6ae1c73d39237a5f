// Why: a host that turns into a daemon closes all its descriptors, and the kernel tells nobody: a
// thread that waits for one of them sleeps on. But a thread in poll() holds the file that it waits
// for, so it hears of the end of a pipe whose write end was closed together with all others. Not
// of a record lock, which would say more: Valgrind stops all threads while one waits for it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/lifecycle.hpp>
#include <tether/detail/posix/descriptor.hpp>
#include <tether/detail/posix/poll.hpp>

#include <algorithm>
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

    // For one thread: returns once the descriptors are closed or stop() was called, or earlier.
    void wait() const noexcept {
        PollItem item = readable(pipe_.first.get());
        if (is_ours()) wait_once({&item, 1}, std::chrono::hours{1});
    }

    // From another thread.
    void stop() const noexcept {
        const char byte = 0;
        if (is_ours()) (void)!::write(pipe_.second.get(), &byte, 1);
    }

    // In a forked copy, whose copy of the write end would keep the pipe open.
    void close() noexcept {
        pipe_.first.reset();
        pipe_.second.reset();
    }

private:
    DescriptorPair pipe_;
};

}  // namespace detail
TETHER_NAMESPACE_END
