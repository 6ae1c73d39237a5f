// Why: waiting with a deadline on the monotonic clock, uninterrupted by signals, in one place.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/lifecycle.hpp>
#include <tether/detail/posix/descriptor.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <span>

#include <poll.h>
#include <sys/select.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

using PollItem = ::pollfd;

inline PollItem readable(int fd) noexcept { return {fd, POLLIN, 0}; }

// poll() refuses to work where a process has set its limit of descriptors to less than the number
// of items, as sandboxes do. Then what select() can do must do.
inline int select_ready(std::span<PollItem> items, Duration left) noexcept {
    ::fd_set to_read;
    ::fd_set to_write;
    FD_ZERO(&to_read);
    FD_ZERO(&to_write);
    int highest = -1;
    for (auto& item : items) {
        item.revents = 0;
        if (item.fd < 0 || item.fd >= FD_SETSIZE) continue;
        if ((item.events & POLLIN) != 0) FD_SET(item.fd, &to_read);
        if ((item.events & POLLOUT) != 0) FD_SET(item.fd, &to_write);
        highest = std::max(highest, item.fd);
    }
    const ::timespec timeout{static_cast<std::time_t>(left.count() / 1'000'000'000),
                             static_cast<long>(left.count() % 1'000'000'000)};
    const int ready = ::pselect(highest + 1, &to_read, &to_write, nullptr, &timeout, nullptr);
    if (ready <= 0) return ready;
    for (auto& item : items) {
        if (item.fd < 0 || item.fd > highest) continue;
        if (FD_ISSET(item.fd, &to_read)) item.revents = POLLIN;
        if (FD_ISSET(item.fd, &to_write)) item.revents |= POLLOUT;
    }
    return ready;
}

// Waits until an item is ready or the deadline has passed; returns the number of ready ones. An
// item with a negative descriptor is skipped.
inline int wait_ready(std::span<PollItem> items, TimePoint deadline) noexcept {
    for (int stalls = 0;;) {
        constexpr auto longest = std::chrono::nanoseconds{std::chrono::hours{1}};
        const bool forever = deadline == TimePoint::max();
        const auto now = forever ? TimePoint{} : Clock::now();
        const auto left = forever           ? longest
                          : deadline <= now ? Duration::zero()
                                            : std::min<Duration>(longest, deadline - now);
#if defined(__linux__)
        const ::timespec timeout{static_cast<std::time_t>(left.count() / 1'000'000'000),
                                 static_cast<long>(left.count() % 1'000'000'000)};
        int ready = ::ppoll(items.data(), static_cast<::nfds_t>(items.size()),
                            forever ? nullptr : &timeout, nullptr);
#else
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        int ready = ::poll(items.data(), static_cast<::nfds_t>(items.size()),
                           forever ? -1 : static_cast<int>(ms));
#endif
        if (ready < 0 && errno == EINVAL) ready = select_ready(items, left);
        if (ready > 0) return ready;
        if (ready < 0 && errno != EINTR) return ready;
        if (forever) continue;
        // The kernel's timeout counts, also where the clock stands still.
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

// Lets another thread end a poll: an eventfd where there is one, else a pipe.
class WakeUp {
public:
    WakeUp() {
        auto pipe = make_pipe("pipe for wake-ups");
        read_ = std::move(pipe.first);
        write_ = std::move(pipe.second);
        set_non_blocking(read_.get());
        set_non_blocking(write_.get());
    }

    [[nodiscard]] int fd() const noexcept { return read_.get(); }

    // Async-signal-safe.
    void notify() const noexcept {
        const char byte = 0;
        (void)!::write(write_.get(), &byte, 1);
    }

    void drain() const noexcept {
        char bytes[64];
        while (::read(read_.get(), bytes, sizeof bytes) > 0) {
        }
    }

    void close() noexcept {
        read_.reset();
        write_.reset();
    }

private:
    Descriptor read_;
    Descriptor write_;
};

}  // namespace detail
TETHER_NAMESPACE_END
