// Why: what a worker process tells of itself: where TETHER_TRACE and TETHER_LOG ask for it, to the
// same trace as its parent, and to its own stderr.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/base/trace_event.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/wire/bootstrap.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class OwnObserver final : public Observer {
public:
    // Once, in a worker; before that nothing is told.
    static void begin(const Bootstrap& bootstrap) noexcept {
        try {
            const auto* file = open_trace();
            if (file == nullptr && !is_logging()) return;
            static const OwnObserver& own = *new OwnObserver{file};
            own_observer.store(&own);
            own.log("worker \"" + bootstrap.worker + "\" begins, for process " +
                    std::to_string(bootstrap.parent_pid) + ", generation " +
                    std::to_string(bootstrap.generation));
        } catch (...) {  // no memory
        }
    }

    void trace(Events events) const override {
        if (file_ != nullptr) file_->add(events);
    }
    void log(const std::string& line) const override {
        if (!logs()) return;
        GivenStderr::instance().write(log_line(own_process_number(), line) + '\n');
    }

    // Nothing is left half-written by a parent that was killed. Allocates nothing.
    static void mend_trace() noexcept {
        const auto* const own = static_cast<const OwnObserver*>(own_observer.load());
        if (own != nullptr && own->file_ != nullptr) own->file_->mend();
    }

private:
    explicit OwnObserver(const TraceFile* file)
        : Observer(file != nullptr, is_logging()), file_(file) {
        pid_ = static_cast<std::int64_t>(own_process_number());
    }

    // The parent has said why, where it cannot be written.
    static const TraceFile* open_trace() {
        const auto path = trace_setting();
        if (path.empty()) return nullptr;
        try {
            return &TraceFile::of(path);
        } catch (const std::system_error&) {
            return nullptr;
        }
    }

    const TraceFile* const file_;
};

// A step of the worker's start, from its making to its end.
class ObservedStep {
public:
    explicit ObservedStep(const char* name) noexcept : name_(name) {}
    ObservedStep(const ObservedStep&) = delete;
    ObservedStep& operator=(const ObservedStep&) = delete;
    ~ObservedStep() {
        const auto now = Clock::now();
        observe(own_tracer(), [&](const Observer& observer) {
            observer.trace({TraceEvent{TracePhase::span, "start", name_, begun_}.until(now)});
            observer.log(std::string{name_} + ": " + describe_milliseconds(now - begun_));
        });
    }

private:
    const char* const name_;
    const TimePoint begun_ = Clock::now();
};

// It may take a moment until it shows that the parent is gone.
template <class IsOrphaned>
void observe_leaving(int exit_code, IsOrphaned is_orphaned) noexcept {
    observe(own_tracer(), [&](const Observer& observer) {
        const bool orphaned = is_orphaned();
        observer.trace({TraceEvent{TracePhase::instant, "exit", "leaves"}
                            .with("exit code", exit_code)
                            .with("parent", orphaned ? "gone" : "there")});
        observer.log("leaves with exit code " + std::to_string(exit_code) +
                     (orphaned ? ", because its parent is gone" : ""));
    });
}

// The request `number`, which was read at `read`, begins now. One that did not wait is not told.
inline void observe_queued(std::uint64_t number, TimePoint read) noexcept {
    const auto now = Clock::now();
    if (now - read < std::chrono::microseconds{10}) return;
    observe(own_tracer(), [&](const Observer& observer) {
        const auto event = [&](TracePhase phase, TimePoint when) {
            return TraceEvent{phase, "queue", "queue", when}
                .of_call(observer.pid(), number)
                .with("call", number);
        };
        observer.trace({event(TracePhase::async_begin, read), event(TracePhase::async_end, now)});
    });
}

}  // namespace detail
TETHER_NAMESPACE_END
