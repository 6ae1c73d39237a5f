// Why: a handler that ignores an expired deadline keeps every call behind it waiting. Which calls
// have expired without an answer, and when to look at them, needs no process to be settled.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/lifecycle.hpp>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

struct OverdueCall {
    std::uint64_t number = 0;
    std::string_view request{};  // a literal
    TimePoint expired{};
    TimePoint look{};  // when to ask what became of it
};

class OverdueCalls {
public:
    void add(const OverdueCall& call) { calls_.push_back(call); }

    // Drops those that were answered after all.
    template <class IsUnanswered>
    void tidy(IsUnanswered is_unanswered) {
        std::erase_if(calls_, [&](const auto& call) { return !is_unanswered(call.number); });
    }

    // Those to be looked at now; each comes up again after `pause`.
    std::vector<OverdueCall> take_due(TimePoint now, Duration pause) {
        std::vector<OverdueCall> due;
        for (auto& call : calls_) {
            if (call.look > now) continue;
            due.push_back(call);
            call.look = deadline_after(now, pause);
        }
        return due;
    }

    [[nodiscard]] TimePoint next_look() const noexcept {
        const auto first = std::ranges::min_element(calls_, {}, &OverdueCall::look);
        return first == calls_.end() ? TimePoint::max() : first->look;
    }

    [[nodiscard]] const OverdueCall* find(std::uint64_t number) const noexcept {
        const auto found = std::ranges::find(calls_, number, &OverdueCall::number);
        return found == calls_.end() ? nullptr : &*found;
    }

private:
    std::vector<OverdueCall> calls_;
};

}  // namespace detail
TETHER_NAMESPACE_END
