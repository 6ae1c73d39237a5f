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

TETHER_NAMESPACE_BEGIN
namespace detail {

using PollItem = ::pollfd;

inline PollItem readable(int fd) noexcept { return {fd, POLLIN, 0}; }

// Waits until an item is ready or the deadline has passed; returns the number of ready ones. An
// item with a negative descriptor is skipped.
inline int wait_ready(std::span<PollItem> items, TimePoint deadline) noexcept {
    for (;;) {
        constexpr auto longest = std::chrono::nanoseconds{std::chrono::hours{1}};
        const bool forever = deadline == TimePoint::max();
        const auto now = forever ? TimePoint{} : Clock::now();
        const auto left = forever           ? longest
                          : deadline <= now ? Duration::zero()
                                            : std::min<Duration>(longest, deadline - now);
#if defined(__linux__)
        const ::timespec timeout{static_cast<std::time_t>(left.count() / 1'000'000'000),
                                 static_cast<long>(left.count() % 1'000'000'000)};
        const int ready = ::ppoll(items.data(), static_cast<::nfds_t>(items.size()),
                                  forever ? nullptr : &timeout, nullptr);
#else
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        const int ready = ::poll(items.data(), static_cast<::nfds_t>(items.size()),
                                 forever ? -1 : static_cast<int>(ms));
#endif
        if (ready > 0) return ready;
        if (ready < 0 && errno != EINTR) return ready;
        if (!forever && Clock::now() >= deadline) return 0;
    }
}

// Whether something can be read, or was hung up, right now.
inline bool ready_now(int fd, short events = POLLIN) noexcept {
    PollItem item{fd, events, 0};
    return retry([&] { return ::poll(&item, 1, 0); }) > 0;
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
