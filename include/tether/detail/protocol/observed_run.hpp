// Why: a trace shows what a request costs where it runs: its decoding, its handler, the encoding of
// its answer. Each of these hooks costs one load where nothing is traced.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/base/trace_event.hpp>
#include <tether/detail/protocol/call_control.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a thread tells of the call that it handles. Not part of the next class: an object whose
// address goes nowhere costs no memory.
class RunOnThisThread {
public:
    enum Step { decoded, handled, encoded };

    // Written at once, because the handler may end the process. The rest is written together.
    [[gnu::cold, gnu::noinline]] static void begins(const Observer* told, std::uint64_t number,
                                                    std::string_view request) noexcept {
        observe(told, [&](const Observer& observer) {
            observer.trace(
                {TraceEvent{TracePhase::begin, "run", "run " + std::string{request}}.with("call",
                                                                                          number)});
        });
        auto& run = own();
        run.request_ = request;
        run.begun_ = Clock::now();
        run.steps_ = {};
    }
    [[gnu::cold, gnu::noinline]] static void has(Step step) noexcept {
        own().steps_[step] = Clock::now();
    }
    [[gnu::cold, gnu::noinline]] static void ends(const Observer* told) noexcept {
        const auto now = Clock::now();
        observe(told, [&](const Observer& observer) {
            const auto& run = own();
            const auto& steps = run.steps_;
            const auto name = "run " + std::string{run.request_};
            const TraceEvent end{TracePhase::end, "run", name, now};
            if (steps[decoded] == TimePoint{}) return observer.trace({end});
            const auto decode = conversion("decode", run.request_, run.begun_, steps[decoded]);
            if (steps[encoded] == TimePoint{}) return observer.trace({decode, end});
            const auto encode = conversion("encode", run.request_, steps[handled], steps[encoded]);
            observer.trace({decode, encode, end});
        });
    }

private:
    static RunOnThisThread& own() noexcept {
        static thread_local RunOnThisThread run;
        return run;
    }
    static TraceEvent conversion(const char* what, std::string_view request, TimePoint begun,
                                 TimePoint end) {
        const auto name = std::string{what} + ' ' + std::string{request};
        return TraceEvent{TracePhase::span, what, name, begun}.until(end);
    }

    std::string_view request_{};
    TimePoint begun_{};
    std::array<TimePoint, 3> steps_{};  // none: not yet
};

// From its making to its end, this thread handles the call.
class ObservedRun {
public:
    ObservedRun(const CallControl& call, std::string_view request) noexcept {
        if (observer_ != nullptr) [[unlikely]] {
            RunOnThisThread::begins(observer_, call.id(), request);
        }
    }
    ObservedRun(const ObservedRun&) = delete;
    ObservedRun& operator=(const ObservedRun&) = delete;
    ~ObservedRun() {
        if (observer_ != nullptr) [[unlikely]]
            RunOnThisThread::ends(observer_);
    }

    void has(RunOnThisThread::Step step) const noexcept {
        if (observer_ != nullptr) [[unlikely]]
            RunOnThisThread::has(step);
    }

private:
    const Observer* const observer_ = own_tracer();
};

// A handler has told how far it is.
inline void observe_progress(const CallControl& call) noexcept {
    const auto* const observer = own_tracer();
    if (observer == nullptr) return;
    observe(observer, [&](const Observer& told) {
        told.trace(
            {TraceEvent{TracePhase::instant, "progress", "progress"}.with("call", call.id())});
    });
}

}  // namespace detail
TETHER_NAMESPACE_END
