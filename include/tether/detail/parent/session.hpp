// Why: one worker process from spawn to reaping. It joins the state machines with the descriptors;
// the rules are:
//
// - The end of the worker is the end of its process, never that of the connection.
// - Any thread may find out about that end; collect() settles everything, once.
//
// Locks, in the order they may be taken: collecting_, the supervisor's, the connection's, mutex_,
// and last, never together, that of the process, of the control link or output_mutex_. Each is with
// what it guards, at the end of the class. docs/design.md, "Session and its locks", has the table.
//
// The class is declared here, with what others ask of it. The rest is defined by subject, in
// session_start.hpp, session_ending.hpp, session_health.hpp and session_background.hpp.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/background/stop_ladder.hpp>
#include <tether/detail/background/turn.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/host_mutex.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/os/watches.hpp>
#include <tether/detail/parent/connection_reading.hpp>
#include <tether/detail/parent/health.hpp>
#include <tether/detail/parent/launch.hpp>
#include <tether/detail/parent/output_pump.hpp>
#include <tether/detail/parent/process_observer.hpp>
#include <tether/detail/parent/session_end.hpp>
#include <tether/detail/parent/verdict.hpp>
#include <tether/detail/parent/worker_process.hpp>
#include <tether/detail/transport/control_link.hpp>
#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/detail/wire/ledger.hpp>
#include <tether/error.hpp>

