// Why: what the end of a worker means, in codes and in words, follows from a few facts; settled
// here without any process, so that each cause keeps a text of its own.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call.hpp>
#include <tether/detail/error_category.hpp>
#include <tether/detail/ledger.hpp>
#include <tether/detail/lifecycle.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::chrono::milliseconds to_milliseconds(Duration duration) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

// Why a worker was ended, where it was: the cause for its calls, and words for the report.
struct Reason {
    errc cause{};
    std::string text{};
    bool expected = false;  // it is what the owner wants, by a call or by an option
    bool believed = true;   // what the worker said and noted made sense
};

// Nobody on this side wanted its end: what it left undone may be done by the next.
inline bool is_by_itself(const std::optional<Reason>& reason) noexcept {
    return !reason || reason->cause == errc::framing || reason->cause == errc::worker_stuck;
}

// What a worker says whose bytes made no sense is not believed. One that only closed its connection
// has most likely crashed.
inline bool is_believed(const std::optional<Reason>& reason) noexcept {
    return !reason || reason->believed;
}

// Why a call was given up.
inline std::string in_words(Duration time) {
    return std::to_string(to_milliseconds(time).count()) + " ms";
}
inline Reason cancelled(const Call& call) {
    return {errc::cancelled, "cancelled after " + in_words(Clock::now() - call.info.made)};
}
inline Reason expired(const Call& call) {
    return {errc::timeout, "no answer within " + in_words(call.deadline() - call.info.made)};
}
inline Reason overrun(const Call& call) {
    return {errc::timeout, "its handler ran for longer than its run_timeout of " +
                               in_words(call.info.run_timeout)};
}

// Of a worker whose control channel was closed with the bootstrap still in it.
inline constexpr const char* never_began =
    "it never came to be a worker: does its program begin main with tether::serve_if_worker, and "
    "do programs in between (a shell, sudo, Python's subprocess) pass on its descriptors from 3 on "
    "and TETHER_WORKER?";

// The reason, or what the status alone tells. `began`: it has read what it was to do.
inline Reason verdict(const std::optional<Reason>& reason, const ExitStatus& status, bool ready,
                      bool began = true) {
    if (reason) return *reason;
    if (ready) return {status.signal() ? errc::worker_killed : errc::worker_exited, {}};
    std::string text = "it ended before it was ready to serve";
    if (!began && !status.signal()) {
        text += std::string{"; "} + never_began;
    } else if (status.success()) {
        text +=
            "; does its program begin main with tether::serve_if_worker, and serve this protocol?";
    }
    return {errc::start_failed, text};
}

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

inline std::error_code code_of(errc cause, bool outcome_unknown) noexcept {
    return {static_cast<int>(cause) | (outcome_unknown ? outcome_unknown_bit : 0), category()};
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
