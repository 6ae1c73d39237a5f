// Why: one worker process from spawn to reaping. It joins the state machines with the descriptors;
// the rules are:
//
// - The end of the worker is the end of its process, never that of the connection.
// - Any thread may find out about that end; collect() settles everything, once.
//
// Locks, in the order they may be taken: collecting_, the supervisor's, the connection's, mutex_,
// watching_, process_mutex_ or output_mutex_; below those only the runtime's, an AsyncCall's and
// the StderrSink's.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/background/turn.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/host_mutex.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/os/watches.hpp>
#include <tether/detail/parent/connection_reading.hpp>
#include <tether/detail/parent/launch.hpp>
#include <tether/detail/parent/output_pump.hpp>
#include <tether/detail/parent/verdict.hpp>
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

// How a session ended, for whoever might start the next.
struct SessionEnd {
    std::shared_ptr<const ExitReport> report{};
    std::optional<CallError> error{};  // what its calls got, or would have got
    bool expected = false;             // somebody asked for it
    bool was_ready = false;
    bool seen = false;  // some call got the error
};

class Session final : public Endable,
                      public Deferred,
                      private ConnectionOwner,
                      private OutputSource,
                      public std::enable_shared_from_this<Session> {
public:
    using OnEnd = std::function<void(const SessionEnd&)>;

    // Throws CallError(start_failed).
    static std::shared_ptr<Session> start(const WorkerOptions& options, const ProtocolId& protocol,
                                          std::uint64_t generation,
                                          const Surroundings& surroundings, OnEnd on_end) {
        auto& runtime = Runtime::instance();
        if (runtime.exiting()) throw exiting(worker_name(options));
        auto output = std::make_unique<OutputPump>(options.output);
        auto alarm = runtime.alarm();
        auto worker = launch_or_throw(options, protocol, generation, surroundings, *output,
                                      alarm != nullptr ? alarm->fd() : -1);
        std::shared_ptr<Session> session;
        try {
            output->set_identity(worker_name(options), worker.process.pid());
            session.reset(new Session(options, protocol, generation, std::move(on_end), worker,
                                      std::move(output), runtime));
            session->alarm_ = std::move(alarm);
            if (!runtime.add(session)) throw session->refused();
            session->watch_everything();
        } catch (...) {  // nobody is there to end it
            if (session != nullptr) session->abandon();
            worker.control.reset();  // its lifeline
            worker.process.discard();
            throw;
        }
        return session;
    }

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

    // There will be no other worker in its place.
    void end_for_good() noexcept { for_good_.store(true); }

    // The owner wants it gone at once.
    void kill_by_owner() {
        set_reason({errc::worker_killed, "it was killed by Worker::kill()", true});
        take_step(StopLadder::Step::kill);
    }

    // --- Endable

    bool take_step(StopLadder::Step step) override {
        switch (step) {
            case StopLadder::Step::none:
                break;
            case StopLadder::Step::ask:
                ask_to_stop();
                break;
            case StopLadder::Step::terminate:
                return terminate();
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

    bool collect() override {
        // It is this thread that collects it, further down its stack: in a callback of the host's.
        if (collecting_.held_here()) return true;
        const auto collecting = enter(collecting_);
        if (!collecting) return runtime_.exiting() && has_ended();
        if (finished_) return collect_left_behind();
        if (!ended_) ended_ = reap();
        if (!ended_ && given_up_) {
            ended_ = Ended{};
            left_behind_ = true;
        }
        if (!ended_) return false;
        close_watches();  // before any of the descriptors is
        // What it said and answered before it ended still counts; but not what a stranger, who
        // holds a copy of its connection, may go on to say.
        for (int round = 0; round < 64 && connection_.read_available(); ++round) {
        }
        read_control();
        if (is_believed(reason())) connection_.recover(ledger_.held());
        std::string tail;
        if (const auto lock = enter(output_mutex_)) {
            output_->finish();
            tail = output_->tail();
        }
        finish(std::move(tail));
        finished_ = true;
        return true;
    }

    bool add_poll_items(std::vector<PollItem>& items, bool with_output) override {
        {
            const auto lock = acquire(process_mutex_);
            items.push_back(readable(process_.pidfd()));
        }
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
        }
        {
            const auto watching = acquire(watching_);
            // The reactor's own number may be a file of the host's by now.
            [[maybe_unused]] auto* leaked = watches_.release();
        }
        control_.close();
        {
            const auto lock = acquire(process_mutex_);
            process_.close();
        }
        if (const auto lock = enter(output_mutex_)) output_->forsake();
    }

    // --- Deferred

    void run(std::shared_ptr<Deferred>) override { connection_.on_others_ran(); }

private:
    Session(const WorkerOptions& options, const ProtocolId& protocol, std::uint64_t generation,
            OnEnd on_end, LaunchedWorker& worker, std::unique_ptr<OutputPump> output,
            Runtime& runtime)
        : runtime_(runtime),
          name_(worker_name(options)),
          generation_(generation),
          stop_policy_(options.stop),
          start_timeout_(options.start_timeout),
          stuck_policy_(options.stuck),
          idle_timeout_(options.idle_timeout),
          limits_(options.limits),
          concurrency_(options.concurrency),
          pid_(worker.process.pid()),
          on_end_(std::move(on_end)),
          ledger_memory_(std::move(worker.ledger)),
          ledger_(ledger_memory_.data(), options.program.empty()),
          control_(std::move(worker.control)),
          output_(std::move(output)),
          connection_(*this, std::move(worker.connection), options.max_message_bytes,
                      {name_, pid_, protocol, worker.worker_secret}, options.spin,
                      &runtime.wake_ups()) {
        process_ = std::move(worker.process);  // last: what throws leaves it to the caller
    }

    void abandon() {
        close_watches();
        runtime_.remove(shared_from_this());
        control_.close();
        const auto lock = acquire(process_mutex_);
        process_.discard();
    }

    static CallError exiting(const std::string& name) {
        return {errc::stopped,
                "worker \"" + name + "\": the program is exiting, nothing is started any more"};
    }

    [[nodiscard]] CallError refused() const {
        if (runtime_.exiting()) return exiting(name_);
        return {errc::stopped, "worker \"" + name_ + "\": " + descriptors_closed};
    }

    static LaunchedWorker launch_or_throw(const WorkerOptions& options, const ProtocolId& protocol,
                                          std::uint64_t generation,
                                          const Surroundings& surroundings, OutputPump& output,
                                          int alarm) {
        try {
            return launch(options, protocol, generation, surroundings, output, alarm);
        } catch (const std::system_error& error) {
            throw CallError(
                errc::start_failed,
                "worker \"" + worker_name(options) + "\" could not be started: " + error.what(),
                nullptr, error.code());
        }
    }

    // --- ConnectionOwner. Virtual functions are defined within the class: the first that is not
    // makes GCC emit a vtable, and all that it leads to, into each translation unit.

    bool on_given_up(std::uint64_t number, errc cause) override {
        if (cause == errc::timeout && watch_overdue()) return false;
        send_control(number, ControlType::cancel);
        return true;
    }
    void on_drained() override {
        const auto lock = acquire(mutex_);
        if (retirement_ != StopLadder::Step::none) leave_soon();
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
        const auto watching = acquire(watching_);
        if (!watches_) return;
        when_ready(watches_->connection, connection_.fd(), false,
                   [](Session& session) { session.connection_.on_input(); });
    }
    void watch_room() override {
        const auto watching = acquire(watching_);
        if (!watches_) return;
        when_ready(watches_->connection, connection_.fd(), true,
                   [](Session& session) { session.connection_.on_room(); });
    }
    void unwatch_connection() override {
        const auto watching = acquire(watching_);
        if (watches_) Watches::let_go(watches_->connection);
    }
    void watch_deadline(TimePoint when) override {
        const auto watching = acquire(watching_);
        if (!watches_) return;
        at(watches_->deadline, when, [](Session& session) { session.connection_.on_deadline(); });
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

    // What the host's stderr does not take now leaves later.
    void pump_and_flush() {
        bool written = true;
        if (const auto lock = enter(output_mutex_)) {
            for (auto& stream : output_->streams()) output_->pump(stream);
            written = output_->flush();
        }
        const auto watching = acquire(watching_);
        if (!written && watches_) watch_backlog();
    }

    // --- The control channel

    void send_control(std::string_view record) {
        if (!control_.send(record)) watch_control_room();
    }
    void send_control(std::uint64_t number, ControlType type) {
        const auto record = record_about(number, type);
        send_control({record.data(), record.size()});
    }

    // False: the worker has closed its end.
    bool read_control() {
        const auto received = control_.receive(connection_.calls_made());
        if (received.failure) on_failure(*received.failure);
        if (received.heard) on_heard();
        if (received.unread) on_never_began();
        for (const auto number : received.running) on_still_running(number);
        for (const auto number : received.overran) connection_.on_overrun(number);
        return received.open;
    }

    // A process that goes on without the channel is none that could serve. One that is ending has
    // its moment to end.
    void on_never_began() {
        never_began_.store(true);
        if (!connection_.ready()) {
            kill_later(errc::start_failed, never_began, std::chrono::milliseconds{100});
        }
    }

    // A worker that says why it cannot serve ends by itself, and its report shows how. One whose
    // program goes on without the hook may do anything, and one that served before is out of step.
    void on_failure(const StartFailure& failure) {
        connection_.stop_reading();
        const bool ends = failure.cause != errc::hook_missing && failure.cause != errc::framing;
        const bool believed = failure.cause != errc::framing;
        if (!ends || connection_.ready()) return kill(failure.cause, failure.text, believed);
        set_reason({failure.cause, failure.text});
        kill_later(failure.cause, failure.text, std::chrono::seconds{1});
    }

    void ask_to_stop() {
        set_reason({errc::stopped, "it was stopped", true});
        {
            const auto lock = acquire(mutex_);
            if (std::exchange(asked_to_stop_, true)) return;
        }
        connection_.stop(end_of(reason()));
        send_control(control_record(ControlType::stop));
    }

    // --- The end

    // The first reason is the one that counts.
    void set_reason(Reason reason) {
        connection_.close();
        const auto lock = acquire(mutex_);
        if (!reason_) reason_ = std::move(reason);
    }

    // Ends it by force.
    void kill(errc cause, const std::string& text, bool believed = true) {
        set_reason({cause, text, false, believed});
        take_step(StopLadder::Step::kill);
    }

    [[nodiscard]] Duration time_to_stop() const noexcept {
        const auto now = Clock::now();
        return deadline_after(deadline_after(now, stop_policy_.drain), stop_policy_.terminate) -
               now;
    }

    void kill_later(errc cause, const std::string& text, Duration patience) {
        const auto when = deadline_after(Clock::now(), patience);
        const auto watching = acquire(watching_);
        if (!watches_ || when >= last_chance_) return;
        last_chance_ = when;
        last_reason_ = {cause, text};
        at(watches_->lost, when, [](Session& session) { session.kill_at_last(); });
    }

    bool terminate() {
        const auto lock = acquire(process_mutex_);
        return !process_.terminate();
    }

    // False: the system refused it.
    bool kill_tree() {
        std::error_code error;
        {
            const auto lock = acquire(process_mutex_);
            error = kill_error_ = process_.kill_tree();
        }
        if (error) {
            cut_lifeline();
        } else {
            watch_step(StopLadder::Step::cut, StopLadder::kill_patience);
        }
        return !error;
    }

    // The second way to end a worker: its own guard does it.
    void cut_lifeline() {
        control_.cut();
        {
            const auto lock = acquire(process_mutex_);
            cut_ = true;
        }
        watch_step(StopLadder::Step::give_up, StopLadder::cut_patience);
    }

    // How it was ended, where that was not as it should be.
    std::string describe_refusal() {
        const auto lock = acquire(process_mutex_);
        std::string text;
        if (kill_error_) text += "kill: " + kill_error_.message();
        if (cut_)
            text += (text.empty() ? "" : ", so ") + std::string{"its control channel was cut"};
        if (left_behind_) {
            const auto limit = to_milliseconds(StopLadder::cut_patience).count();
            text += "; it has not ended within " + std::to_string(limit) +
                    " ms of that, and is left behind";
        }
        return text;
    }

    [[nodiscard]] HostMutex::Lock enter(HostMutex& mutex) {
        return mutex.lock(runtime_.exiting(), output_->calling());
    }

    bool has_ended() {
        const auto lock = acquire(process_mutex_);
        return process_.has_ended();
    }

    std::optional<Ended> reap() {
        const auto lock = acquire(process_mutex_);
        if (ledger_.tidy()) process_.set_descendants_ended();
        return process_.reap_if_ended();
    }

    // Why it ended, as far as this side has to do with it.
    std::optional<Reason> reason() {
        std::error_code unwatched;
        {
            const auto watching = acquire(watching_);
            unwatched = watch_error_;
        }
        if (unwatched) {
            set_reason({errc::worker_killed, "it could not be watched: " + unwatched.message()});
        }
        const auto lock = acquire(mutex_);
        return reason_;
    }

    // For the connection; nothing more begins in the worker from here on.
    [[nodiscard]] Connection::End end_of(const std::optional<Reason>& why) const {
        const bool another = !for_good_.load() && !runtime_.exiting();
        ledger_.close();
        const bool asked = is_believed(why) && connection_.has_calls();
        auto begun = asked ? ledger_.look(connection_.ready()) : Begun{};
        return {std::move(begun), another, why && why->expected, is_by_itself(why)};
    }

    std::shared_ptr<ExitReport> make_report(const Ended& ended, std::string tail,
                                            const Begun& begun) const {
        const auto now = Clock::now();
        auto report = std::make_shared<ExitReport>();
        report->worker = name_;
        report->pid = pid_;
        report->generation = generation_;
        report->status = ended.status;
        report->uptime = to_milliseconds(now - started_);
        report->left_behind = left_behind_;
        report->peak_memory_bytes = ended.peak_memory_bytes;
        if (const auto kills = count_oom_kills(); kills && oom_kills_before_) {
            report->oom_kills = *kills - std::min(*kills, *oom_kills_before_);
        }
        report->limits = limits_;
        report->stderr_tail = std::move(tail);
        report->calls_in_flight = connection_.in_flight(now, begun);
        return report;
    }

    // When there is no memory for any of this, the next who collects tries again.
    void finish(std::string tail) {
        connection_.close();
        const auto why = reason();
        const bool ready = connection_.ready();
        [[maybe_unused]] auto [cause, text, expected, believed] =
            verdict(why, ended_->status, ready, !never_began_.load());
        const auto end_of_calls = end_of(why);
        const auto report = make_report(*ended_, std::move(tail), end_of_calls.begun);
        report->killed_from_outside = !why && was_killed(ended_->status);
        if (const auto refusal = describe_refusal(); !refusal.empty()) {
            text += (text.empty() ? "" : "; ") + refusal;
        }
        report->note = std::move(text);
        report->never_ready = !ready && !expected;
        // Before its calls are settled: who asks then finds the worker in its new state.
        if (on_end_) {
            const SessionEnd end{report, CallError{cause, to_string(*report), report}, expected,
                                 ready, !report->calls_in_flight.empty()};
            on_end_(end);
            on_end_ = nullptr;
        }
        connection_.finish(cause, end_of_calls, report);
        if (left_behind_ && runtime_.has_descriptors()) {
            control_.close();
            watch_left_behind();
        } else {
            close_descriptors();
            runtime_.remove(shared_from_this());
        }
    }

    // It was given up before it ended: still to be reaped. The runtime owns this session meanwhile.
    bool collect_left_behind() {
        if (!left_behind_ || !reap()) return true;
        left_behind_ = false;
        close_watches();
        close_descriptors();
        runtime_.remove(shared_from_this());
        return true;
    }

    // --- What makes a worker be replaced though it has not ended: defined in session_health.hpp

    bool watch_overdue();
    void arm_look(TimePoint when);
    bool shall_replace() const noexcept;
    bool is_stopped();
    bool is_dumping_core();
    void look_at_overdue();
    [[nodiscard]] TimePoint look_at_stopped(bool in_time);
    [[nodiscard]] TimePoint look_at_running();
    void on_still_running(std::uint64_t number);
    void probe(std::uint64_t number);
    void await_guard(TimePoint since);
    void on_heard();
    void on_silence();
    void on_hang(const std::string& text);
    void watch_heartbeat(Duration pause);
    void on_heartbeat();
    void report_or_kill(const std::string& text);
    void watch_idleness();
    void on_idle();
    void retire(StopLadder::Step how);
    void leave_soon();
    void on_leave();

    // --- What the background thread watches: defined in session_background.hpp

    // One type for all that is watched, so that Asio's part is compiled once.
    using Act = void (*)(Session&);
    struct InATurn {
        Act act;
        void operator()(Session& session) const;
        void refuse(Session& session, std::error_code error) const {
            const std::scoped_lock watching{session.watching_};
            session.on_unwatched(error);
            session.look_soon();  // its end may be what cannot be watched
        }
    };
    void when_ready(WatchedDescriptor& descriptor, int fd, bool to_write, Act act);
    void at(WatchTimer& timer, TimePoint when, Act act);
    void on_unwatched(std::error_code error);
    void watch_everything();
    void watch_end();
    void look_soon();
    void look_for_end();
    void watch_left_behind();
    void watch_step(StopLadder::Step step, Duration patience);
    void watch_control();
    void watch_control_room();
    void watch_output(std::size_t index);
    void on_output_ready(std::size_t index);
    void watch_backlog();
    void on_backlog();
    void on_start_timeout();
    void kill_at_last();
    void close_watches();
    void close_descriptors();

    Runtime& runtime_;
    const std::string name_;
    const std::uint64_t generation_;
    const StopPolicy stop_policy_;
    const Duration start_timeout_;
    const StuckPolicy stuck_policy_;
    const Duration idle_timeout_;
    const Limits limits_;
    const unsigned concurrency_;
    const std::optional<std::uint64_t> oom_kills_before_ = count_oom_kills();
    const std::int64_t pid_;
    const TimePoint started_ = Clock::now();
    OnEnd on_end_;

    HostMutex collecting_;
    std::optional<Ended> ended_;
    bool finished_ = false;
    std::atomic<bool> given_up_{false};     // its end is not waited for any more
    std::atomic<bool> left_behind_{false};  // it had not ended then, and is not reaped yet

    std::mutex process_mutex_;
    ChildProcess process_;
    std::error_code kill_error_;  // of the last try
    bool cut_ = false;            // its lifeline

    std::shared_ptr<Alarm> alarm_;

    const SharedMemory ledger_memory_;
    const Ledger ledger_;
    std::atomic<bool> for_good_{false};

    ControlLink control_;
    std::atomic<bool> never_began_{false};  // its process closed the channel unread

    HostMutex output_mutex_;
    std::unique_ptr<OutputPump> output_;

    Connection connection_;

    std::mutex mutex_;  // for how far its end has come
    std::optional<Reason> reason_;
    bool asked_to_stop_ = false;
    // How it is ended once no call is left; none: it need not be.
    StopLadder::Step retirement_ = StopLadder::Step::none;
    TimePoint next_look_ = TimePoint::max();  // at calls that have expired
    bool seen_stopped_ = false;               // at the last such look
    // When the guard was asked first of all that it has not answered.
    std::optional<TimePoint> unheard_since_;
    bool hang_reported_ = false;  // since it was heard last

    std::optional<TimePoint> second_look_;  // of the heartbeat, at a worker that was stopped

    std::mutex watching_;
    std::unique_ptr<Watches> watches_;
    std::error_code watch_error_;               // something could not be watched
    Reason last_reason_;                        // why it is killed once watches_->lost is due
    TimePoint last_chance_ = TimePoint::max();  // when that comes true
    std::array<bool, 2> output_paused_{};       // not watched, since the host's stderr is behind
};

}  // namespace detail
TETHER_NAMESPACE_END
