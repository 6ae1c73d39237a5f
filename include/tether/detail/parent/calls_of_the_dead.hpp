// Why: what became of the calls of a worker that has ended: which of them had begun, and the error
// of each.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/wire/ledger.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Its handler has begun, or that is not known.
inline bool may_have_begun(const Call& call, const Begun& begun) noexcept {
    const bool whole = call.message.done();
    return begun.known() ? begun.contains(call.number, whole) : whole;
}

// Its handler has not begun, for sure.
inline bool has_not_begun(const Call& call, const Begun& begun) noexcept {
    return begun.known() ? !may_have_begun(call, begun) : !call.message.opened();
}

// Those that run first.
inline std::vector<CallInFlight> describe_calls(std::span<Call* const> calls, TimePoint now,
                                                const Begun& begun) {
    std::vector<CallInFlight> result;
    result.reserve(calls.size());
    for (const bool running : {true, false}) {
        for (const auto* call : calls) {
            if (running != (begun.known() && may_have_begun(*call, begun))) continue;
            result.push_back({std::string{call->info.request}, call->number,
                              to_milliseconds(now - call->info.made), running});
        }
    }
    return result;
}

// The errors of the calls of a worker that has ended. There may be very many: those of one request
// share their text.
class CallsOfTheDead {
public:
    CallsOfTheDead(errc cause, std::shared_ptr<const ExitReport> report)
        : cause_(cause), report_(std::move(report)), words_(to_string(*report_)) {}

    const CallError& error_of(std::string_view request, bool outcome_unknown) {
        const auto code = code_of(cause_, outcome_unknown);
        for (const auto& [known, error] : errors_) {
            if (known == request && error.code() == code) return error;
        }
        const auto text = "call \"" + std::string{request} + "\": " + words_;
        return errors_.emplace_back(request, CallError{code, text, report_}).second;
    }

private:
    errc cause_;
    std::shared_ptr<const ExitReport> report_;
    std::string words_;
    std::deque<std::pair<std::string_view, CallError>> errors_;
};

}  // namespace detail
TETHER_NAMESPACE_END
