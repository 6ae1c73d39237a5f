// Why: what a Worker is when its process comes and goes: one session at a time, a new one when a
// call needs it and the restart policy allows, and calls that outlive a session where that is
// right.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/stop_ladder.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/os/watches.hpp>
#include <tether/detail/parent/restart_budget.hpp>
#include <tether/detail/parent/session_background.hpp>
#include <tether/detail/parent/session_health.hpp>
#include <tether/detail/transport/worker_mark.hpp>
#include <tether/options.hpp>
#include <tether/worker_state.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class Supervisor final : public CallCarrier,
                         public Bereaved,
                         public std::enable_shared_from_this<Supervisor> {
    using Lock = std::unique_lock<std::mutex>;

public:
    Supervisor(WorkerOptions options, ProtocolId protocol)
        : options_(std::move(options)),
          call_timeout_(options_.call_timeout),
          max_message_bytes_(options_.max_message_bytes),
          name_(worker_name(options_)),
          protocol_(std::move(protocol)),
          budget_(options_.restart),
          runtime_(Runtime::usable()),
          resume_timer_(runtime_.context()) {}

    // Starts the first process. A failure is kept for the first call. Not yet in a process that was
    // itself started as a worker and has not said so: it must not start itself for ever.
    void begin() noexcept {
        const Entered entered;
        Lock lock{mutex_};
        begin(lock);
    }

    // At the destructor of a Worker, which may be part of the exit of the program. False: another
    // thread is held up inside of this, which must not be destroyed.
    bool retire() noexcept {
        const BoundedLocks bounded{std::chrono::milliseconds{500}};
        try {
            stop();
            const auto lock = acquire(mutex_);
            return waiting_ == 0 && !bounded.spent();
        } catch (const HeldUp&) {
            return false;
        } catch (...) {  // no memory: the process ends with this one at the latest
            return true;
        }
    }

    // Never destroys it. In a signal handler that has interrupted Tether, and ends the program,
    // nothing may be locked, allocated or freed. `hold` is kept with it.
    static void leave(std::shared_ptr<Supervisor> self, std::shared_ptr<void> hold) noexcept {
        static std::atomic<Supervisor*> last{nullptr};
        auto* const left = self.get();
        left->left_before_ = last.exchange(left);
        left->left_hold_ = std::move(hold);
        left->left_self_ = std::move(self);
    }

    // Before anything that locks: the lock may be held by a thread that does not exist here.
    void check_not_forked() const {
        if (!forked()) return;
        throw CallError(errc::forked, "worker \"" + name_ +
                                          "\" belongs to the process that this one was forked "
                                          "from");
    }

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    // True in a forked copy of the process that made this.
    [[nodiscard]] bool forked() const noexcept {
        return runtime_.epoch() != Runtime::fork_epoch().load();
    }

    [[nodiscard]] CallLimits call_limits() const noexcept {
        return {call_timeout_.load(), max_message_bytes_.load()};
    }

    // Carries out a call on this thread. On return it is settled; throws where it was never sent.
    void run(BlockingCall& call, const std::stop_token& token) {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        if (runtime_.on_thread()) {
            throw CallError(errc::would_deadlock,
                            "a blocking call to worker \"" + name_ +
                                "\" on Tether's background thread, which has to answer it; use "
                                "async_call there");
        }
        if (!token.stop_possible()) return run(call);
        call.interruptible = true;
        Cancellable cancellable{call};
        const std::stop_callback on_stop{token, [&] { cancel(cancellable); }};
        run(call, &cancellable);
    }

    // --- CallCarrier

    void launch(std::shared_ptr<AsyncCall> call) noexcept override {
        const Entered entered;
        try {
            if (entered.interrupted()) throw_interrupted();
            check_not_forked();
            call->settled = false;
            call->outcome.reset();
            launch_or_throw(call);
        } catch (...) {
            call->fail(current_call_error(describe_call(call->info.request, name_)));
        }
    }

    void cancel(AsyncCall& call, bool only_unsent) override {
        const Entered entered;
        if (forked() || entered.interrupted())
            return;  // it is the original's, or locks may be ours
        const auto ticket = call.ticket();
        if (ticket.session != nullptr)
            ticket.session->connection().cancel(ticket.number, only_unsent);
        if (const auto parked = unpark(call)) {
            refuse(*parked, errc::cancelled, "cancelled before it could be sent");
        }
    }

    // --- Ending

    std::optional<ExitStatus> stop() {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        return end(StopLadder::Step::ask, true);
    }
    void kill() {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        end(StopLadder::Step::kill, false);
    }

    void restart(std::optional<WorkerOptions> options) {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        const std::scoped_lock one_at_a_time{restart_mutex_};
        {
            const Lock lock{mutex_};
            ++restarting_;  // calls wait for the new process
        }
        try {
            end(StopLadder::Step::ask, false);
        } catch (...) {  // no memory
            const Lock lock{mutex_};
            --restarting_;
            notify();
            throw;
        }
        Lock lock{mutex_};
        if (options) options_ = std::move(*options);
        options_.name = name_;
        call_timeout_ = options_.call_timeout;
        max_message_bytes_ = options_.max_message_bytes;
        budget_ = RestartBudget{options_.restart};
        spent_.reset();
        failed_start_.reset();
        stopped_ = false;
        --restarting_;
        begin(lock);
        notify();
    }

    // --- Looking

    [[nodiscard]] WorkerState state() const {
        const Entered entered;
        const auto lock = acquire(mutex_);
        if (stopped_) return WorkerState::stopped;
        if (session_ == nullptr) return starting_ ? WorkerState::starting : WorkerState::ended;
        return session_->connection().ready() ? WorkerState::ready : WorkerState::starting;
    }
    [[nodiscard]] std::int64_t pid() const {
        const Entered entered;
        const auto lock = acquire(mutex_);
        return session_ == nullptr ? 0 : session_->pid();
    }
    [[nodiscard]] std::uint64_t generation() const {
        const Entered entered;
        const auto lock = acquire(mutex_);
        return generation_;
    }
    [[nodiscard]] std::shared_ptr<const ExitReport> last_exit() const {
        const Entered entered;
        const auto lock = acquire(mutex_);
        return last_exit_;
    }

private:
    // A blocking call that a stop token may end, wherever it waits.
    struct Cancellable {
        BlockingCall& call;
        std::shared_ptr<Session> session{};  // where it was sent to
        bool cancelled = false;
    };

    // --- Blocking calls

    void run(BlockingCall& call, Cancellable* cancellable = nullptr) {
        bool sent_again = false;
        for (;;) {
            const auto session = session_for(call, cancellable);
            if (session->connection().submit(call) == 0) continue;
            session->connection().wait(call);
            if (call.outcome.logged != nullptr) {
                call.outcome.logged->pass_on_output(call.deadline());
            }
            if (!call.outcome.goes_on(sent_again)) return;
            call.settled = false;
            call.outcome.reset();
        }
    }

    // Waits for a session that takes calls, and starts one where that is due.
    std::shared_ptr<Session> session_for(const BlockingCall& call, Cancellable* cancellable) {
        Lock lock{mutex_};
        const auto before = last_start();
        for (;;) {
            if (failed_generation_ > before) throw CallError{*shared_failure_};
            if (cancellable != nullptr && cancellable->cancelled) {
                throw refusal(call, errc::cancelled, "cancelled before it could be sent");
            }
            const auto wake = advance(lock);
            if (wake == TimePoint::min()) {
                if (cancellable != nullptr) cancellable->session = session_;
                return session_;
            }
            if (Clock::now() >= call.deadline()) {
                throw refusal(call, errc::timeout, "the worker could not be started in time");
            }
            const auto until = std::min(wake, call.deadline());
            ++waiting_;
            if (until == TimePoint::max()) {
                changed_.wait(lock);
            } else {
                changed_.wait_until(lock, until);
            }
            --waiting_;
        }
    }

    void cancel(Cancellable& cancellable) {
        std::shared_ptr<Session> session;
        {
            const Lock lock{mutex_};
            cancellable.cancelled = true;
            session = cancellable.session;
            changed_.notify_all();
        }
        if (session != nullptr) session->connection().cancel(cancellable.call);
    }

    // --- Async calls

    void launch_or_throw(const std::shared_ptr<AsyncCall>& call) {
        for (;;) {
            std::shared_ptr<Session> session;
            {
                Lock lock{mutex_};
                if (call->cancel_requested) {
                    throw refusal(*call, errc::cancelled, "cancelled before it could be sent");
                }
                const auto wake = advance(lock);
                if (wake != TimePoint::min()) return park(call, wake);
                session = session_;
            }
            call->hold(call);
            auto& connection = session->connection();
            const auto number = connection.submit(*call);
            if (number == 0) continue;
            if (!call->may_be_cancelled()) return;
            call->set_ticket({session->generation(), number, session});
            if (call->cancel_requested) connection.cancel(number, false);
            return;
        }
    }

    // Keeps a call until a process may be started, or its deadline.
    void park(const std::shared_ptr<AsyncCall>& call, TimePoint wake) {
        if (Clock::now() >= call->deadline()) {
            throw refusal(*call, errc::timeout, "the worker could not be started in time");
        }
        parked_.push_back(call);
        resume_at(std::min(wake, call->deadline()));
    }

    std::shared_ptr<AsyncCall> unpark(const AsyncCall& call) {
        const Lock lock{mutex_};
        const auto found = std::find_if(parked_.begin(), parked_.end(),
                                        [&](const auto& parked) { return parked.get() == &call; });
        if (found == parked_.end()) return nullptr;
        auto result = std::move(*found);
        parked_.erase(found);
        return result;
    }

    void resume_at(TimePoint when) {
        if (when >= resume_when_) return;
        resume_when_ = when;
        if (!runtime_.has_descriptors()) return on_runtime_lost();
        if (!told_of_loss_ && !runtime_.tell_of_loss(weak_from_this())) return on_runtime_lost();
        told_of_loss_ = true;
        static_cast<void>(Watches::at(resume_timer_, when, shared_from_this(),
                                      [](Supervisor& supervisor) { supervisor.resume(); }));
    }

    // Its timer will not come. Not here: to launch may start a process.
    void on_runtime_lost() override {
        runtime_.post([self = shared_from_this()] { self->resume(); });
    }

    // On the background thread: launches what was parked; it may be parked again.
    void resume() {
        std::vector<std::shared_ptr<AsyncCall>> calls;
        std::uint64_t before = 0;
        {
            const Lock lock{mutex_};
            resume_when_ = TimePoint::max();
            calls.swap(parked_);
            before = last_start();
        }
        for (auto& call : calls) {
            if (const auto failure = failure_since(before)) {
                call->fail(*failure);
            } else {
                launch(std::move(call));
            }
        }
    }

    // The number of the last start that is over. Whoever waits fails with any later one that fails.
    [[nodiscard]] std::uint64_t last_start() const noexcept {
        return starting_ ? generation_ - 1 : generation_;
    }

    std::optional<CallError> failure_since(std::uint64_t before) const {
        const Lock lock{mutex_};
        return failed_generation_ > before ? shared_failure_ : std::nullopt;
    }

    void refuse(AsyncCall& call, errc cause, const std::string& text) {
        call.fail(refusal(call, cause, text));
    }

    // --- Sessions

    // Brings the worker closer to taking calls. Returns the far past when session_ takes them now,
    // else when to try again at the latest; changed_ tells of more. Throws when it never will.
    TimePoint advance(Lock& lock) {
        if (!begun_) begin_late();
        if (restarting_ != 0) return TimePoint::max();
        if (stopped_) throw CallError(errc::stopped, "worker \"" + name_ + "\" was stopped");
        if (failed_start_) throw CallError{*std::exchange(failed_start_, std::nullopt)};
        if (session_ != nullptr) {
            return session_->connection().takes_calls() ? TimePoint::min() : TimePoint::max();
        }
        if (starting_) return TimePoint::max();
        check_descriptors();
        const auto now = Clock::now();
        if (budget_.spent(now)) throw CallError{budget_spent()};
        if (budget_.next_start() > now) return budget_.next_start();
        start(lock);
        return session_ != nullptr ? TimePoint::min() : now;
    }

    void check_descriptors() const {
        runtime_.look_after_descriptors();
        if (runtime_.has_descriptors()) return;
        throw CallError(errc::stopped, "worker \"" + name_ + "\": " + descriptors_closed);
    }

    void begin(Lock& lock) noexcept {
        if (session_ != nullptr || is_unclaimed_worker()) return;
        begun_ = true;
        try {
            check_descriptors();
            runtime_.started_executor();
            start(lock);
        } catch (...) {
            failed_start_ = current_call_error("worker \"" + name_ + "\" could not be started");
        }
    }

    // A global worker of a program that is a worker now: once that is settled, it may be used.
    void begin_late() {
        if (is_unclaimed_worker()) throw_missing_hook();
        runtime_.started_executor();
        begun_ = true;
    }

    void start(Lock& lock) {
        starting_ = true;
        const auto generation = ++generation_;
        const auto options = options_;
        std::shared_ptr<Session> session;
        std::optional<CallError> error;
        lock.unlock();
        try {
            session = Session::start(options, protocol_, generation, surroundings_,
                                     [weak = weak_from_this()](const SessionEnd& end) {
                                         if (const auto self = weak.lock()) self->on_end(end);
                                     });
        } catch (...) {
            error = current_call_error("worker \"" + name_ + "\" could not be started");
        }
        lock.lock();
        starting_ = false;
        if (session != nullptr && ended_generation_ < generation) session_ = std::move(session);
        if (error) {
            record_failure();
            failed_generation_ = generation;
            shared_failure_ = error;
            last_error_text_ = error->what();
        }
        notify();
        if (error) throw CallError{*error};
    }

    // What may throw comes first: it is called again then.
    void on_end(const SessionEnd& end) {
        auto text = end.expected ? std::string{} : to_string(*end.report);
        const auto lock = acquire(mutex_);
        if (!end.expected) {
            record_failure();
            last_error_text_ = std::move(text);
        }
        last_exit_ = end.report;
        ended_generation_ = std::max(ended_generation_, end.report->generation);
        // Nobody was told of a start that failed: the next call is.
        if (!end.expected && !end.was_ready && !end.seen) failed_start_ = end.error;
        if (session_ != nullptr && session_->generation() == end.report->generation) {
            session_ = nullptr;
        }
        notify();
    }

    void record_failure() {
        budget_.record_failure(Clock::now());
        spent_.reset();
    }

    void notify() {
        changed_.notify_all();
        if (!parked_.empty()) resume_at(Clock::now());
    }

    std::optional<ExitStatus> end(StopLadder::Step first, bool for_good) {
        std::shared_ptr<Session> session;
        std::vector<std::shared_ptr<AsyncCall>> refused;
        {
            auto lock = acquire(mutex_);
            wait_until_changed(changed_, lock, [&] { return !starting_; });
            if (for_good) stopped_ = true;
            if (for_good) refused.swap(parked_);
            changed_.notify_all();
            session = session_;
        }
        if (session != nullptr && for_good) session->end_for_good();
        if (session != nullptr && first == StopLadder::Step::kill) session->kill_by_owner();
        for (const auto& call : refused) refuse(*call, errc::stopped, "the worker was stopped");
        if (session != nullptr) {
            const bool alone = runtime_.on_thread() || runtime_.exiting();
            const std::shared_ptr<Endable> endable = session;
            // After the exit hook only what that had to give up is left.
            const auto limit = runtime_.exiting() ? Clock::now() : TimePoint::max();
            end_all({&endable, 1}, first, limit, alone);
        }
        const auto report = last_exit();
        return report == nullptr ? std::nullopt : std::optional{report->status};
    }

    // --- Errors

    [[noreturn]] void throw_interrupted() const {
        throw CallError(
            errc::would_deadlock,
            "worker \"" + name_ + "\" was used in a signal handler that had interrupted Tether");
    }

    [[nodiscard]] CallError refusal(const Call& call, errc cause, const std::string& text) const {
        return {cause, "call \"" + std::string{call.info.request} + "\" to worker \"" + name_ +
                           "\": " + text};
    }

    // Very many calls may wait for it.
    [[nodiscard]] const CallError& budget_spent() {
        if (spent_) return *spent_;
        return spent_.emplace(errc::restart_budget_spent,
                              "worker \"" + name_ + "\" failed " +
                                  std::to_string(budget_.failures()) + " times within " +
                                  std::to_string(std::chrono::duration_cast<std::chrono::seconds>(
                                                     options_.restart.window)
                                                     .count()) +
                                  " s and is not started again; the last time: " + last_error_text_,
                              last_exit_);
    }

    std::mutex restart_mutex_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    WorkerOptions options_;
    std::atomic<Duration> call_timeout_;  // of the options, as the next
    std::atomic<std::uint64_t> max_message_bytes_;
    const std::string name_;
    const ProtocolId protocol_;
    const Surroundings surroundings_ = Surroundings::of_this_thread();  // for each process
    RestartBudget budget_;
    Runtime& runtime_;
    std::shared_ptr<Session> session_;
    bool begun_ = false;
    bool starting_ = false;
    bool stopped_ = false;
    int waiting_ = 0;  // threads, for changed_
    int restarting_ = 0;
    std::uint64_t generation_ = 0;
    std::uint64_t ended_generation_ = 0;       // the last that ended
    std::optional<CallError> failed_start_;    // of a start that nobody was told of yet
    std::optional<CallError> shared_failure_;  // for all who waited for the start of
    std::uint64_t failed_generation_ = 0;      // this generation
    std::string last_error_text_;
    std::optional<CallError> spent_;  // since the last failure
    std::shared_ptr<const ExitReport> last_exit_;
    std::vector<std::shared_ptr<AsyncCall>> parked_;
    std::shared_ptr<Supervisor> left_self_;  // of one that is destroyed no more; see leave()
    std::shared_ptr<void> left_hold_;
    Supervisor* left_before_ = nullptr;
    WatchTimer resume_timer_;
    TimePoint resume_when_ = TimePoint::max();
    bool told_of_loss_ = false;  // on_runtime_lost() is called then
};

}  // namespace detail
TETHER_NAMESPACE_END
