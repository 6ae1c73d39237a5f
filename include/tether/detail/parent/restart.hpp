// Why: whether a call may use the present process, waits, starts the next one or fails is a policy.
// As a state machine that is given time and events it is tested without a process, a thread or a
// lock. docs/design.md, "Restart", has the table.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/parent/restart_budget.hpp>
#include <tether/detail/parent/session_end.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The life of one worker across its processes, which are numbered 1, 2, 3, ... (generations). Not
// thread-safe.
class Restart {
public:
    // Of the present generation.
    enum class Process {
        none,         // none yet, or it has ended, or it could not be started
        starting,     // a thread is starting it
        ended_early,  // as `starting`, but its end is known already
        running,      // there is a session
    };

    // What a call does now.
    struct Next {
        enum class What {
            use,    // the present session
            wait,   // until `until`, or until another event
            start,  // the next process
            fail,   // with `error`
        };
        What what{};
        TimePoint until = TimePoint::max();
        std::optional<CallError> error{};

        static Next failure(CallError error) {
            return {What::fail, TimePoint::max(), std::move(error)};
        }
    };

    Restart(std::string name, RestartPolicy policy)
        : name_(std::move(name)), policy_(policy), budget_(policy) {}

    // --- Questions

    // `takes_calls`: so does the present session. `since`: last_start() when the call came. A call
    // shares the failure of each start that was over later. Takes the failure that no call was told
    // of, if that is the answer. `now` only matters with needs_process().
    [[nodiscard]] Next next(TimePoint now, bool takes_calls, std::uint64_t since) {
        if (failed_ > since) return Next::failure(*failure_);
        if (restarting_) return {Next::What::wait};
        if (stopped_) return Next::failure({errc::stopped, about() + " was stopped"});
        if (untold_) return Next::failure(*std::exchange(untold_, std::nullopt));
        if (process_ == Process::running && takes_calls) return {Next::What::use};
        if (process_ != Process::none) return {Next::What::wait};
        if (budget_.spent(now)) return Next::failure(budget_spent());
        if (budget_.next_start() > now) return {Next::What::wait, budget_.next_start()};
        return {Next::What::start};
    }

    // Whether next() has to do with the time, the budget and a start.
    [[nodiscard]] bool needs_process() const noexcept {
        return process_ == Process::none && !stopped_ && !restarting_ && !untold_;
    }

    // The number of the last start that is over, whether or not it failed.
    [[nodiscard]] std::uint64_t last_start() const noexcept {
        return is_starting() ? generation_ - 1 : generation_;
    }

    // What the next call finds, in words; after an end.
    [[nodiscard]] std::string describe_next(TimePoint now) {
        if (restarting_) return "another process follows";
        if (stopped_) return "no other process follows";
        if (budget_.spent(now)) {
            return "no call starts another process, after " + std::to_string(budget_.failures()) +
                   " failures in a row";
        }
        const auto pause = std::max(budget_.next_start(), now) - now;
        return "the next call starts another process" +
               (pause == Duration::zero()
                    ? std::string{}
                    : " in " + std::to_string(to_milliseconds(pause).count()) + " ms");
    }

    [[nodiscard]] Process process() const noexcept { return process_; }
    [[nodiscard]] bool is_starting() const noexcept {
        return process_ == Process::starting || process_ == Process::ended_early;
    }
    [[nodiscard]] bool is_stopped() const noexcept { return stopped_; }
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
    [[nodiscard]] const std::shared_ptr<const ExitReport>& last_exit() const noexcept {
        return last_exit_;
    }
    // Why there was no process the last time, if one failed to start.
    [[nodiscard]] const std::optional<CallError>& last_failure() const noexcept {
        return untold_ ? untold_ : failure_;
    }

    // --- Events

    // Returns the generation. A caller may start a process when next() says so; the owner, when
    // there is none.
    std::uint64_t start_begun() noexcept {
        assert(process_ == Process::none);
        process_ = Process::starting;
        return ++generation_;
    }

    // False: it has ended meanwhile, there is no session to be kept.
    [[nodiscard]] bool started() noexcept {
        assert(is_starting());
        const bool lives = process_ == Process::starting;
        process_ = lives ? Process::running : Process::none;
        return lives;
    }

    void start_failed(TimePoint now, const CallError& error) {
        assert(is_starting());
        process_ = Process::none;
        failed_ = generation_;
        failure_ = error;
        record_failure(now, error.what());
    }

    // No caller waits for a start that failed: the next one is told.
    void keep_for_next_call(CallError error) noexcept { untold_ = std::move(error); }

    // A session has ended. Another generation than the present one is one that ended after its
    // start had failed. Changes nothing when it throws.
    void ended(TimePoint now, const SessionEnd& end) {
        const auto generation = end.report->generation;
        assert(generation != 0 && generation <= generation_);
        if (!end.expected) record_failure(now, to_string(*end.report));
        last_exit_ = end.report;
        if (!end.expected && !end.was_ready && !end.seen) untold_ = end.error;
        if (generation != generation_) return;
        if (is_starting()) process_ = Process::ended_early;
        if (process_ == Process::running) process_ = Process::none;
    }

    // There will be no other process until the next restart. One that is being started is the
    // owner's to end.
    void stop() noexcept { stopped_ = true; }

    // From here on calls wait for the new process.
    void restart_begun() noexcept {
        assert(!restarting_);
        restarting_ = true;
    }

    // It could not be carried out: all is as before.
    void restart_failed() noexcept {
        assert(restarting_);
        restarting_ = false;
    }

    // The last process is gone, unless that hangs; what failed before is forgiven. A stop() that
    // came meanwhile is over, too.
    void restart_done(RestartPolicy policy) {
        assert(restarting_ && !is_starting());
        policy_ = policy;
        budget_ = RestartBudget{policy};
        spent_.reset();
        untold_.reset();
        stopped_ = restarting_ = false;
    }

private:
    void record_failure(TimePoint now, std::string text) {
        budget_.record_failure(now);
        last_error_text_ = std::move(text);
        spent_.reset();
    }

    [[nodiscard]] std::string about() const { return "worker \"" + name_ + "\""; }

    // Very many calls may fail with it, so it is made once.
    [[nodiscard]] const CallError& budget_spent() {
        if (spent_) return *spent_;
        const auto window = std::chrono::duration_cast<std::chrono::seconds>(policy_.window);
        return spent_.emplace(errc::restart_budget_spent,
                              about() + " failed " + std::to_string(budget_.failures()) +
                                  " times within " + std::to_string(window.count()) +
                                  " s and is not started again; the last time: " + last_error_text_,
                              last_exit_);
    }

    std::string name_;
    RestartPolicy policy_;
    RestartBudget budget_;
    Process process_ = Process::none;
    bool stopped_ = false;
    bool restarting_ = false;
    std::uint64_t generation_ = 0;
    std::optional<CallError> untold_;   // a failed start that no call was told of yet
    std::uint64_t failed_ = 0;          // the last generation that could not be started,
    std::optional<CallError> failure_;  // and why
    std::string last_error_text_;       // of the last failure
    std::optional<CallError> spent_;    // since the last failure
    std::shared_ptr<const ExitReport> last_exit_;
};

}  // namespace detail
TETHER_NAMESPACE_END
