// Why: a handler that ignores an expired deadline keeps every call behind it waiting. Which calls
// have expired without an answer, and when to look at them, needs no process to be settled.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/lifecycle.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

struct OverdueCall {
    std::uint64_t number = 0;
    std::string_view request{};  // a literal
    TimePoint expired{};
    TimePoint look{};      // when to ask what became of it
    bool stopped = false;  // its worker was, when last looked at
};

class OverdueCalls {
public:
    void add(const OverdueCall& call) { calls_.push_back(call); }

    void forget(std::uint64_t number) {
        std::erase_if(calls_, [number](const auto& call) { return call.number == number; });
    }

    // Takes out those to be looked at now.
    std::vector<OverdueCall> take_due(TimePoint now) {
        const auto due = [now](const auto& call) { return call.look <= now; };
        std::vector<OverdueCall> result;
        std::copy_if(calls_.begin(), calls_.end(), std::back_inserter(result), due);
        std::erase_if(calls_, due);
        return result;
    }

    [[nodiscard]] TimePoint next_look() const noexcept {
        auto first = TimePoint::max();
        for (const auto& call : calls_) first = std::min(first, call.look);
        return first;
    }

    [[nodiscard]] std::optional<OverdueCall> find(std::uint64_t number) const noexcept {
        for (const auto& call : calls_) {
            if (call.number == number) return call;
        }
        return std::nullopt;
    }

private:
    std::vector<OverdueCall> calls_;
};

}  // namespace detail
TETHER_NAMESPACE_END
