// Why: TETHER_TRACE and TETHER_LOG show what Tether does by itself. Most of it has nothing to do
// with files or stderr; it tells an observer, of which there is none unless one of them is asked
// for. docs/tracing.md says what is told.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/printable.hpp>
#include <tether/detail/base/trace_event.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Both are inherited by workers and by their own workers.
inline constexpr const char* trace_variable = "TETHER_TRACE";
inline constexpr const char* log_variable = "TETHER_LOG";

// Empty: no trace.
inline std::string trace_setting() {
    const char* path = std::getenv(trace_variable);
    return path != nullptr ? path : "";
}
inline std::string trace_of(const WorkerOptions& options) {
    return options.trace.empty() ? trace_setting() : options.trace;
}

// The same for as long as the process lives.
inline bool is_logging() noexcept {
    static const bool on = [] {
        const char* text = std::getenv(log_variable);
        return text != nullptr && std::string_view{text} == "debug";
    }();
    return on;
}

// One line, whatever is in the text.
inline std::string log_line(std::uint64_t process, std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return "tether[" + std::to_string(process) + "]: " + printable(std::move(text));
}

// As 1.234 ms.
inline std::string describe_milliseconds(Duration time) {
    const auto micro = to_microseconds(time);
    const auto rest = std::to_string(micro % 1000);
    return std::to_string(micro / 1000) + '.' + std::string(3 - rest.size(), '0') + rest + " ms";
}

// Is told what happens in one worker process, or to it. Never destroyed, so that any thread may
// tell it something at any time.
class Observer {
public:
    using Events = std::initializer_list<TraceEvent>;

    Observer(const Observer&) = delete;
    Observer& operator=(const Observer&) = delete;

    // The worker's process, once there is one.
    [[nodiscard]] std::int64_t pid() const noexcept { return pid_; }
    [[nodiscard]] bool traces() const noexcept { return traces_; }
    [[nodiscard]] bool logs() const noexcept { return logs_; }

    // Both do nothing where that is not wanted. The events are written together.
    virtual void trace(Events events) const = 0;
    virtual void log(const std::string& line) const = 0;

protected:
    Observer(bool traces, bool logs) noexcept : traces_(traces), logs_(logs) {}
    ~Observer() = default;

    std::int64_t pid_ = 0;

private:
    const bool traces_;
    const bool logs_;
};

// What is told must not change what it is about: where there is no memory for it, it is lost.
template <class Tell>
void observe(const Observer* observer, Tell tell) noexcept {
    if (observer == nullptr) return;
    try {
        tell(*observer);
    } catch (...) {
    }
}

// Of this process as a worker. Null: it is none, or nothing is to be told.
inline constinit std::atomic<const Observer*> own_observer{nullptr};

// What a hook costs when nothing is told.
inline const Observer* own_tracer() noexcept {
    return own_observer.load(std::memory_order_relaxed);
}

[[gnu::cold, gnu::noinline]] inline void tell_conversion(const Observer* told, const char* what,
                                                         std::string_view request,
                                                         TimePoint begun) noexcept {
    const auto now = Clock::now();
    observe(told, [&](const Observer& observer) {
        const auto name = std::string{what} + ' ' + std::string{request};
        observer.trace({TraceEvent{TracePhase::span, what, name, begun}.until(now)});
    });
}

// From its making to its end: a message is encoded or decoded.
class ObservedConversion {
public:
    ObservedConversion(const Observer* observer, const char* what,
                       std::string_view request) noexcept
        : observer_(observer), what_(what), request_(request) {
        if (observer_ != nullptr) [[unlikely]]
            begun_ = Clock::now();
    }
    ObservedConversion(const ObservedConversion&) = delete;
    ObservedConversion& operator=(const ObservedConversion&) = delete;
    ~ObservedConversion() {
        if (observer_ != nullptr) [[unlikely]]
            tell_conversion(observer_, what_, request_, begun_);
    }

private:
    const Observer* const observer_;
    const char* const what_;
    const std::string_view request_;
    TimePoint begun_{};
};

// Whether this process has traced a worker of its own.
inline constinit std::atomic<bool> traces_calls{false};

// For a span whose observer is not known yet.
inline void note_time(TimePoint& time) noexcept {
    if (traces_calls.load(std::memory_order_relaxed)) [[unlikely]]
        time = Clock::now();
}

}  // namespace detail
TETHER_NAMESPACE_END
