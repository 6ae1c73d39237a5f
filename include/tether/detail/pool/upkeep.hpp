// Why: when a worker of a pool is replaced, and when it is left alone because it cannot be started,
// are policies; as a state machine that is given the time they can be tested without workers.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/pool_options.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Why a worker that works is replaced.
enum class Recycled : std::uint8_t { used_up, restart };

class Upkeep {
public:
    Upkeep(std::size_t workers, RecyclePolicy policy) : policy_(policy), workers_(workers) {}

    // Whether the worker may be given calls.
    [[nodiscard]] bool is_open(std::size_t worker) const noexcept {
        return !workers_[worker].outdated && !rests(worker);
    }

    // --- Replacing

    // A call of this worker's begins.
    void take(std::size_t worker) noexcept {
        if (++workers_[worker].taken >= policy_.requests) outdate(worker, Recycled::used_up);
    }
    // It is to be replaced. The first reason counts.
    void outdate(std::size_t worker, Recycled reason) noexcept {
        auto& outdated = workers_[worker].outdated;
        if (!outdated) outdated = reason;
    }
    // It has no call. True: the caller replaces it.
    [[nodiscard]] bool replace(std::size_t worker) noexcept {
        auto& state = workers_[worker];
        if (!state.outdated) return false;
        ++recycled_[static_cast<std::size_t>(*state.outdated)];
        state.outdated.reset();
        state.taken = 0;
        return true;
    }
    [[nodiscard]] std::uint64_t recycled(Recycled reason) const noexcept {
        return recycled_[static_cast<std::size_t>(reason)];
    }

    // --- Workers that cannot be started

    // It rests for a second, the next time for two, up to 32. One that rests already goes on to.
    void rest(std::size_t worker, TimePoint now) noexcept {
        auto& state = workers_[worker];
        if (rests(worker)) return;
        state.rests_until = now + std::chrono::seconds{1} * (1U << std::min(state.failures++, 5U));
    }
    [[nodiscard]] bool rests(std::size_t worker) const noexcept {
        return workers_[worker].rests_until != TimePoint::min();
    }
    [[nodiscard]] bool another_works(std::size_t worker) const noexcept {
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            if (i != worker && !rests(i)) return true;
        }
        return false;
    }
    void answered(std::size_t worker) noexcept { workers_[worker].failures = 0; }
    void forget_failures(std::size_t worker) noexcept {
        workers_[worker].failures = 0;
        workers_[worker].rests_until = TimePoint::min();
    }

    // True: some rest no longer.
    [[nodiscard]] bool wake(TimePoint now) noexcept {
        bool any = false;
        for (auto& state : workers_) {
            if (state.rests_until == TimePoint::min() || now < state.rests_until) continue;
            state.rests_until = TimePoint::min();
            any = true;
        }
        return any;
    }
    [[nodiscard]] TimePoint next_wake() const noexcept {
        auto next = TimePoint::max();
        for (const auto& state : workers_) {
            if (state.rests_until != TimePoint::min()) next = std::min(next, state.rests_until);
        }
        return next;
    }

private:
    struct Worker {
        std::uint64_t taken = 0;  // calls since it was replaced
        std::optional<Recycled> outdated{};
        unsigned failures = 0;  // to start, one after the other
        TimePoint rests_until = TimePoint::min();
    };

    const RecyclePolicy policy_;
    std::vector<Worker> workers_;
    std::array<std::uint64_t, 2> recycled_{};
};

}  // namespace detail
TETHER_NAMESPACE_END
