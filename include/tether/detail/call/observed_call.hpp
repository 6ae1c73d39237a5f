// Why: a trace shows each call from its encoding to the end of its decoding, beside what its worker
// does for it. Each of these hooks costs a comparison where nothing is told.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/base/trace_event.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/errc.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a thread tells of the call that it sends, once that has its number. Not part of the call,
// which may be over by then, and costs nothing more where nothing is told.
struct CallThatIsSent {
    std::string_view request{};
    TimePoint made{};
    TimePoint encoded{};  // none: it is sent again
    TimePoint begun{};

    static CallThatIsSent& by_this_thread() noexcept {
        static thread_local CallThatIsSent call;
        return call;
    }
};

[[gnu::cold, gnu::noinline]] inline void note_sending(Call& call, const Observer* told) noexcept {
    call.outcome.observer = told;
    const bool again = call.number != 0;
    CallThatIsSent::by_this_thread() = {call.info.request, call.info.made,
                                        again ? TimePoint{} : call.info.encoded, Clock::now()};
}

[[gnu::cold, gnu::noinline]] inline void tell_sent(const Observer* told,
                                                   std::uint64_t number) noexcept {
    observe(told, [&](const Observer& observer) {
        const auto& call = CallThatIsSent::by_this_thread();
        const std::string name{call.request};
        auto begin = TraceEvent{TracePhase::async_begin, "call", "call " + name, call.begun}
                         .of_call(observer.pid(), number)
                         .with("call", number)
                         .with("worker pid", observer.pid());
        if (call.encoded == TimePoint{}) return observer.trace({std::move(begin)});
        auto encode = TraceEvent{TracePhase::span, "encode", "encode " + name, call.made}
                          .until(call.encoded)
                          .with("call", number);
        observer.trace({std::move(encode), std::move(begin)});
    });
}

// This thread is about to send the call to a worker.
inline void observe_sending(Call& call, const Observer* observer) noexcept {
    if (observer != nullptr) [[unlikely]]
        note_sending(call, observer);
}
// It has, and this is the call's number there.
inline void observe_sent(const Observer* observer, std::uint64_t number) noexcept {
    if (observer != nullptr) [[unlikely]]
        tell_sent(observer, number);
}

[[gnu::cold, gnu::noinline]] inline void tell_settled(const Observer& told,
                                                      const Call& call) noexcept {
    observe(&told, [&](const Observer& observer) {
        const auto& outcome = call.outcome;
        const auto* const answer = outcome.is_error_answer ? "the handler's error" : "an answer";
        std::string result = outcome.error ? outcome.error->what() : answer;
        result.resize(std::min(result.size(), result.find('\n')));  // without the worker's stderr
        if (call.number != 0) {
            observer.trace(
                {TraceEvent{TracePhase::async_end, "call", "call " + std::string{call.info.request}}
                     .of_call(observer.pid(), call.number)
                     .with("result", result)});
        }
        if (outcome.error) observer.log("call " + std::to_string(call.number) + ": " + result);
    });
}

// No thread changes it any more.
inline void observe_settled(const Call& call) noexcept {
    const auto* const observer = call.outcome.observer;
    if (observer != nullptr) [[unlikely]]
        tell_settled(*observer, call);
}

// Its caller does not want it any more.
inline void observe_cancel(const Observer* told, std::string_view request) noexcept {
    observe(told, [&](const Observer& observer) {
        observer.trace(
            {TraceEvent{TracePhase::instant, "cancel", "cancel " + std::string{request}}.with(
                "worker pid", observer.pid())});
    });
}

}  // namespace detail
TETHER_NAMESPACE_END
