// Tether: what a pool has done so far, in numbers.
#pragma once

#include <tether/config.hpp>
#include <tether/duration.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

TETHER_NAMESPACE_BEGIN

/// How long many things took. A plain value; two of them can be merged. A time is known to one part
/// in eight, the longest exactly.
class Histogram {
public:
    /// Counts one. Less than nothing counts as nothing.
    void add(Duration time) noexcept {
        const auto ns = static_cast<std::uint64_t>(std::max<Duration::rep>(0, time.count()));
        ++buckets_[bucket_of(ns)];
        ++count_;
        max_ = std::max(max_, ns);
    }
    /// Counts all of the other.
    void merge(const Histogram& other) noexcept {
        for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
        count_ += other.count_;
        max_ = std::max(max_, other.max_);
    }
    /// How many were counted.
    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    /// The longest; zero where there is none.
    [[nodiscard]] Duration max() const noexcept { return nanoseconds(max_); }
    /// The time within which this part of all was done: 0.5 for the median. Zero where there is
    /// none.
    [[nodiscard]] Duration quantile(double part) const noexcept {
        const auto wanted = part * static_cast<double>(count_);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < buckets_.size(); ++i) {
            seen += buckets_[i];
            if (seen != 0 && static_cast<double>(seen) >= wanted) {
                return nanoseconds(std::min(max_, largest_in(i)));
            }
        }
        return nanoseconds(max_);
    }

private:
    static Duration nanoseconds(std::uint64_t ns) noexcept {
        return std::chrono::nanoseconds{static_cast<std::int64_t>(ns)};
    }
    // Eight buckets for each power of two.
    static std::size_t bucket_of(std::uint64_t ns) noexcept {
        if (ns < 8) return static_cast<std::size_t>(ns);
        const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 4;
        return static_cast<std::size_t>(shift * 8 + (ns >> shift));
    }
    static std::uint64_t largest_in(std::size_t bucket) noexcept {
        if (bucket < 8) return bucket;
        const auto shift = bucket / 8 - 1;
        return (((bucket % 8 + 8) + 1) << shift) - 1;
    }

    std::array<std::uint64_t, 496> buckets_{};
    std::uint64_t count_ = 0;
    std::uint64_t max_ = 0;
};

/// What a pool has done, and what it does at this moment: a snapshot.
struct PoolStatistics {
    /// One worker.
    struct Worker {
        std::int64_t pid = 0;       ///< 0: it has no process
        std::uint64_t started = 0;  ///< processes so far, failed starts included
        std::uint64_t served = 0;   ///< calls that had an answer, one of an error as well
        std::uint64_t failed = 0;  ///< calls that had none; one that is sent again counts each time
        unsigned running = 0;      ///< calls that it has now
        bool resting = false;      ///< it cannot be started, and others do its work for a while
    };

    std::vector<Worker> workers{};       ///< by their numbers in the pool
    std::size_t waiting = 0;             ///< calls that wait for a worker now
    std::uint64_t started = 0;           ///< of all workers
    std::uint64_t served = 0;            ///< of all workers
    std::uint64_t failed = 0;            ///< of all workers, and calls that had none
    std::uint64_t moved = 0;             ///< calls that went to another worker, as theirs was gone
    std::uint64_t recycled_used_up = 0;  ///< workers replaced by `RecyclePolicy::requests`
    std::uint64_t recycled_restart = 0;  ///< workers replaced by `restart()`
    Histogram queue{};                   ///< from the call until it had a worker
    Histogram run{};                     ///< from then until its end
};

/// A few lines for people, each ending with a newline.
[[nodiscard]] std::string to_string(const PoolStatistics& statistics);

namespace detail {

inline std::string in_milliseconds(Duration time) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(time).count();
    auto fraction = std::to_string(1000 + us % 1000);
    return std::to_string(us / 1000) + "." + fraction.substr(1);
}

inline std::string describe_times(const char* what, const Histogram& times) {
    return std::string{what} + " ms: p50 " + in_milliseconds(times.quantile(0.5)) + ", p90 " +
           in_milliseconds(times.quantile(0.9)) + ", p99 " + in_milliseconds(times.quantile(0.99)) +
           ", max " + in_milliseconds(times.max()) + "\n";
}

}  // namespace detail

inline std::string to_string(const PoolStatistics& statistics) {
    std::size_t live = 0;
    unsigned running = 0;
    std::size_t resting = 0;
    for (const auto& worker : statistics.workers) {
        if (worker.pid != 0) ++live;
        if (worker.resting) ++resting;
        running += worker.running;
    }
    auto text = "workers: " + std::to_string(live) + " of " +
                std::to_string(statistics.workers.size()) + " up, " +
                std::to_string(statistics.started) + " started";
    if (resting != 0) text += ", " + std::to_string(resting) + " cannot be started";
    const auto recycled = statistics.recycled_used_up + statistics.recycled_restart;
    if (recycled != 0) {
        text += ", " + std::to_string(recycled) + " recycled (used up " +
                std::to_string(statistics.recycled_used_up) + ", restart " +
                std::to_string(statistics.recycled_restart) + ")";
    }
    text += "\ncalls: " + std::to_string(statistics.served) + " served, " +
            std::to_string(statistics.failed) + " failed, " + std::to_string(statistics.moved) +
            " moved, " + std::to_string(running) + " running, " +
            std::to_string(statistics.waiting) + " waiting\n";
    return text + detail::describe_times("queue", statistics.queue) +
           detail::describe_times("run", statistics.run);
}

TETHER_NAMESPACE_END
