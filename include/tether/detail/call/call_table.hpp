// Why: an answer finds its call by number, in constant time however many are pending, and an answer
// that nobody waits for any more is told apart from one that nobody ever asked for.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What is left of a call that was given up when its request had left.
struct AbandonedCall {
    std::string_view request{};            // a literal
    TimePoint expired = TimePoint::max();  // max: it has not, or that is no matter any more
    bool told = true;                      // the worker knows that it was given up
};

// Not thread-safe. Numbers are 1, 2, 3, ...; multiplied with the golden ratio (Knuth, The Art of
// Computer Programming, volume 3, section 6.4) they spread over the table with hardly a collision,
// and without the long runs that closing a gap would have to walk through. Nothing is allocated
// once the table has its size.
template <class Call>
class CallTable {
public:
    // Registers a call and gives it its number.
    std::uint64_t add(Call& call) {
        if (2 * (size_ + 1) > slots_.size()) grow();
        place({++last_, &call});
        ++size_;
        return last_;
    }

    // The number of a request that gets no answer.
    [[nodiscard]] std::uint64_t skip() noexcept { return ++last_; }

    // The pending call of this number; null if there is none.
    [[nodiscard]] Call* find(std::uint64_t number) const noexcept {
        const auto at = locate(number);
        return at == none ? nullptr : slots_[at].call;
    }

    // The call has been settled, and no answer is to come.
    void remove(std::uint64_t number) noexcept {
        auto hole = locate(number);
        if (hole == none) return;
        --size_;
        // Close the gap, so that a search may end at the first empty slot.
        for (auto at = next(hole);; at = next(at)) {
            if (slots_[at].call == nullptr) break;
            const auto wanted = home(slots_[at].number);
            const bool stays =
                hole <= at ? hole < wanted && wanted <= at : hole < wanted || wanted <= at;
            if (stays) continue;
            slots_[hole] = slots_[at];
            hole = at;
        }
        slots_[hole] = {};
    }

    // The call has been settled, but its answer may still come.
    void abandon(std::uint64_t number, const AbandonedCall& call = {}) noexcept {
        remove(number);
        try {
            abandoned_.insert_or_assign(number, call);
        } catch (...) {  // no memory: a late answer will be one to an unknown call
        }
    }

    // An answer came for no pending call: true when somebody had waited for it once.
    bool forget(std::uint64_t number) { return abandoned_.erase(number) != 0; }

    // It was settled, and its answer has not come yet.
    [[nodiscard]] bool is_abandoned(std::uint64_t number) const {
        return abandoned_.contains(number);
    }

    // All of these, by number.
    [[nodiscard]] std::map<std::uint64_t, AbandonedCall>& abandoned_calls() noexcept {
        return abandoned_;
    }

    // The number given last; 0: none yet.
    [[nodiscard]] std::uint64_t last() const noexcept { return last_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t abandoned() const noexcept { return abandoned_.size(); }

    // All pending calls, oldest first.
    [[nodiscard]] std::vector<Call*> calls() const {
        std::vector<Slot> used;
        used.reserve(size_);
        for (const auto& slot : slots_) {
            if (slot.call != nullptr) used.push_back(slot);
        }
        std::sort(used.begin(), used.end(),
                  [](const Slot& a, const Slot& b) { return a.number < b.number; });
        std::vector<Call*> result;
        result.reserve(used.size());
        for (const auto& slot : used) result.push_back(slot.call);
        return result;
    }

    // Ends it all: nothing is pending or awaited any more.
    void clear() noexcept {
        std::fill(slots_.begin(), slots_.end(), Slot{});
        size_ = 0;
        abandoned_.clear();
    }

private:
    struct Slot {
        std::uint64_t number = 0;
        Call* call = nullptr;
    };
    static constexpr std::size_t none = std::size_t(-1);

    [[nodiscard]] std::size_t home(std::uint64_t number) const noexcept {
        return static_cast<std::size_t>(number * 0x9e3779b97f4a7c15U >> shift_);
    }
    [[nodiscard]] std::size_t next(std::size_t at) const noexcept {
        return (at + 1) & (slots_.size() - 1);
    }

    void place(Slot slot) noexcept {
        auto at = home(slot.number);
        while (slots_[at].call != nullptr) at = next(at);
        slots_[at] = slot;
    }

    [[nodiscard]] std::size_t locate(std::uint64_t number) const noexcept {
        if (slots_.empty()) return none;
        for (auto at = home(number); slots_[at].call != nullptr; at = next(at)) {
            if (slots_[at].number == number) return at;
        }
        return none;
    }

    void grow() {
        auto old =
            std::exchange(slots_, std::vector<Slot>(std::max<std::size_t>(16, 2 * slots_.size())));
        shift_ = 64 - std::countr_zero(slots_.size());
        for (const auto& slot : old) {
            if (slot.call != nullptr) place(slot);
        }
    }

    std::vector<Slot> slots_;  // a power of two of them
    int shift_ = 64;           // leaves a place in the table of a product
    std::size_t size_ = 0;
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, AbandonedCall> abandoned_;
};

// When the next call expires. Calls that were answered stay in it until they come up or are too
// many, so that an answered call costs nothing here.
class Deadlines {
public:
    void add(TimePoint when, std::uint64_t number) {
        heap_.push_back({when, number});
        std::push_heap(heap_.begin(), heap_.end(), Later{});
    }

    // The earliest deadline for which `is_pending(number)`; the far end of time if there is none.
    template <class IsPending>
    TimePoint next(IsPending is_pending) {
        while (!heap_.empty() && !is_pending(heap_.front().number)) pop();
        return heap_.empty() ? TimePoint::max() : heap_.front().when;
    }

    // Takes out the numbers whose deadline has come, but not more than `most` of them.
    std::vector<std::uint64_t> take_due(TimePoint now, std::size_t most = std::size_t(-1)) {
        std::vector<std::uint64_t> due;
        while (!heap_.empty() && heap_.front().when <= now && due.size() < most) {
            due.push_back(heap_.front().number);
            pop();
        }
        return due;
    }

    // Drops stale entries where they outweigh the `pending` others.
    template <class IsPending>
    void tidy(std::size_t pending, IsPending is_pending) {
        if (heap_.size() < 2 * pending + 64) return;
        std::erase_if(heap_, [&](const Entry& entry) { return !is_pending(entry.number); });
        std::make_heap(heap_.begin(), heap_.end(), Later{});
    }

    [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }

private:
    struct Entry {
        TimePoint when;
        std::uint64_t number;
    };
    struct Later {
        bool operator()(const Entry& a, const Entry& b) const noexcept { return a.when > b.when; }
    };

    void pop() {
        std::pop_heap(heap_.begin(), heap_.end(), Later{});
        heap_.pop_back();
    }

    std::vector<Entry> heap_;
};

}  // namespace detail
TETHER_NAMESPACE_END
