// Why: waiting with a deadline on the monotonic clock, uninterrupted by signals, in one place.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/features.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include <poll.h>
#include <sched.h>
#if defined(__linux__)
#include <sys/eventfd.h>
#endif
#include <sys/select.h>
#include <sys/uio.h>
#include <time.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

using PollItem = ::pollfd;

inline PollItem readable(int fd) noexcept { return {fd, POLLIN, 0}; }
inline PollItem writable(int fd) noexcept { return {fd, POLLOUT, 0}; }
inline PollItem readable_or_writable(int fd) noexcept { return {fd, POLLIN | POLLOUT, 0}; }

// Whether anything happened, including an error or a hang-up. Room to write alone is no reason to
// read.
inline bool is_ready(const PollItem& item) noexcept { return item.revents != 0; }
inline bool can_read(const PollItem& item) noexcept { return (item.revents & ~POLLOUT) != 0; }
inline bool can_write(const PollItem& item) noexcept { return (item.revents & POLLOUT) != 0; }
// For where the system refuses to wait: the write itself tells whether there is room.
inline void take_for_writable(PollItem& item) noexcept {
    item.revents = static_cast<short>(item.events & POLLOUT);
}

inline ::timespec to_timespec(Duration time) noexcept {
    const auto count = std::max(time, Duration::zero()).count();
    return {static_cast<std::time_t>(count / 1'000'000'000),
            static_cast<long>(count % 1'000'000'000)};
}

// poll() fails if the process has set its limit of descriptors below the number of items, as
// sandboxes do, or if a filter of system calls refuses it. Then select() must do.
inline int select_ready(std::span<PollItem> items, Duration left) noexcept {
    ::fd_set to_read;
    ::fd_set to_write;
    FD_ZERO(&to_read);
    FD_ZERO(&to_write);
    int highest = -1;
    for (auto& item : items) {
        item.revents = 0;
        if (item.fd < 0) continue;
        if (item.fd >= FD_SETSIZE) {  // select() cannot watch it
            errno = EINVAL;
            return -1;
        }
        if ((item.events & POLLIN) != 0) FD_SET(item.fd, &to_read);
        if ((item.events & POLLOUT) != 0) FD_SET(item.fd, &to_write);
        highest = std::max(highest, item.fd);
    }
    const auto timeout = to_timespec(left);
    const int ready = ::pselect(highest + 1, &to_read, &to_write, nullptr, &timeout, nullptr);
    if (ready <= 0) return ready;
    for (auto& item : items) {
        if (item.fd < 0 || item.fd > highest) continue;
        if (FD_ISSET(item.fd, &to_read)) item.revents = POLLIN;
        if (FD_ISSET(item.fd, &to_write)) item.revents |= POLLOUT;
    }
    return ready;
}

inline int poll_ready(std::span<PollItem> items, Duration left) noexcept {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return ::poll(items.data(), static_cast<::nfds_t>(items.size()), static_cast<int>(ms));
}

// Waits once, by the first way that the system does not refuse.
inline int wait_once(std::span<PollItem> items, Duration left) noexcept {
#if defined(__linux__)
    const auto timeout = to_timespec(left);
    int ready = ::ppoll(items.data(), static_cast<::nfds_t>(items.size()), &timeout, nullptr);
    if (ready >= 0 || errno == EINTR) return ready;
#else
    int ready = -1;
#endif
    ready = poll_ready(items, left);
    if (ready >= 0 || errno == EINTR) return ready;
    return select_ready(items, left);
}

// Returns after about that time, or earlier where the system refuses every way to sleep.
inline void nap(Duration time) noexcept {
    auto left = to_timespec(time);
    int result = 0;
    do {
        result = ::nanosleep(&left, &left);
    } while (result == -1 && errno == EINTR);
    if (result != 0 && wait_once({}, time) < 0) ::sched_yield();
}

// Waits until an item is ready or the deadline has passed; returns the number of ready ones. An
// item with a negative descriptor is skipped. Negative: the system refuses every way to wait, and
// errno says why. The refusal takes a millisecond, so that a caller that polls by itself then
// leaves the processor to others.
inline int wait_ready(std::span<PollItem> items, TimePoint deadline) noexcept {
    constexpr auto longest = std::chrono::nanoseconds{std::chrono::hours{1}};
    for (int stalls = 0;;) {
        const bool forever = deadline == TimePoint::max();
        const auto now = forever ? TimePoint{} : Clock::now();
        const auto left = forever           ? longest
                          : deadline <= now ? Duration::zero()
                                            : std::min<Duration>(longest, deadline - now);
        const int ready = wait_once(items, left);
        if (ready > 0) return ready;
        if (ready < 0 && errno != EINTR) {
            for (auto& item : items) item.revents = 0;
            const int error = errno;
            if (left > Duration::zero()) nap(std::chrono::milliseconds{1});
            errno = error;
            return ready;
        }
        if (forever) continue;
        // The kernel's timeout counts, even if the clock stands still.
        const auto after = Clock::now();
        if (after <= now) ++stalls;
        if (after >= deadline || (ready == 0 && left < longest) || stalls > 100) return 0;
    }
}

// Whether something can be read, or was hung up, right now.
inline bool ready_now(int fd, short events = POLLIN) noexcept {
    PollItem item{fd, events, 0};
    return wait_ready({&item, 1}, TimePoint::min()) > 0;
}

// Makes an eventfd readable. Does nothing if another file has the number by now.
inline void ring(const Descriptor& event) noexcept {
    const std::uint64_t one = 1;
    if (event.is_ours()) (void)!::write(event.get(), &one, sizeof one);
}

// Resets an eventfd that another process shares, and may have set to block. False: it may still be
// readable, because this system can only read in a way that might block.
inline bool reset_event([[maybe_unused]] int event) noexcept {
#if defined(RWF_NOWAIT)
    std::uint64_t count = 0;
    const ::iovec part{&count, sizeof count};
    return ::preadv2(event, &part, 1, -1, RWF_NOWAIT) != -1 || errno == EAGAIN;
#else
    return false;
#endif
}

// Lets another thread end a poll: an eventfd where there is one, otherwise a pipe.
class WakeUp {
public:
    WakeUp() {
#if TETHER_HAS_EVENTFD
        if (const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); fd != -1) {
            read_ = Descriptor::adopt(fd, "eventfd");
            return;
        }
#endif
        auto pipe = make_pipe("wake-up pipe");
        read_ = std::move(pipe.first);
        write_ = std::move(pipe.second);
        set_non_blocking(read_.get(), "wake-up pipe");
        set_non_blocking(write_.get(), "wake-up pipe");
    }

    [[nodiscard]] int fd() const noexcept { return read_.get(); }
    [[nodiscard]] bool is_ours() const noexcept { return read_.is_ours(); }

    // Async-signal-safe. Does nothing if another file has the number by now.
    void notify() const noexcept { ring(write_ ? write_ : read_); }

    void drain() const noexcept {
        char bytes[64];
        if (!read_.is_ours()) return;
        while (::read(read_.get(), bytes, sizeof bytes) > 0) {
        }
    }

    void close() noexcept {
        read_.reset();
        write_.reset();
    }

private:
    Descriptor read_;
    Descriptor write_;  // of a pipe
};

}  // namespace detail
TETHER_NAMESPACE_END
