// Why: the guard must be able to tell any handler to stop, even that of a request that has not been
// read yet, without allocating and without running user code.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The calls that run in a worker, one slot for each that may run at once.
class ActiveCalls {
public:
    explicit ActiveCalls(std::size_t slots)
        : slots_(std::make_unique<Slot[]>(slots)), count_(slots) {}

    [[nodiscard]] std::size_t size() const noexcept { return count_; }

    // A request was taken from the reader; its handler runs next, until `overruns`. No request
    // below `oldest` will come. False: it was cancelled already. Called in the order of reading.
    bool begin(std::size_t slot, std::uint64_t number, std::uint64_t oldest,
               TimePoint overruns = TimePoint::max()) noexcept {
        const std::scoped_lock lock{mutex_};
        auto& entry = slots_[slot];
        const bool cancelled = take_early(number, oldest);
        entry.number = number;
        entry.overruns = overruns;
        entry.stop.store(cancelled || stop_all_);
        return !cancelled;
    }

    void end(std::size_t slot) noexcept {
        std::unique_ptr<Sources> sources;  // destroyed outside the lock
        const std::scoped_lock lock{mutex_};
        slots_[slot].number = 0;
        slots_[slot].overruns = TimePoint::max();
        slots_[slot].overran = false;
        slots_[slot].stop.store(false);
        slots_[slot].told.store(false);
        sources.swap(slots_[slot].sources);
    }

    // Called by the handler.
    [[nodiscard]] bool stop_requested(std::size_t slot) const noexcept {
        auto& entry = slots_[slot];
        if (!entry.stop.load(std::memory_order_relaxed)) return false;
        entry.told.store(true, std::memory_order_relaxed);
        return true;
    }

    // Whether a handler that is done had seen that it should stop, so that its result means
    // nothing, and why.
    enum class CutShort { no, yes, overran };
    [[nodiscard]] CutShort cut_short(std::size_t slot) noexcept {
        auto& entry = slots_[slot];
        if (!entry.stop.load(std::memory_order_relaxed)) return CutShort::no;
        const std::scoped_lock lock{mutex_};
        const bool told = entry.told.load() ||
                          (entry.sources != nullptr && entry.sources->of_handler.stop_requested());
        if (!told) return CutShort::no;
        return entry.overran ? CutShort::overran : CutShort::yes;
    }

    // A token that fire() will stop.
    std::stop_token token(std::size_t slot) {
        return sources(slot, std::stop_source{}).of_handler.get_token();
    }
    // Another one, of which the handler itself knows nothing.
    std::stop_token cancellation(std::size_t slot) {
        return sources(slot, std::stop_source{std::nostopstate}).of_coroutine.get_token();
    }
    [[nodiscard]] bool is_stopped(std::size_t slot) const noexcept {
        return slots_[slot].stop.load();
    }

    // --- The guard's part: no allocation.

    void cancel(std::uint64_t number) noexcept {
        const std::scoped_lock lock{mutex_};
        for (std::size_t i = 0; i < count_; ++i) {
            if (slots_[i].number != number) continue;
            slots_[i].stop.store(true);
            return;
        }
        // Not read yet, or answered already: begin() tells the two apart. When thousands are
        // cancelled before they are read, the oldest is forgotten.
        if (early_used_ == early_.size()) {
            std::move(early_.begin() + 1, early_.end(), early_.begin());
            --early_used_;
        }
        early_[early_used_++] = number;
    }

    [[nodiscard]] bool is_running(std::uint64_t number) noexcept {
        if (number == 0) return false;  // that of a slot where nothing runs
        const std::scoped_lock lock{mutex_};
        return std::any_of(slots_.get(), slots_.get() + count_,
                           [&](const Slot& slot) { return slot.number == number; });
    }

    // When the next handler overruns.
    [[nodiscard]] TimePoint next_overrun() noexcept {
        const std::scoped_lock lock{mutex_};
        auto next = TimePoint::max();
        for (std::size_t i = 0; i < count_; ++i) next = std::min(next, slots_[i].overruns);
        return next;
    }

    // Tells a handler that has overrun to stop, and returns its call's number; 0 if there is none.
    std::uint64_t stop_overrun(TimePoint now) noexcept {
        const std::scoped_lock lock{mutex_};
        for (std::size_t i = 0; i < count_; ++i) {
            if (slots_[i].overruns > now) continue;
            slots_[i].overruns = TimePoint::max();
            slots_[i].overran = true;
            slots_[i].stop.store(true);
            return slots_[i].number;
        }
        return 0;
    }

    void stop_all() noexcept {
        const std::scoped_lock lock{mutex_};
        stop_all_ = true;
        for (std::size_t i = 0; i < count_; ++i) slots_[i].stop.store(true);
    }

    // --- The helper's part: runs the stop callbacks of handlers that were told to stop. Allocates
    // nothing under the lock, which the guard needs, because a handler may hang in the allocator.

    void fire() {
        for (std::size_t i = 0; i < count_; ++i) {
            if (auto due = due_sources(i)) {
                due->of_handler.request_stop();
                due->of_coroutine.request_stop();
            }
        }
    }

private:
    struct Sources {
        std::stop_source of_handler{std::nostopstate};  // one that never asks is never told
        std::stop_source of_coroutine{};
    };

    // Made when one is asked for; copies share their state.
    Sources sources(std::size_t slot, std::stop_source of_handler) {
        auto fresh = std::make_unique<Sources>();
        const std::scoped_lock lock{mutex_};
        auto& made = slots_[slot].sources;
        if (made == nullptr) made = std::move(fresh);
        if (!made->of_handler.stop_possible()) made->of_handler.swap(of_handler);
        return *made;
    }

    std::optional<Sources> due_sources(std::size_t slot) noexcept {
        const auto& entry = slots_[slot];
        if (!entry.stop.load()) return std::nullopt;
        const std::scoped_lock lock{mutex_};
        if (!entry.stop.load() || entry.sources == nullptr) return std::nullopt;
        return *entry.sources;
    }

    struct Slot {
        std::uint64_t number = 0;
        TimePoint overruns = TimePoint::max();
        bool overran = false;
        std::atomic<bool> stop{false};
        std::atomic<bool> told{false};  // the handler has seen `stop`
        std::unique_ptr<Sources> sources{};
    };

    bool take_early(std::uint64_t number, std::uint64_t oldest) noexcept {
        bool found = false;
        const auto end = early_.begin() + static_cast<std::ptrdiff_t>(early_used_);
        const auto left = std::remove_if(early_.begin(), end, [&](std::uint64_t early) {
            found = found || early == number;
            return early == number || early < oldest;
        });
        early_used_ = static_cast<std::size_t>(left - early_.begin());
        return found;
    }

    std::mutex mutex_;
    std::unique_ptr<Slot[]> slots_;
    std::size_t count_;
    bool stop_all_ = false;
    std::array<std::uint64_t, 4096> early_{};  // cancelled, not begun
    std::size_t early_used_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
