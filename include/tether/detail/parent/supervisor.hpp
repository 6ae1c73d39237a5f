// Why: what a Worker is while its processes come and go. The decisions are those of Restart; here
// are the threads and calls that wait for them, and the present session.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/stop_ladder.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/debug_mode.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/options_check.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/end_wait.hpp>
#include <tether/detail/call/observed_call.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/os/watches.hpp>
#include <tether/detail/parent/end_waits.hpp>
#include <tether/detail/parent/restart.hpp>
#include <tether/detail/parent/session_background.hpp>
#include <tether/detail/parent/session_ending.hpp>
#include <tether/detail/parent/session_health.hpp>
#include <tether/detail/parent/session_start.hpp>
#include <tether/detail/transport/worker_mark.hpp>
#include <tether/options.hpp>
#include <tether/worker_state.hpp>

#include <algorithm>
#include <atomic>
#include <cassert>
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

class Supervisor final : public ProcessCarrier,
                         public Bereaved,
                         public std::enable_shared_from_this<Supervisor> {
    using Lock = std::unique_lock<std::mutex>;
    using Next = Restart::Next;

public:
    Supervisor(WorkerOptions options, ProtocolId protocol, std::shared_ptr<Hub> hub)
        : ProcessCarrier(std::move(hub)),
          call_timeout_(options.call_timeout),
          max_message_bytes_(options.max_message_bytes),
          name_(worker_name(options)),
          protocol_(std::move(protocol)),
          runtime_(Runtime::usable()),
          restart_(name_, options.restart),
          options_(std::make_shared<const WorkerOptions>(std::move(options))),
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
    void check_not_forked() const override {
        if (forked()) throw in_forked_copy(name_);
    }

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    // True in a forked copy of the process that made this.
    [[nodiscard]] bool forked() const noexcept override {
        return runtime_.epoch() != Runtime::fork_epoch().load();
    }

    [[nodiscard]] CallLimits call_limits() const noexcept override {
        return {call_timeout_.load(), max_message_bytes_.load()};
    }
    [[nodiscard]] unsigned calls_at_once() const override {
        const auto lock = acquire(mutex_);
        return session_ == nullptr ? options_->concurrency : session_->calls_at_once();
    }

    // Carries out a call on this thread. On return it is settled; throws where it was never sent.
    void run(BlockingCall& call, const std::stop_token& token) override {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        if (runtime_.on_thread()) {
            throw on_background_thread(name_);
        }
        if (!token.stop_possible()) return run(call);
        call.interruptible = true;
        Cancellable cancellable{call};
        const std::stop_callback on_stop{token, [&] { cancel(cancellable); }};
        run(call, &cancellable);
    }

    void post(BlockingCall& call) override {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        while (!session_for(call, nullptr)->connection().post(call)) {
        }
    }

    // --- CallCarrier

    void check_may_block() const override {
        check_not_forked();
        if (is_interrupted()) throw_interrupted();
        if (runtime_.on_thread()) throw on_background_thread(name_);
    }

    void launch(std::shared_ptr<AsyncCall> call) noexcept override {
        launch(std::move(call), std::nullopt);
    }

    void cancel(AsyncCall& call, bool only_unsent) override {
        const Entered entered;
        if (forked() || entered.interrupted())
            return;  // it is the original's, or locks may be ours
        const auto ticket = call.ticket();
        if (ticket.connection != nullptr) {
            observe_cancel(ticket.connection->observer(), call.info.request);
            ticket.connection->cancel(ticket.number, only_unsent);
        }
        if (const auto parked = unpark(call)) {
            refuse(*parked, errc::cancelled, "cancelled before it could be sent");
        }
        if (const auto wait = take_wait(call, only_unsent)) {
            wait->refuse(errc::cancelled, "cancelled");
        }
    }

    // --- Ending

    std::optional<ExitStatus> stop() override {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        return end(StopLadder::Step::ask, true);
    }
    // The same for many, side by side.
    static void stop_all(std::span<const std::shared_ptr<Supervisor>> supervisors) {
        if (supervisors.empty()) return;
        const Entered entered;
        if (entered.interrupted()) supervisors.front()->throw_interrupted();
        for (const auto& supervisor : supervisors) supervisor->stop_for_good();
        std::vector<std::shared_ptr<Endable>> processes;
        for (const auto& supervisor : supervisors) {
            if (auto session = supervisor->present_session()) {
                session->end_for_good();
                processes.push_back(std::move(session));
            }
        }
        const auto& runtime = supervisors.front()->runtime_;
        const bool alone = runtime.on_thread() || runtime.exiting();
        const auto limit = runtime.exiting() ? Clock::now() : TimePoint::max();
        end_all(processes, StopLadder::Step::ask, limit, alone);
    }
    void kill() override {
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        end(StopLadder::Step::kill, false);
    }

    void restart(std::optional<WorkerOptions> options) override {
        if (options) check_options(*options);
        const Entered entered;
        if (entered.interrupted()) throw_interrupted();
        std::shared_ptr<const WorkerOptions> next;
        if (options) {
            options->name = name_;
            next = std::make_shared<const WorkerOptions>(std::move(*options));
        }
        const std::scoped_lock one_at_a_time{restart_mutex_};
        {
            const Lock lock{mutex_};
            restart_.restart_begun();
        }
        try {
            end(StopLadder::Step::ask, false);
        } catch (...) {  // no memory
            const Lock lock{mutex_};
            restart_.restart_failed();
            notify();
            throw;
        }
        Lock lock{mutex_};
        // The last ones hold a callback of the host's, and go once the lock is released.
        if (next != nullptr) options_.swap(next);
        call_timeout_ = options_->call_timeout;
        max_message_bytes_ = options_->max_message_bytes;
        restart_.restart_done(options_->restart);
        begin(lock);
        notify();
    }

    // What is thrown here is the handler's.
    void await_end(std::shared_ptr<EndWait> wait) noexcept override {
        const Entered entered;
        try {
            if (entered.interrupted()) throw_interrupted();
            runtime_.started_executor();
            begin_wait(wait);
            if (wait->cancel_requested) cancel(*wait, false);
        } catch (...) {
            wait->fail(current_call_error(describe_call(wait->info.request, name_)));
        }
    }

    // --- Looking

    [[nodiscard]] WorkerState state() const override {
        const Entered entered;
        const auto lock = acquire(mutex_);
        if (restart_.is_stopped()) return WorkerState::stopped;
        if (session_ == nullptr) {
            return restart_.is_starting() ? WorkerState::starting : WorkerState::ended;
        }
        return session_->connection().ready() ? WorkerState::ready : WorkerState::starting;
    }
    [[nodiscard]] std::int64_t pid() const override {
        const Entered entered;
        const auto lock = acquire(mutex_);
        return session_ == nullptr ? 0 : session_->pid();
    }
    [[nodiscard]] std::uint64_t generation() const override {
        const Entered entered;
        const auto lock = acquire(mutex_);
        return restart_.generation();
    }
    [[nodiscard]] std::shared_ptr<const ExitReport> last_exit() const override {
        const Entered entered;
        const auto lock = acquire(mutex_);
        return restart_.last_exit();
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
            observe_sending(call, session->observer());
            const auto number = session->connection().submit(call);
            if (number == 0) continue;
            observe_sent(session->observer(), number);
            session->connection().wait_for_answer(call);
            observe_settled(call);
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
        const auto since = restart_.last_start();
        for (;;) {
            if (cancellable != nullptr && cancellable->cancelled) {
                throw refusal(call, name_, errc::cancelled, "cancelled before it could be sent");
            }
            const auto next = advance(lock, since);
            if (next.what == Next::What::use) {
                if (cancellable != nullptr) cancellable->session = session_;
                return session_;
            }
            if (Clock::now() >= call.deadline()) {
                throw refusal(call, name_, errc::timeout,
                              "the worker could not be started in time");
            }
            const auto until = std::min(next.until, call.deadline());
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
        if (session == nullptr) return;
        observe_cancel(session->observer(), cancellable.call.info.request);
        session->connection().cancel(cancellable.call);
    }

    // --- Async calls

    // `since`: it shares the failure of each start that was over later; none: it has just come.
    void launch(std::shared_ptr<AsyncCall> call, std::optional<std::uint64_t> since) noexcept {
        const Entered entered;
        try {
            if (entered.interrupted()) throw_interrupted();
            check_not_forked();
            call->settled = false;
            call->outcome.reset();
            launch_or_throw(call, since);
        } catch (...) {
            call->fail(current_call_error(describe_call(call->info.request, name_)));
        }
    }

    void launch_or_throw(const std::shared_ptr<AsyncCall>& call,
                         std::optional<std::uint64_t> since) {
        for (;; since.reset()) {
            std::shared_ptr<Session> session;
            {
                Lock lock{mutex_};
                if (call->cancel_requested) {
                    throw refusal(*call, name_, errc::cancelled,
                                  "cancelled before it could be sent");
                }
                const auto next = advance(lock, since.value_or(restart_.last_start()));
                if (next.what != Next::What::use) return park(call, next.until);
                session = session_;
            }
            call->hold(call);
            auto& connection = session->connection();
            observe_sending(*call, session->observer());
            const auto launch = ++call->launches;
            const auto number = connection.submit(*call);
            if (number == 0) continue;
            observe_sent(session->observer(), number);
            if (!call->may_be_cancelled() && call->feed == nullptr) return;
            call->set_ticket({launch, number, {session, &connection}});
            call->on_sent();
            if (call->cancel_requested) connection.cancel(number, false);
            return;
        }
    }

    // Keeps a call until a process may be started, or its deadline.
    void park(const std::shared_ptr<AsyncCall>& call, TimePoint wake) {
        if (Clock::now() >= call->deadline()) {
            throw refusal(*call, name_, errc::timeout, "the worker could not be started in time");
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
        std::uint64_t since = 0;
        {
            const Lock lock{mutex_};
            resume_when_ = TimePoint::max();
            calls.swap(parked_);
            since = restart_.last_start();
        }
        for (auto& call : calls) launch(std::move(call), since);
        complete_waits();
    }

    void refuse(AsyncCall& call, errc cause, const std::string& text) {
        call.fail(refusal(call, name_, cause, text));
    }

    // --- Sessions

    // What the call that asks does now: it uses session_ or waits. Starts a process where that is
    // due, and throws where the call fails. changed_ tells of each event.
    Next advance(Lock& lock, std::uint64_t since) {
        if (!begun_) begin_late();
        auto next = decide(since);
        if (next.what == Next::What::start) {
            start(lock);
            next = decide(since);
            // It has ended already. The call looks at its deadline before the next start.
            if (next.what == Next::What::start) next = {Next::What::wait, Clock::now()};
        }
        if (next.what == Next::What::fail) throw CallError{*next.error};
        return next;
    }

    // A call that finds a session costs no look at the clock here.
    Next decide(std::uint64_t since) {
        assert((session_ != nullptr) == (restart_.process() == Restart::Process::running));
        if (!restart_.needs_process()) {
            const bool takes_calls = session_ != nullptr && session_->connection().takes_calls();
            return restart_.next(TimePoint::min(), takes_calls, since);
        }
        check_descriptors();
        return restart_.next(Clock::now(), false, since);
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
            if (auto failure = start(lock)) restart_.keep_for_next_call(std::move(*failure));
        } catch (...) {
            restart_.keep_for_next_call(current_call_error(could_not_be_started()));
        }
    }

    // A global worker of a program that is a worker now: once that is settled, it may be used.
    void begin_late() {
        if (is_unclaimed_worker()) throw_missing_hook();
        runtime_.started_executor();
        begun_ = true;
    }

    // Releases the lock meanwhile.
    std::optional<CallError> start(Lock& lock) {
        const auto generation = restart_.start_begun();
        const auto options = options_;
        std::shared_ptr<Session> session;
        std::optional<CallError> error;
        lock.unlock();
        try {
            session = Session::start(options_in_force(*options), protocol_, generation,
                                     surroundings_, protocol_.is_live ? hub() : nullptr,
                                     [weak = weak_from_this()](const SessionEnd& end) {
                                         if (const auto self = weak.lock()) self->on_end(end);
                                     });
            if (protocol_.is_live) hub()->attach({session, &session->connection()});
        } catch (...) {
            error = current_call_error(could_not_be_started());
            observe_failed_start(*options, name_, generation, *error);
        }
        lock.lock();
        if (error) {
            restart_.start_failed(Clock::now(), *error);
        } else if (restart_.started()) {
            session_ = std::move(session);
        } else {  // it holds a callback of the host's
            lock.unlock();
            session.reset();
            lock.lock();
        }
        notify();
        return error;
    }

    // When it throws it is called again.
    void on_end(const SessionEnd& end) {
        std::string next;
        {
            const auto lock = acquire(mutex_);
            restart_.ended(Clock::now(), end);
            if (session_ != nullptr && session_->generation() == end.report->generation) {
                session_ = nullptr;
            }
            notify();
            if (is_logging()) next = restart_.describe_next(Clock::now());
        }
        if (!next.empty()) log_decision(name_, next);
    }

    // An event of restart_, or a wait was added. With mutex_ held.
    void notify() {
        changed_.notify_all();
        if (session_ == nullptr && !restart_.is_starting()) {
            const auto& last = restart_.last_exit();
            waits_.end(last, last != nullptr && last->generation == restart_.generation());
        } else if (session_ != nullptr && restart_.is_stopped()) {
            session_->end_in_background();  // perhaps the thread that stopped it did not wait
        }
        if (!parked_.empty() || waits_.any_due()) resume_at(Clock::now());
    }

    // Once no start is going on.
    std::shared_ptr<Session> present_session() {
        auto lock = acquire(mutex_);
        wait_until_changed(changed_, lock, [&] { return !restart_.is_starting(); });
        return session_;
    }

    std::optional<ExitStatus> end(StopLadder::Step first, bool for_good) {
        if (for_good) stop_for_good();
        if (const auto session = present_session()) {
            if (for_good) session->end_for_good();
            if (first == StopLadder::Step::kill) session->kill_by_owner();
            const bool alone = runtime_.on_thread() || runtime_.exiting();
            const std::shared_ptr<Endable> endable = session;
            // After the exit hook only what that had to give up is left.
            const auto limit = runtime_.exiting() ? Clock::now() : TimePoint::max();
            end_all({&endable, 1}, first, limit, alone);
        }
        const auto report = last_exit();
        return report == nullptr ? std::nullopt : std::optional{report->status};
    }

    // Before it waits for anything: a process that another thread is starting is ended as well.
    void stop_for_good() {
        std::vector<std::shared_ptr<AsyncCall>> refused;
        {
            const auto lock = acquire(mutex_);
            restart_.stop();
            refused.swap(parked_);
            changed_.notify_all();
        }
        refuse_stopped(refused);
    }

    void refuse_stopped(const std::vector<std::shared_ptr<AsyncCall>>& calls) {
        for (const auto& call : calls) refuse(*call, errc::stopped, "the worker was stopped");
    }

    // --- Ends that no thread blocks for

    void begin_wait(const std::shared_ptr<EndWait>& wait) {
        std::vector<std::shared_ptr<AsyncCall>> refused;
        {
            const auto lock = acquire(mutex_);
            waits_.add(wait);
            if (wait->stops()) {
                restart_.stop();
                refused.swap(parked_);
            }
            notify();
        }
        refuse_stopped(refused);
    }

    // On the background thread.
    void complete_waits() {
        EndWaits::List due;
        std::optional<CallError> failure;
        {
            const Lock lock{mutex_};
            if (!waits_.any_due()) return;
            failure = restart_.last_failure();
            due = waits_.take_due();
        }
        EndWaits::complete(due, failure);
    }

    std::shared_ptr<EndWait> take_wait(const AsyncCall& call, bool unnoticed) {
        const Lock lock{mutex_};
        return waits_.take(call, unnoticed);
    }

    // --- Errors

    [[noreturn]] void throw_interrupted() const {
        throw CallError(
            errc::would_deadlock,
            "worker \"" + name_ + "\" was used in a signal handler that had interrupted Tether");
    }

    [[nodiscard]] std::string could_not_be_started() const {
        return "worker \"" + name_ + "\" could not be started";
    }

    // Of the options, read without a lock.
    std::atomic<Duration> call_timeout_;
    std::atomic<std::uint64_t> max_message_bytes_;

    const std::string name_;
    const ProtocolId protocol_;
    const Surroundings surroundings_ = Surroundings::of_this_thread();  // for each process
    Runtime& runtime_;

    // Held throughout restart(): one at a time. Before mutex_.
    std::mutex restart_mutex_;

    // Guards the rest. No process is started and no call is settled under it.
    mutable std::mutex mutex_;
    std::condition_variable changed_;  // told of each event of restart_
    Restart restart_;
    std::shared_ptr<const WorkerOptions> options_;
    std::shared_ptr<Session> session_;  // while restart_ says that a process is running
    bool begun_ = false;                // this process is known not to be an unclaimed worker
    int waiting_ = 0;                   // threads, for changed_
    std::vector<std::shared_ptr<AsyncCall>> parked_;
    WatchTimer resume_timer_;
    TimePoint resume_when_ = TimePoint::max();
    bool told_of_loss_ = false;  // on_runtime_lost() is called then
    EndWaits waits_;             // for the end of the present process; resume() completes them

    // Of one that is never destroyed, see leave(): used by one thread.
    std::shared_ptr<Supervisor> left_self_;
    std::shared_ptr<void> left_hold_;
    Supervisor* left_before_ = nullptr;
};

}  // namespace detail
TETHER_NAMESPACE_END
