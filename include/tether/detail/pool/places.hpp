// Why: a call of a pool waits, then has a worker; it may be a thread that blocks or an async call,
// and end in between by its deadline, a cancellation, or the pool's. This is who has which place.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/pool/placement.hpp>
#include <tether/error.hpp>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A thread that waits for a worker.
struct PlaceSeeker {
    std::condition_variable changed{};
    bool told = false;
    std::optional<CallError> error{};  // why it has none
    void tell() {
        told = true;
        changed.notify_one();
    }
};

// Guarded by the pool's lock.
class Places {
public:
    static constexpr auto nobody = static_cast<std::size_t>(-1);

    struct Place {
        PlaceSeeker* thread = nullptr;
        std::shared_ptr<AsyncCall> call{};      // while it waits
        TimePoint deadline = TimePoint::max();  // of an async call
        TimePoint since{};                      // it waits, or has its worker
        std::size_t worker = nobody;            // it waits
    };

    Places(std::size_t workers, unsigned seats, Duration priority_step)
        : placement_(workers, seats, priority_step) {}

    [[nodiscard]] Placement& placement() noexcept { return placement_; }
    [[nodiscard]] const Placement& placement() const noexcept { return placement_; }

    // Returns its number.
    std::uint64_t add(const Call& call, Place place) {
        const auto number = ++last_number_;
        place.since = call.info.made;
        const auto added = places_.emplace(number, std::move(place)).first;
        try {
            if (added->second.call != nullptr) {
                added->second.deadline = call.deadline();
                deadlines_.emplace(call.deadline(), number);
            }
            placement_.add(number, {call.info.affinity, call.info.priority}, call.info.made);
        } catch (...) {
            withdraw(added);
            throw;
        }
        return number;
    }

    [[nodiscard]] bool waits(std::uint64_t number) const noexcept {
        const auto place = places_.find(number);
        return place != places_.end() && place->second.worker == nobody;
    }
    // nobody: it waits, or has no place.
    [[nodiscard]] std::size_t worker_of(std::uint64_t number) const noexcept {
        const auto place = places_.find(number);
        return place == places_.end() ? nobody : place->second.worker;
    }

    // False: it does not wait.
    bool withdraw(std::uint64_t number) noexcept {
        if (!waits(number)) return false;
        withdraw(places_.find(number));
        return true;
    }
    // All that wait: threads are told of the error, if there is one, and the calls returned.
    std::vector<std::shared_ptr<AsyncCall>> withdraw_all(const std::optional<CallError>& error) {
        std::vector<std::shared_ptr<AsyncCall>> calls;
        for (auto place = places_.begin(); place != places_.end();) {
            const auto next = std::next(place);
            if (place->second.worker == nobody) {
                if (place->second.call != nullptr) calls.push_back(place->second.call);
                if (auto* const thread = place->second.thread) {
                    thread->error = error;
                    thread->tell();
                }
                withdraw(place);
            }
            place = next;
        }
        return calls;
    }
    // An async call that has waited for too long. Null: there is none.
    std::shared_ptr<AsyncCall> withdraw_expired(TimePoint now) noexcept {
        if (first_deadline() > now) return nullptr;
        const auto place = places_.find(deadlines_.begin()->second);
        auto call = place->second.call;
        withdraw(place);
        return call;
    }
    [[nodiscard]] TimePoint first_deadline() const noexcept {
        return deadlines_.empty() ? TimePoint::max() : deadlines_.begin()->first;
    }

    // A call that has a worker from now on. Null: all that wait must wait.
    Place* next(TimePoint now) {
        const auto grant = placement_.next(now);
        if (!grant) return nullptr;
        const auto place = places_.find(grant->call);
        place->second.worker = grant->worker;
        deadlines_.erase({place->second.deadline, grant->call});
        return &place->second;
    }

    // It is over. Returns what it was.
    std::optional<Place> leave(std::uint64_t number) noexcept {
        const auto found = places_.find(number);
        if (found == places_.end() || found->second.worker == nobody) return std::nullopt;
        auto place = std::move(found->second);
        places_.erase(found);
        placement_.release(place.worker);
        return place;
    }

private:
    using Map = std::unordered_map<std::uint64_t, Place>;

    void withdraw(Map::iterator place) noexcept {
        placement_.withdraw(place->first);
        deadlines_.erase({place->second.deadline, place->first});
        places_.erase(place);
    }

    Placement placement_;
    Map places_{};
    std::set<std::pair<TimePoint, std::uint64_t>> deadlines_{};  // of async calls that wait
    std::uint64_t last_number_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