#include <asio/post.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class Session final : public Endable,
                      public Deferred,
                      private ConnectionOwner,
                      private OutputSource,
                      public std::enable_shared_from_this<Session> {
    using Lock = std::unique_lock<std::mutex>;

public:
    // Throws CallError(start_failed).
    static std::shared_ptr<Session> start(const WorkerOptions& options, const ProtocolId& protocol,
                                          std::uint64_t generation,
                                          const Surroundings& surroundings,
                                          std::shared_ptr<Hub> hub, OnSessionEnd on_end);

    ~Session() override {
        // In a forked copy the reactor is the original's: only descriptors are closed.
        if (forked()) [[maybe_unused]]
            auto* leaked = watches_.release();
    }

    [[nodiscard]] bool forked() const noexcept {
        return runtime_.epoch() != Runtime::fork_epoch().load();
    }
    [[nodiscard]] std::int64_t pid() const noexcept { return pid_; }
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
    [[nodiscard]] Connection& connection() noexcept { return connection_; }
    // Null: nothing is told of it.
    [[nodiscard]] const ProcessObserver* observer() const noexcept override { return observer_; }

    // There will be no other worker in its place.
    void end_for_good() noexcept { for_good_.store(true); }

    // The same, and the background thread ends it as stop() would. Defined in
    // session_background.hpp.
    void end_in_background();

    // Handlers that return awaitables are more than threads, which only the worker knows.
    [[nodiscard]] unsigned calls_at_once() const noexcept {
        const auto told = ledger_.calls_at_once();
        return told != 0 ? told : concurrency_;
    }

    // The owner wants it gone at once.
    void kill_by_owner() {
        set_reason({errc::worker_killed, "it was killed by Worker::kill()", true});
        take_step(StopLadder::Step::kill);
    }

    // --- Endable

    bool take_step(StopLadder::Step step) override {
        if (observer_ != nullptr) observer_->took(step);
        switch (step) {
            case StopLadder::Step::none:
                break;
            case StopLadder::Step::ask:
                ask_to_stop();
                break;
            case StopLadder::Step::terminate:
                return process_.terminate();
            case StopLadder::Step::kill:
                return kill_tree();
            case StopLadder::Step::cut:
                cut_lifeline();
                break;
            case StopLadder::Step::give_up:
                given_up_ = true;
                collect();
                break;
        }
        return true;
    }

    bool collect() override { return settle(); }

    bool add_poll_items(std::vector<PollItem>& items, bool with_output) override {
        items.push_back(readable(process_.pidfd()));
        const bool tells_its_end = items.back().fd != -1;
        if (!with_output) return tells_its_end;
        const auto lock = enter(output_mutex_);
        if (!lock) return tells_its_end;
        for (const auto& stream : output_->streams()) {
            if (stream.pipe && !stream.ended) items.push_back(readable(stream.pipe.get()));
        }
        return tells_its_end;
    }

    void pump_output() override {
        const auto lock = enter(output_mutex_);
        if (!lock) return;
        for (auto& stream : output_->streams()) output_->pump(stream);
        output_->flush();
    }

    [[nodiscard]] StopPolicy stop_policy() const override { return stop_policy_; }

    void forsake_descriptors() override {
        end_for_good();
        connection_.forsake();
        {
            const auto lock = acquire(mutex_);
            if (!reason_ || !reason_->expected) reason_ = Reason{errc::stopped, descriptors_closed};
            // The reactor's own number may be a file of the host's by now.
            [[maybe_unused]] auto* leaked = watches_.release();
        }
        control_.close();
        process_.close();
        if (const auto lock = enter(output_mutex_)) output_->forsake();
    }

    // --- Deferred

    void run(std::shared_ptr<Deferred>) override { connection_.on_others_ran(); }

private:
    // --- Its start: session_start.hpp

    Session(const WorkerOptions& options, const ProtocolId& protocol, std::uint64_t generation,
            std::shared_ptr<Hub> hub, OnSessionEnd on_end, LaunchedWorker& worker,
            std::unique_ptr<OutputPump> output, Runtime& runtime);
    static LaunchedWorker launch_or_throw(const WorkerOptions& options, const ProtocolId& protocol,
                                          std::uint64_t generation,
                                          const Surroundings& surroundings, OutputPump& output,
                                          int alarm);
    static CallError exiting(const std::string& name);
    [[nodiscard]] CallError refused() const;
    void watch_everything();
    void abandon();

    // --- ConnectionOwner. Virtual functions are defined within the class: the first that is not
    // makes GCC emit a vtable, and all that it leads to, into each translation unit.

    bool on_given_up(std::uint64_t number, errc cause) override {
        if (cause == errc::timeout && !tell_expired()) return false;
        send_control(number, ControlType::cancel);
        return true;
    }
    void on_welcome() override {
        if (observer_ != nullptr) observer_->greeted();
    }
    void on_drained() override {
        const auto lock = acquire(mutex_);
        if (retirement_ != StopLadder::Step::none) leave_soon(lock);
    }
    // Most likely it is about to end. If not, it is of no use any more.
    void on_lost(const std::string& text) override {
        if (never_began_.load()) return;
        runtime_.look_after_descriptors();
        kill_later(errc::framing, text,
                   std::min<Duration>(time_to_stop(), std::chrono::seconds{10}));
    }
    void on_violation(errc cause, const std::string& text) override {
        runtime_.look_after_descriptors();
        if (runtime_.has_descriptors()) return kill(cause, text, cause != errc::framing);
        kill(errc::stopped, descriptors_closed);
    }
    // A process in which an allocation failed may be in any state.
    void on_error_answer(const ErrorAnswer& answer) override {
        const bool exhausted =
            std::any_of(answer.causes.begin(), answer.causes.end(),
                        [](const RemoteCause& cause) { return cause.code == "bad_alloc"; });
        if (answer.cause != errc::handler || !exhausted || !connection_.takes_calls()) return;
        set_reason({errc::worker_exited, "a handler ran out of memory (std::bad_alloc)"});
        retire(StopLadder::Step::ask);
    }
    std::shared_ptr<Hub> hub() override { return hub_; }
    std::shared_ptr<OutputSource> output() override {
        if (!output_->shows_lines()) return nullptr;
        return {shared_from_this(), static_cast<OutputSource*>(this)};
    }
    [[nodiscard]] bool on_background_thread() const noexcept override {
        return runtime_.on_thread();
    }
    void let_others_run() override {
        auto* turn = runtime_.turn();
        if (turn != nullptr && turn->at_end(shared_from_this())) return;
        runtime_.post([session = shared_from_this()] { session->connection_.on_others_ran(); });
    }
    void watch_input() override {
        const auto lock = acquire(mutex_);
        if (!watches_) return;
        when_ready(lock, watches_->connection, connection_.fd(), false,
                   [](Session& session) { session.connection_.on_input(); });
    }
    void watch_room() override {
        const auto lock = acquire(mutex_);
        if (!watches_) return;
        when_ready(lock, watches_->connection, connection_.fd(), true,
                   [](Session& session) { session.connection_.on_room(); });
    }
    void unwatch_connection() override {
        const auto lock = acquire(mutex_);
        if (watches_) Watches::let_go(watches_->connection);
    }
    void watch_deadline(TimePoint when) override {
        const auto lock = acquire(mutex_);
        if (!watches_) return;
        at(lock, watches_->deadline, when,
           [](Session& session) { session.connection_.on_deadline(); });
    }

    // --- OutputSource

    // A callback of the host's runs on the background thread, since this one may hold locks of the
    // host's. It may even want one of these: then the answer comes first in the end.
    void pass_on_output(TimePoint deadline) override {
        if (!output_->calls_back() || runtime_.on_thread()) return pump_and_flush();
        const auto passed_on = std::make_shared<std::promise<void>>();
        pass_on_output([passed_on] { passed_on->set_value(); });
        const auto patience = deadline_after(Clock::now(), std::chrono::seconds{1});
        passed_on->get_future().wait_until(std::min(deadline, patience));
    }
    void pass_on_output(std::function<void()> next) override {
        runtime_.post([session = shared_from_this(), next = std::move(next)] {
            session->pump_and_flush();
            next();
        });
    }

    // --- The control channel, and what the worker says there: session_health.hpp

    void send_control(std::string_view record);
    void send_control(std::uint64_t number, ControlType type);
    bool read_control();
    void on_failure(const StartFailure& failure);
    void on_never_began();

    // --- Whether the worker is of use: session_health.hpp

    [[nodiscard]] bool tell_expired();
    void arm_look(const Lock& lock);
    void look_after_health();
    [[nodiscard]] Health::Facts find_facts(const Health::Due& due);
    void carry_out(const Health::Actions& actions);
    void on_heard();
    void on_still_running(std::uint64_t number);
    void retire(StopLadder::Step how);
    void leave_soon(const Lock& lock);
    void on_leave();

    // --- Its end: session_ending.hpp

    bool settle();
    bool reap_left_behind();
    void finish(std::string tail);
    [[nodiscard]] std::shared_ptr<ExitReport> make_report(const Ended& ended, std::string tail,
                                                          const Begun& begun) const;
    [[nodiscard]] std::optional<Ended> reap() { return process_.reap(ledger_.tidy()); }
    void set_reason(Reason reason);
    [[nodiscard]] std::optional<Reason> reason();
    [[nodiscard]] Connection::End end_of(const std::optional<Reason>& why) const;
    void ask_to_stop();
    void kill(errc cause, const std::string& text, bool believed = true);
    void kill_later(errc cause, const std::string& text, Duration patience);
    void kill_at_last();
    bool kill_tree();
    void cut_lifeline();
    [[nodiscard]] Duration time_to_stop() const noexcept;
    void close_descriptors();
    [[nodiscard]] HostMutex::Lock enter(HostMutex& mutex) {
        return mutex.lock(runtime_.exiting(), output_->calling());
    }

    // --- What the background thread watches: session_background.hpp

    // One type for all that is watched, so that Asio's part is compiled once.
    using Act = void (*)(Session&);
    struct InATurn {
        Act act;
        void operator()(Session& session) const;
        void refuse(Session& session, std::error_code error) const;
    };
    void when_ready(const Lock& lock, WatchedDescriptor& descriptor, int fd, bool to_write,
                    Act act);
    void at(const Lock& lock, WatchTimer& timer, TimePoint when, Act act);
    void on_unwatched(const Lock& lock, std::error_code error);
    void watch_end(const Lock& lock);
    void look_soon(const Lock& lock);
    void look_for_end();
    void watch_left_behind();
    void watch_step(StopLadder::Step step, Duration patience);
    void watch_control(const Lock& lock);
    void watch_control_room();
    void watch_output(const Lock& lock, std::size_t index);
    void on_output_ready(std::size_t index);
    void watch_backlog(const Lock& lock);
    void on_backlog();
    void pump_and_flush();
    void on_start_timeout();
    void walk_ladder();
    void close_watches();

    Runtime& runtime_;
    const std::string name_;
    const std::uint64_t generation_;
    const StopPolicy stop_policy_;
    const Duration start_timeout_;
    const Limits limits_;
    const std::optional<std::uint64_t> oom_kills_before_ = count_oom_kills();
    const std::int64_t pid_;
    const ProcessObserver* const observer_;
    const TimePoint started_ = Clock::now();
    const std::shared_ptr<Hub> hub_;  // null: not of a live protocol
    const SharedMemory ledger_memory_;
    const Ledger ledger_;

    // Each change only once, and are read without a lock.
    std::atomic<bool> for_good_{false};     // no other worker comes in its place
    std::atomic<bool> given_up_{false};     // its end is not waited for any more
    std::atomic<bool> never_began_{false};  // its process closed the control channel unread

    // Thread-safe by themselves. `control_` and `process_` are closed only when watches_ is gone.
    WorkerProcess process_;
    ControlLink control_;
    Connection connection_;

    // Held while the end is looked for and settled. The host's own code may run under it: output
    // callbacks.
    HostMutex collecting_;
    OnSessionEnd on_end_;  // null once it was called
    std::optional<Ended> ended_;
    bool finished_ = false;
    std::atomic<bool> left_behind_{false};  // it had not ended when it was given up; read anywhere
    std::shared_ptr<Alarm> alarm_;          // set before any other thread knows this session

    // Held while output is read and passed on, so that the lines of one worker come in order: its
    // callback runs under it. What never changes is read without it; so are the numbers of the
    // pipes while watches_ is there, since they are closed later.
    HostMutex output_mutex_;
    const std::unique_ptr<OutputPump> output_;

    // Guards the rest: what is decided about this worker, and what is watched. No user code runs
    // under it, and nothing is waited for, unless the system refuses to watch: then the worker is
    // killed.
    std::mutex mutex_;
    std::optional<Reason> reason_;  // why it is ended, where it is
    bool asked_to_stop_ = false;
    // How it is ended once no call is left; none: it need not be.
    StopLadder::Step retirement_ = StopLadder::Step::none;
    Reason last_reason_;                        // why it is killed once watches_->lost is due
    TimePoint last_chance_ = TimePoint::max();  // when that is
    std::optional<StopLadder> ladder_;          // while the background thread walks it
    const unsigned concurrency_;                // threads of handlers
    Health health_;
    TimePoint armed_look_ = TimePoint::max();  // of watches_->health
    std::unique_ptr<Watches> watches_;         // null: nothing is watched any more
    std::error_code watch_error_;              // something could not be watched
    std::array<bool, 2> output_paused_{};      // not watched, since the host's stderr is behind
};

}  // namespace detail
TETHER_NAMESPACE_END
