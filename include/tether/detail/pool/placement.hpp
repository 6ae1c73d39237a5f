// Why: which call goes to which worker is a policy; as a state machine that is given the time it
// can be tested without workers.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The calls that wait, and how many each worker has.
//
// A call that waits has a rank, which never changes: when it came, less a step for each point of
// its priority. The lowest goes first, so whoever waits long enough is next, whatever its priority.
class Placement {
public:
    struct Wish {
        std::uint64_t affinity = 0;  // 0: any worker
        int priority = 0;
    };
    struct Grant {
        std::uint64_t call;
        std::size_t worker;
    };

    // How long a call with an affinity waits for its own worker while another is free.
    static constexpr auto steal_after = std::chrono::milliseconds{100};
    // So many for each of its seats, and others take them at once.
    static constexpr std::size_t long_line = 8;

    // `seats`: calls that a worker may have at once. `step`: of the priority.
    Placement(std::size_t workers, unsigned seats, Duration step)
        : workers_(workers), seats_(seats), step_(step) {}

    void add(std::uint64_t call, Wish wish, TimePoint now) {
        const auto priority = std::clamp(wish.priority, -1000, 1000);
        const auto rank = now.time_since_epoch() - step_ * priority;
        const auto home = wish.affinity == 0 ? nobody : home_of(wish.affinity);
        const Place place{home, rank, now};
        waiting_.emplace(call, place);
        try {
            line(home).emplace(rank, call);
        } catch (...) {
            waiting_.erase(call);
            throw;
        }
    }

    // False: it does not wait.
    bool withdraw(std::uint64_t call) noexcept {
        const auto found = waiting_.find(call);
        if (found == waiting_.end()) return false;
        line(found->second.home).erase({found->second.rank, call});
        waiting_.erase(found);
        return true;
    }

    // A call that begins now, and where. Nothing: all that wait must wait.
    std::optional<Grant> next(TimePoint now) {
        if (waiting_.empty()) return std::nullopt;
        std::optional<std::size_t> free;  // the one with the least to do
        std::optional<std::size_t> best;  // the one of these that has a call of its own
        const bool any_sure = has_sure_worker(now);
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            if (!has_room(i) || (any_sure && now < workers_[i].doubted_until)) continue;
            if (!free || workers_[i].used < workers_[*free].used) free = i;
            if (workers_[i].line.empty()) continue;
            if (!best || *workers_[i].line.begin() < *workers_[*best].line.begin()) best = i;
        }
        if (!free) return std::nullopt;
        if (best && (any_.empty() || *workers_[*best].line.begin() < *any_.begin())) {
            return grant(workers_[*best].line.begin()->second, *best);
        }
        if (!any_.empty()) return grant(any_.begin()->second, *free);
        if (const auto call = call_to_steal(now)) return grant(*call, *free);
        return std::nullopt;
    }

    // When next() may have something that it has not now, though nothing happens.
    [[nodiscard]] TimePoint next_look(TimePoint now) const noexcept {
        auto when = TimePoint::max();
        if (waiting_.empty()) return when;
        bool any_room = false;
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            if (!has_room(i)) continue;
            const auto doubted_until = workers_[i].doubted_until;
            if (now < doubted_until) when = std::min(when, doubted_until);
            any_room = any_room || now >= doubted_until;
        }
        if (!any_room) return when;
        for (const auto& worker : workers_) {
            if (!worker.line.empty()) when = std::min(when, waits_long(worker));
        }
        return when;
    }

    // A call that it had is over.
    void release(std::size_t worker) noexcept { --workers_[worker].used; }

    // Its handler may still run although its call is over: it is given no calls for this long, as
    // long as there is another worker for them.
    void doubt(std::size_t worker, TimePoint until) noexcept {
        workers_[worker].doubted_until = until;
    }
    void trust(std::size_t worker) noexcept { workers_[worker].doubted_until = TimePoint::min(); }

    // A closed worker is given no calls.
    void set_open(std::size_t worker, bool open) noexcept { workers_[worker].closed = !open; }

    // The one with the least to do, with room or not.
    [[nodiscard]] std::size_t least_loaded(TimePoint now) const noexcept {
        const auto cost = [&](std::size_t i) {
            const auto& worker = workers_[i];
            return std::pair{worker.closed || now < worker.doubted_until, worker.used};
        };
        std::size_t best = 0;
        for (std::size_t i = 1; i < workers_.size(); ++i) {
            if (cost(i) < cost(best)) best = i;
        }
        return best;
    }
    [[nodiscard]] unsigned used(std::size_t worker) const noexcept { return workers_[worker].used; }
    [[nodiscard]] std::size_t waiting() const noexcept { return waiting_.size(); }

    // Each worker has a number of its own for this key, and the highest is its home: should there
    // be more workers one day, a key either stays or moves to a new one.
    [[nodiscard]] std::size_t home_of(std::uint64_t affinity) const noexcept {
        std::size_t home = 0;
        std::uint64_t highest = 0;
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            const auto score = mixed(affinity + (i + 1) * 0x9e3779b97f4a7c15U);
            if (score < highest) continue;
            highest = score;
            home = i;
        }
        return home;
    }

private:
    using Rank = TimePoint::duration;
    using Line = std::set<std::pair<Rank, std::uint64_t>>;

    static constexpr auto nobody = static_cast<std::size_t>(-1);

    struct Place {
        std::size_t home;
        Rank rank;
        TimePoint since;
    };
    struct Worker {
        unsigned used = 0;
        bool closed = false;
        TimePoint doubted_until = TimePoint::min();
        Line line{};  // calls that want this one
    };

    static std::uint64_t mixed(std::uint64_t value) noexcept {  // the finalizer of SplitMix64
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
        value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
        return value ^ (value >> 31);
    }

    [[nodiscard]] bool has_room(std::size_t worker) const noexcept {
        return !workers_[worker].closed && workers_[worker].used < seats_;
    }
    [[nodiscard]] bool has_sure_worker(TimePoint now) const noexcept {
        return std::any_of(workers_.begin(), workers_.end(), [&](const Worker& worker) {
            return !worker.closed && now >= worker.doubted_until;
        });
    }
    [[nodiscard]] Line& line(std::size_t home) noexcept {
        return home == nobody ? any_ : workers_[home].line;
    }
    [[nodiscard]] TimePoint waits_long(const Worker& worker) const noexcept {
        return waiting_.at(worker.line.begin()->second).since + steal_after;
    }

    // Of a worker that has a long line, or has let the first in it wait.
    [[nodiscard]] std::optional<std::uint64_t> call_to_steal(TimePoint now) const noexcept {
        const Worker* worst = nullptr;
        for (const auto& worker : workers_) {
            if (worker.line.size() <= long_line * seats_ &&
                (worker.line.empty() || now < waits_long(worker))) {
                continue;
            }
            if (worst == nullptr || *worker.line.begin() < *worst->line.begin()) worst = &worker;
        }
        if (worst == nullptr) return std::nullopt;
        return worst->line.begin()->second;
    }

    Grant grant(std::uint64_t call, std::size_t worker) noexcept {
        withdraw(call);
        ++workers_[worker].used;
        return {call, worker};
    }

    std::vector<Worker> workers_;
    const unsigned seats_;
    const Duration step_;
    Line any_{};  // calls that any worker will do for
    std::unordered_map<std::uint64_t, Place> waiting_{};
};

}  // namespace detail
TETHER_NAMESPACE_END
