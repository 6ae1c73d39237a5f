// Why: the guard thread must be able to tell any running handler to stop, without allocating and
// without running user code, also for a request that has not been read yet.
#pragma once

#include <tether/config.hpp>

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
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The calls that run in a worker, one slot for each thread that runs handlers.
class ActiveCalls {
public:
    explicit ActiveCalls(std::size_t slots)
        : slots_(std::make_unique<Slot[]>(slots)), count_(slots) {}

    // A request was taken from the reader; its handler runs next. No request below `oldest` is to
    // come. False: it was cancelled before it could begin. In the order of reading.
    bool begin(std::size_t slot, std::uint64_t number, std::uint64_t oldest) noexcept {
        const std::scoped_lock lock{mutex_};
        auto& entry = slots_[slot];
        const bool cancelled = take_early(number, oldest);
        entry.number = number;
        entry.stop.store(cancelled || stop_all_);
        return !cancelled;
    }

    void end(std::size_t slot) noexcept {
        std::optional<std::stop_source> source;  // destroyed outside the lock
        const std::scoped_lock lock{mutex_};
        slots_[slot].number = 0;
        slots_[slot].stop.store(false);
        source.swap(slots_[slot].source);
    }

    [[nodiscard]] bool stop_requested(std::size_t slot) const noexcept {
        return slots_[slot].stop.load(std::memory_order_relaxed);
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
        const std::scoped_lock lock{mutex_};
        return std::any_of(slots_.get(), slots_.get() + count_,
                           [&](const Slot& slot) { return slot.number == number; });
    }

    void stop_all() noexcept {
        const std::scoped_lock lock{mutex_};
        stop_all_ = true;
        for (std::size_t i = 0; i < count_; ++i) slots_[i].stop.store(true);
    }

    // --- The helper's part: runs stop callbacks of those that were told to stop.

    void fire() {
        std::vector<std::stop_source> due;
        {
            const std::scoped_lock lock{mutex_};
            for (std::size_t i = 0; i < count_; ++i) {
                const auto& source = slots_[i].source;
                if (source && slots_[i].stop.load()) due.push_back(*source);
            }
        }
        for (auto& source : due) source.request_stop();
    }

private:
    struct Slot {
        std::uint64_t number = 0;
        std::atomic<bool> stop{false};
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
