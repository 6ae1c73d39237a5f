// Why: why a call or its worker was given up, in codes and in words, so that each cause keeps a
// text of its own.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/error_category.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/errc.hpp>
#include <tether/error.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <system_error>

TETHER_NAMESPACE_BEGIN
namespace detail {

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
inline Reason silent(Duration waited) {
    return {errc::timeout, "no item within " + in_words(waited)};
}
inline Reason expired(const Call& call) {
    return {errc::timeout, "no answer within " + in_words(call.deadline() - call.info.made)};
}
inline Reason overrun(const Call& call) {
    return {errc::timeout, "its handler ran for longer than its run_timeout of " +
                               in_words(call.info.run_timeout)};
}

// A call that no worker was sent.
inline CallError refusal(const Call& call, const std::string& worker, errc cause,
                         const std::string& text) {
    return {cause, describe_call(call.info.request, worker) + ": " + text};
}
inline CallError on_background_thread(const std::string& worker) {
    return {errc::would_deadlock,
            "a blocking call to worker \"" + worker +
                "\" on Tether's background thread, which has to answer it; use async_call there"};
}
inline CallError in_forked_copy(const std::string& worker) {
    return {errc::forked,
            "worker \"" + worker + "\" belongs to the process that this one was forked from"};
}

inline std::error_code code_of(errc cause, bool outcome_unknown) noexcept {
    return {static_cast<int>(cause) | (outcome_unknown ? outcome_unknown_bit : 0), category()};
}

}  // namespace detail
TETHER_NAMESPACE_END
