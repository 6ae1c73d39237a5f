// Why: the guard thread must be able to tell any running handler to stop, without allocating and
// without running user code, also for a request that has not been read yet.
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

// The calls that run in a worker, one slot for each thread that runs handlers.
class ActiveCalls {
public:
    explicit ActiveCalls(std::size_t slots)
        : slots_(std::make_unique<Slot[]>(slots)), count_(slots) {}

    // A request was taken from the reader; its handler runs next, until `overruns`. No request
    // below `oldest` is to come. False: it was cancelled before it could begin. In the order of
    // reading.
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
        std::optional<std::stop_source> source;  // destroyed outside the lock
        const std::scoped_lock lock{mutex_};
        slots_[slot].number = 0;
        slots_[slot].overruns = TimePoint::max();
        slots_[slot].overran = false;
        slots_[slot].stop.store(false);
        slots_[slot].told.store(false);
        source.swap(slots_[slot].source);
    }

    // What its handler asks.
    [[nodiscard]] bool stop_requested(std::size_t slot) const noexcept {
        auto& entry = slots_[slot];
        if (!entry.stop.load(std::memory_order_relaxed)) return false;
        entry.told.store(true, std::memory_order_relaxed);
        return true;
    }

    // Why a handler that is done was told to stop before, so that its result means nothing.
    enum class CutShort { no, yes, overran };
    [[nodiscard]] CutShort cut_short(std::size_t slot) noexcept {
        auto& entry = slots_[slot];
        if (!entry.stop.load(std::memory_order_relaxed)) return CutShort::no;
        const std::scoped_lock lock{mutex_};
        const bool told = entry.told.load() || (entry.source && entry.source->stop_requested());
        if (!told) return CutShort::no;
        return entry.overran ? CutShort::overran : CutShort::yes;
    }

    // A token that fire() will stop.
    std::stop_token token(std::size_t slot) {
        std::stop_source fresh;
        const std::scoped_lock lock{mutex_};
        auto& source = slots_[slot].source;
        if (!source) source.emplace(std::move(fresh));
        return source->get_token();
    }

    // --- The guard's part: no allocation.

    void cancel(std::uint64_t number) noexcept {
        const std::scoped_lock lock{mutex_};
        for (std::size_t i = 0; i < count_; ++i) {
            if (slots_[i].number != number) continue;
            slots_[i].stop.store(true);
            return;
        }
        // Not read yet, or answered already: begin() sorts that out. When thousands are cancelled
        // before they were read, the oldest is forgotten.
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

    // --- The helper's part: runs stop callbacks of those that were told to stop. Nothing is
    // allocated under the lock, which the guard needs: a handler may hang in the allocator.

    void fire() {
        for (std::size_t i = 0; i < count_; ++i) {
            if (auto source = due_source(i)) source->request_stop();
        }
    }

private:
    std::optional<std::stop_source> due_source(std::size_t slot) noexcept {
        const std::scoped_lock lock{mutex_};
        return slots_[slot].stop.load() ? slots_[slot].source : std::nullopt;
    }

    struct Slot {
        std::uint64_t number = 0;
        TimePoint overruns = TimePoint::max();
        bool overran = false;
        std::atomic<bool> stop{false};
        std::atomic<bool> told{false};  // the handler has seen that
        std::optional<std::stop_source> source{};
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
