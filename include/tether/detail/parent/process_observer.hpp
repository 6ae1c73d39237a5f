// Why: a search for a mistake, or for time that was lost, begins with the question what Tether did
// with a worker process and when. Here are the words for it, and what a trace shows of it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/stop_ladder.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/base/trace_event.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>
#include <tether/options.hpp>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Null: none is wanted, or it cannot be written, which stderr is told once.
inline const TraceFile* open_trace(const std::string& path) {
    if (path.empty()) return nullptr;
    try {
        return &TraceFile::of(path);
    } catch (const std::system_error& error) {
        static std::atomic<bool> told{false};
        if (!told.exchange(true)) {
            StderrSink::instance().say(std::string{"tether: nothing is traced: "} + error.what());
        }
        return nullptr;
    }
}

// One worker process, as its parent tells of it.
class ProcessObserver final : public Observer {
public:
    // Null: nothing is told.
    static ProcessObserver* make(const WorkerOptions& options, std::string worker,
                                 std::uint64_t generation) noexcept {
        try {
            const auto* file = open_trace(trace_of(options));
            if (file == nullptr && !is_logging()) return nullptr;
            std::unique_ptr<ProcessObserver> observer{
                new ProcessObserver{file, std::move(worker), generation}};
            observer->keep();
            return observer.release();
        } catch (...) {  // no memory
            return nullptr;
        }
    }

    void trace(Events events) const override {
        if (file_ != nullptr) file_->add(events);
    }
    void log(const std::string& line) const override {
        if (!logs()) return;
        StderrSink::instance().say(log_line(own_process_number(), line));
    }

    // The worker writes to the same trace.
    void add_to(std::map<std::string, std::optional<std::string>>& environment) const {
        if (file_ != nullptr) environment.try_emplace(trace_variable, file_->path());
    }

    void spawned(std::int64_t pid, Transport transport, const std::vector<std::string>& command) {
        pid_ = pid;
        const auto now = Clock::now();
        observe(this, [&](const Observer&) {
            std::string words;
            for (const auto& word : command) words += (words.empty() ? "" : " ") + word;
            const std::string way{to_string(transport)};
            trace({name_of_this_process(),
                   TraceEvent{TracePhase::description, "process", "process_name"}
                       .with("name", "worker " + worker_)
                       .in_process(pid),
                   TraceEvent{TracePhase::span, "spawn", "spawn " + worker_, made_}
                       .until(now)
                       .with("pid", pid)
                       .with("generation", generation_)
                       .with("transport", way)
                       .with("command", words),
                   start(TracePhase::async_begin, made_)});
            log(about() + ": started in " + milliseconds_until(now) + " over " + way +
                ", generation " + std::to_string(generation_) + ": " + words);
        });
    }

    void greeted() const noexcept {
        const auto now = Clock::now();
        observe(this, [&](const Observer&) {
            trace({start(TracePhase::async_end, now)});
            log(about() + ": ready after " + milliseconds_until(now));
        });
    }

    void took(StopLadder::Step step) const noexcept {
        const auto* const what = words_for(step);
        if (what == nullptr) return;
        observe(this, [&](const Observer&) {
            trace({TraceEvent{TracePhase::instant, step_category(step), what}
                       .with("worker", worker_)
                       .with("pid", pid_)});
            log(about() + ": " + what);
        });
    }

    void ended(const ExitReport& report) const noexcept {
        observe(this, [&](const Observer&) {
            const auto how = report.left_behind ? "left behind" : to_string(report.status);
            trace({TraceEvent{TracePhase::instant, "exit", "exit: " + how}
                       .with("status", how)
                       .with("note", report.note)
                       .with("calls in flight", report.calls_in_flight.size())
                       .in_process(pid_)});
            log(about() + ": " + how + " after " + std::to_string(report.uptime.count()) + " ms" +
                (report.note.empty() ? "" : "; " + report.note));
        });
    }

    void failed_to_start(const CallError& error) const noexcept {
        observe(this, [&](const Observer&) {
            trace({TraceEvent{TracePhase::instant, "exit", "start failed: " + worker_}.with(
                "error", error.what())});
            log(error.what());
        });
    }

private:
    ProcessObserver(const TraceFile* file, std::string worker, std::uint64_t generation)
        : Observer(file != nullptr, is_logging()),
          file_(file),
          worker_(std::move(worker)),
          generation_(generation) {}

    // Reachable for ever, so that no leak checker takes it for a mistake.
    void keep() noexcept {
        static std::atomic<const ProcessObserver*> newest{nullptr};
        before_ = newest.exchange(this);
        if (file_ != nullptr) traces_calls.store(true, std::memory_order_relaxed);
    }

    // From the spawn until it is ready.
    [[nodiscard]] TraceEvent start(TracePhase phase, TimePoint when) const {
        return TraceEvent{phase, "start", "start " + worker_, when}.of_call(pid_, 0);
    }

    // A worker has its name from its parent.
    static TraceEvent name_of_this_process() {
        if (own_tracer() != nullptr) return {TracePhase::instant, "spawn", "has workers"};
        std::string program = "parent";
        try {
            program = file_name(own_executable().file);
        } catch (const std::system_error&) {  // it is not known
        }
        return TraceEvent{TracePhase::description, "process", "process_name"}.with("name", program);
    }

    [[nodiscard]] std::string about() const {
        return "worker \"" + worker_ + "\" (pid " + std::to_string(pid_) + ")";
    }
    [[nodiscard]] std::string milliseconds_until(TimePoint now) const {
        return describe_milliseconds(now - made_);
    }

    static const char* words_for(StopLadder::Step step) noexcept {
        switch (step) {
            case StopLadder::Step::ask:
                return "asked to stop";
            case StopLadder::Step::terminate:
                return "sent the signal to terminate";
            case StopLadder::Step::kill:
                return "killed, with all that it has started";
            case StopLadder::Step::cut:
                return "its control channel is cut";
            case StopLadder::Step::give_up:
                return "given up";
            case StopLadder::Step::none:
                break;
        }
        return nullptr;
    }
    static const char* step_category(StopLadder::Step step) noexcept {
        return step == StopLadder::Step::ask ? "stop" : "kill";
    }

    const TraceFile* const file_;
    const std::string worker_;
    const std::uint64_t generation_;
    const TimePoint made_ = Clock::now();
    const ProcessObserver* before_ = nullptr;
};

inline void log_decision(const std::string& worker, const std::string& text) noexcept {
    try {
        StderrSink::instance().say(
            log_line(own_process_number(), "worker \"" + worker + "\": " + text));
    } catch (...) {  // no memory, or held up
    }
}

// Where no process came of it.
inline void observe_failed_start(const WorkerOptions& options, const std::string& worker,
                                 std::uint64_t generation, const CallError& error) noexcept {
    const auto* const observer = ProcessObserver::make(options, worker, generation);
    if (observer != nullptr) observer->failed_to_start(error);
}

}  // namespace detail
TETHER_NAMESPACE_END
