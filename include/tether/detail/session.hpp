// Why: one worker process from spawn to reaping, and all calls to it. It joins the state machines
// with the descriptors; the rules are:
//
// - Whoever waits reads. Of several blocked callers one (the leader) reads for all; when nobody
//   blocks but a call is pending, the background thread does.
// - The end of the worker is the end of its process, never that of the connection.
// - Any thread may find out about that end; collect() settles everything, once.
//
// Locks, in the order they may be taken: the supervisor's, collecting_, reading_, mutex_, then one
// of process_mutex_, watching_, output_mutex_; below those only the runtime's, an AsyncCall's and
// the StderrSink's.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call.hpp>
#include <tether/detail/call_table.hpp>
#include <tether/detail/channel.hpp>
#include <tether/detail/child_process.hpp>
#include <tether/detail/control_link.hpp>
#include <tether/detail/handshake.hpp>
#include <tether/detail/host_mutex.hpp>
#include <tether/detail/output_pump.hpp>
#include <tether/detail/overdue_calls.hpp>
#include <tether/detail/post_mortem.hpp>
#include <tether/detail/runtime.hpp>
#include <tether/error.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
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

class Session final : public Endable, public std::enable_shared_from_this<Session> {
public:
    using OnEnd = std::function<void(const SessionEnd&)>;
    using Lock = Channel::Lock;

    // Throws CallError(start_failed).
    static std::shared_ptr<Session> start(const WorkerOptions& options, const ProtocolId& protocol,
                                          std::uint64_t generation, OnEnd on_end) {
        auto& runtime = Runtime::instance();
        if (runtime.exiting()) throw exiting(worker_name(options));
        auto output = std::make_unique<OutputPump>(options.output);
        auto worker = launch_or_throw(options, protocol, generation, *output);
        std::shared_ptr<Session> session;
        try {
            output->set_identity(worker_name(options), worker.process.pid());
            session.reset(new Session(options, protocol, generation, std::move(on_end), worker,
                                      std::move(output), runtime));
            if (!runtime.add(session)) throw exiting(session->name_);
            session->watch_everything();
        } catch (...) {  // nobody is there to end it
            if (session != nullptr) session->abandon();
            worker.process.discard();
            throw;
        }
        return session;
    }

    ~Session() override {
        // In a forked copy the reactor is the original's: only close descriptors.
        if (forked()) [[maybe_unused]]
            auto* leaked = watches_.release();
    }

    [[nodiscard]] bool forked() const noexcept {
        return runtime_.epoch() != Runtime::fork_epoch().load();
    }
    [[nodiscard]] std::int64_t pid() const noexcept { return pid_; }
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
    [[nodiscard]] bool ready() const {
        const std::scoped_lock lock{mutex_};
        return ready_;
    }
    [[nodiscard]] bool ended() const {
        const std::scoped_lock lock{mutex_};
        return ended_;
    }

    [[nodiscard]] bool takes_calls() const {
        const std::scoped_lock lock{mutex_};
        return !ending_;
    }

    // Sends a request and returns its number. 0: this session takes no more calls, its end is near
    // or was.
    std::uint64_t submit(Call& call) {
        Lock lock{mutex_};
        if (ending_) return 0;
        const auto alive = call.keep_alive();
        const auto number = call.number = calls_.add(call);
        last_call_ = call.info.made;
        if (call.is_async()) ++async_calls_;
        try {
            call.message.open(FrameType::request, call.info.index, number, time_left(call));
            if (call.is_async()) watch_deadline(call);
            channel_.send(call.message, lock);
        } catch (...) {
            if (!call.message.done()) channel_.release(call.message, lock);
            forget(call);
            throw;
        }
        see_to_room(call.is_async());
        if (wants_background_reader()) watch_input();
        return number;
    }

    // Blocks until the call is settled, and reads for all who wait meanwhile.
    void wait(BlockingCall& call) {
        Lock lock{mutex_};
        bool leading = false;
        bool looked_again = false;
        const Departure departure{*this, call, leading, lock};
        while (!call.settled) {
            if (call.cancelled) {
                give_up(call, errc::cancelled, lock);
            } else if (Clock::now() >= call.deadline()) {
                // An answer that has arrived wins over a deadline that passed while nobody read.
                if (std::exchange(looked_again, true)) {
                    give_up(call, errc::timeout, lock);
                } else {
                    lock.unlock();
                    read_available(&call);
                    lock.lock();
                }
            } else if (leading || leader_ == nullptr) {
                leading = true;
                leader_ = &call;
                lead(call, lock);
            } else {
                follow(call, lock);
            }
        }
    }

    // From another thread than the one in wait(), or instead of it.
    void cancel(BlockingCall& call) {
        const Lock lock{mutex_};
        call.cancelled = true;
        call.changed.notify_one();
        if (leader_ == &call) wake_.notify();
    }

    // Settles a call that nobody's thread waits for, if it is still pending here. `only_unsent`:
    // not when it has left already.
    void cancel(std::uint64_t number, bool only_unsent) {
        Lock lock{mutex_};
        auto* call = calls_.find(number);
        if (call == nullptr || (only_unsent && call->message.opened())) return;
        const auto alive = call->keep_alive();
        give_up(*call, errc::cancelled, lock);
    }

    // The owner wants it gone at once. Its calls end with worker_killed.
    void kill_by_owner() {
        {
            const Lock lock{mutex_};
            if (ended_) return;
            killed_by_owner_ = true;
            set_reason(errc::worker_killed, "it was killed by Worker::kill()");
        }
        take_step(StopLadder::Step::kill);
    }

    // Ends it by force, for the reason `text`.
    void kill(errc cause, const std::string& text) {
        {
            const Lock lock{mutex_};
            if (ended_) return;
            set_reason(cause, text);
        }
        take_step(StopLadder::Step::kill);
    }

    // --- Endable

    void take_step(StopLadder::Step step) override {
        switch (step) {
            case StopLadder::Step::none:
                break;
            case StopLadder::Step::ask:
                ask_to_stop();
                break;
            case StopLadder::Step::terminate:
                signal(SIGTERM);
                break;
            case StopLadder::Step::kill: {
                const std::scoped_lock lock{process_mutex_};
                process_.kill_tree();
                break;
            }
        }
    }

    bool collect() override {
        const auto collecting = collecting_.lock(runtime_.exiting());
        if (!collecting) return false;
        if (finished_) return true;
        const auto ended = reap();
        if (!ended) return false;
        close_watches();
        // What it said and answered before it ended still counts; but not what a stranger, who
        // holds a copy of its connection, may go on to say.
        for (int round = 0; round < 64 && read_available(nullptr); ++round) {
        }
        read_control();
        std::string tail;
        if (const auto lock = output_mutex_.lock(runtime_.exiting())) {
            output_->finish();
            tail = output_->tail();
        }
        finish(*ended, std::move(tail));
        finished_ = true;
        return true;
    }

    bool add_poll_items(std::vector<PollItem>& items, bool with_output) override {
        {
            const std::scoped_lock lock{process_mutex_};
            items.push_back(readable(process_.pidfd()));
        }
        const bool tells_its_end = items.back().fd != -1;
        if (!with_output) return tells_its_end;
        const auto lock = output_mutex_.lock(runtime_.exiting());
        if (!lock) return tells_its_end;
        for (const auto& stream : output_->streams()) {
            if (stream.pipe && !stream.ended) items.push_back(readable(stream.pipe.get()));
        }
        return tells_its_end;
    }

    void pump_output() override {
        const auto lock = output_mutex_.lock(runtime_.exiting());
        if (!lock) return;
        for (auto& stream : output_->streams()) output_->pump(stream);
        output_->flush();
    }

    [[nodiscard]] StopPolicy stop_policy() const override { return stop_policy_; }

private:
    Session(const WorkerOptions& options, const ProtocolId& protocol, std::uint64_t generation,
            OnEnd on_end, LaunchedWorker& worker, std::unique_ptr<OutputPump> output,
            Runtime& runtime)
        : runtime_(runtime),
          name_(worker_name(options)),
          protocol_(protocol),
          generation_(generation),
          stop_policy_(options.stop),
          start_timeout_(options.start_timeout),
          stuck_policy_(options.stuck),
          idle_timeout_(options.idle_timeout),
          limits_(options.limits),
          concurrency_(options.concurrency),
          worker_secret_(worker.worker_secret),
          pid_(worker.process.pid()),
          on_end_(std::move(on_end)),
          control_(std::move(worker.control)),
          output_(std::move(output)),
          channel_(std::move(worker.connection), options.max_message_bytes) {
        process_ = std::move(worker.process);  // last: what throws leaves it to the caller
    }

    void abandon() {
        close_watches();
        runtime_.remove(shared_from_this());
        const std::scoped_lock lock{process_mutex_};
        process_.discard();
    }

    static CallError exiting(const std::string& name) {
        return {errc::stopped,
                "worker \"" + name + "\": the program is exiting, nothing is started any more"};
    }

    static LaunchedWorker launch_or_throw(const WorkerOptions& options, const ProtocolId& protocol,
                                          std::uint64_t generation, OutputPump& output) {
        try {
            return launch(options, protocol, generation, output);
        } catch (const std::system_error& error) {
            throw CallError(
                errc::start_failed,
                "worker \"" + worker_name(options) + "\" could not be started: " + error.what(),
                nullptr, error.code());
        }
    }

    // --- Reading

    // What a blocked caller leaves behind in order, also when an exception ends its wait: its call
    // lives no longer than it. Whoever leaves sees to it that somebody reads on, also one that only
    // followed: its leader may have gone at the same time.
    struct Departure {
        Departure(Session& the_session, BlockingCall& the_call, const bool& is_leading,
                  Lock& the_lock)
            : session(the_session), call(the_call), leading(is_leading), lock(the_lock) {}
        Departure(const Departure&) = delete;
        Departure& operator=(const Departure&) = delete;
        ~Departure() {
            if (!lock.owns_lock()) lock.lock();
            if (leading) session.leader_ = nullptr;
            std::erase(session.followers_, &call);
            try {
                if (!call.message.done()) session.release(call, lock);
                if (!call.settled) session.forget(call);
                session.appoint_reader();
            } catch (...) {  // out of memory; the next caller tries again
            }
        }
        Session& session;
        BlockingCall& call;
        const bool& leading;
        Lock& lock;
    };

    // Reads for all until this call is settled, cancelled or due, or there is another reason to
    // look up.
    void lead(BlockingCall& call, Lock& lock) {
        if (connection_watched_) let_go_of_connection();
        const short events = channel_.blocked() ? POLLIN | POLLOUT : POLLIN;
        PollItem items[] = {{input_closed_ ? -1 : channel_.fd(), events, 0}, readable(wake_.fd())};
        lock.unlock();
        wait_ready(items, call.deadline());
        if (items[1].revents != 0) wake_.drain();
        if ((items[0].revents & ~POLLOUT) != 0) read_available(&call);
        lock.lock();
        if ((items[0].revents & POLLOUT) != 0) channel_.flush(lock);
        if (channel_.broken()) on_send_failed();
    }

    void follow(BlockingCall& call, Lock& lock) {
        followers_.push_back(&call);
        const auto ready = [&] { return call.settled || call.cancelled || call.promoted; };
        if (call.deadline() == TimePoint::max()) {
            call.changed.wait(lock, ready);
        } else {
            call.changed.wait_until(lock, call.deadline(), ready);
        }
        std::erase(followers_, &call);
        if (call.promoted && leader_ != nullptr) call.promoted = false;
    }

    // The leader leaves: somebody who waits takes over, or else the background thread.
    void appoint_reader() {
        if (leader_ != nullptr) return;
        for (auto* follower : followers_) {
            if (follower->settled) continue;
            follower->promoted = true;
            follower->changed.notify_one();
            return;
        }
        if (wants_background_reader()) watch_input();
        see_to_room();
    }

    [[nodiscard]] bool wants_background_reader() const noexcept {
        return leader_ == nullptr && followers_.empty() && async_calls_ != 0 && !input_closed_;
    }

    // Delivers what has arrived, without waiting. `reader` is the call of this thread, if any: its
    // answer is reason enough to stop. False: nothing more is there now.
    bool read_available(const Call* reader) {
        const std::scoped_lock reading{reading_};
        try {
            for (int round = 0; round < 64; ++round) {
                {
                    const Lock lock{mutex_};
                    if (input_closed_ || (reader != nullptr && reader->settled)) return false;
                }
                const auto received = channel_.receive(
                    false, [&](IncomingMessage& message) { deliver(message, reader); });
                if (received == Channel::Received::closed) on_input_closed();
                if (received != Channel::Received::more) return false;
            }
            return true;
        } catch (const FramingError& error) {
            fail(errc::framing, error.what());
        } catch (const std::bad_alloc&) {
            fail(errc::message_too_large, "an answer did not fit into memory");
        }
        return false;
    }

    void deliver(IncomingMessage& message, const Call* reader) {
        Lock lock{mutex_};
        if (!ready_) return welcome(message);
        if (message.type != FrameType::response && message.type != FrameType::error) {
            throw FramingError("a message of a type that a worker does not send");
        }
        Call* call = calls_.find(message.number);
        if (call != nullptr && !call->message.done()) call = wait_until_sent(message.number, lock);
        if (call == nullptr) {
            if (calls_.forget(message.number)) return;
            throw FramingError("an answer to call " + std::to_string(message.number) +
                               ", which is not pending");
        }
        if (call->info.index != message.index) {
            throw FramingError("an answer of another type than its call");
        }
        call->outcome.take(message);  // when there is no memory for it, the call is still pending
        calls_.remove(message.number);
        if (call->outcome.is_error_answer) look_at_error(call->outcome);
        settle(*call, reader);
    }

    // An answer may be faster than the thread that sent the last piece of its request.
    Call* wait_until_sent(std::uint64_t number, Lock& lock) {
        channel_.settle(lock);
        auto* call = calls_.find(number);
        if (call != nullptr && !call->message.done()) {
            throw FramingError("an answer to call " + std::to_string(number) +
                               ", of which only a part was sent");
        }
        return call;
    }

    void welcome(const IncomingMessage& message) {
        const auto greeting =
            message.type == FrameType::welcome ? Greeting::decode(message.payload) : std::nullopt;
        if (!greeting || !equal_secrets(view(greeting->secret), view(worker_secret_))) {
            throw FramingError("the first message is not the worker's welcome");
        }
        if (greeting->protocol != protocol_) {
            throw FramingError(describe_mismatch(protocol_, greeting->protocol));
        }
        ready_ = true;
    }

    void on_input_closed() {
        const Lock lock{mutex_};
        if (std::exchange(input_closed_, true) || ended_) return;
        ending_ = true;
        // Most likely it is about to end. If not, it is of no use any more.
        kill_later(errc::framing, "it closed its connection but did not end");
    }

    // --- Calls

    void settle(Call& call, const Call* reader) {
        call.settled = true;
        if (call.is_async()) --async_calls_;
        if (&call == leader_ && reader != &call) wake_.notify();
        call.on_settled();
        if (retirement_ != StopLadder::Step::none && calls_.size() == 0) leave_soon();
    }

    void settle_with(Call& call, CallError error) {
        call.outcome.error = std::move(error);
        settle(call, nullptr);
    }

    void give_up(Call& call, errc cause, Lock& lock) {
        auto sent = Outbox::Withdrawn::sent;
        const auto number = call.number;
        if (!call.message.done()) sent = release(call, lock);
        // Meanwhile the worker may have ended, and the call may be on its way to the next.
        if (calls_.find(number) != &call) return;
        if (sent == Outbox::Withdrawn::sent) {
            calls_.abandon(call.number);
            // A record would continue a stopped worker, which shall be replaced.
            const bool stopped = cause == errc::timeout && watch_overdue(call);
            if (!stopped) send_control(cancel_record(call.number));
        } else {
            calls_.remove(call.number);
        }
        const bool unknown = sent == Outbox::Withdrawn::sent && !call.info.idempotent;
        settle_with(call, {code_of(cause, unknown), describe_give_up(call, cause, sent)});
    }

    std::string describe_give_up(const Call& call, errc cause, Outbox::Withdrawn sent) const {
        const auto age = to_milliseconds(Clock::now() - call.info.made);
        std::string text = "call \"" + std::string{call.info.request} + "\" to worker \"" + name_ +
                           "\" (pid " + std::to_string(pid_) + "): ";
        text += cause == errc::timeout ? "no answer within " : "cancelled after ";
        text += std::to_string(age.count()) + " ms";
        if (!ready_) text += "; the worker was still starting";
        if (sent != Outbox::Withdrawn::sent) text += "; the request had not left";
        return text;
    }

    [[nodiscard]] static std::uint64_t time_left(const Call& call) noexcept {
        if (call.info.deadline == TimePoint::max()) return 0;
        return std::max<std::uint64_t>(1, to_microseconds(call.info.deadline - Clock::now()));
    }

    // After anything that may have sent. When the socket is full, whoever polls must learn of it;
    // `others_poll` unless this thread is about to.
    void see_to_room(bool others_poll = true) {
        if (channel_.broken()) return on_send_failed();
        if (!channel_.blocked()) return;
        if (leader_ != nullptr) {
            wake_.notify();
        } else if (others_poll) {
            watch_room();
        }
    }

    // Most likely it is about to end. If not, it is of no use any more.
    void on_send_failed() {
        if (std::exchange(ending_, true)) return;
        kill_later(errc::framing, "nothing could be sent to it: " + channel_.error().message());
    }

    Outbox::Withdrawn release(Call& call, Lock& lock) {
        const auto result = channel_.release(call.message, lock);
        see_to_room();
        return result;
    }

    // As if it had never been made.
    void forget(Call& call) noexcept {
        if (calls_.find(call.number) != &call) return;
        if (call.message.opened()) {
            calls_.abandon(call.number);
        } else {
            calls_.remove(call.number);
        }
        if (call.is_async()) --async_calls_;
    }

    // --- The control channel

    void send_control(const std::string& record) {
        if (!control_.send(record)) watch_control_room();
    }

    // False: the worker has closed its end.
    bool read_control() {
        const auto received = control_.receive();
        if (received.failure) fail(received.failure->cause, received.failure->text);
        for (const auto number : received.running) on_still_running(number);
        return received.open;
    }

    void ask_to_stop() {
        {
            Lock lock{mutex_};
            if (ended_ || std::exchange(asked_to_stop_, true)) return;
            set_reason(errc::stopped, "it was stopped");
            channel_.stop_sending(lock);
            for (auto* call : calls_.calls()) {
                // Those that left are still answered by a handler that runs to its end.
                calls_.abandon(call->number);
                // Whether or not its welcome has been read: it may be at work already.
                settle_with(*call, {code_of(errc::stopped, may_have_taken_effect(*call)),
                                    "call \"" + std::string{call->info.request} +
                                        "\" to worker \"" + name_ + "\": it was stopped"});
            }
        }
        send_control(control_record(ControlType::stop));
    }

    // --- The end

    // The first reason is the one that counts.
    void set_reason(errc cause, std::string text) {
        ending_ = true;
        if (!reason_) reason_ = Reason{cause, std::move(text)};
    }

    void fail(errc cause, const std::string& text) {
        {
            const Lock lock{mutex_};
            input_closed_ = true;
        }
        kill(cause, text);
    }

    // When it has had the time that it has at stop().
    void kill_later(errc cause, const std::string& text) {
        const auto patience = deadline_after(deadline_after(Clock::now(), stop_policy_.drain),
                                             stop_policy_.terminate);
        const std::scoped_lock watching{watching_};
        if (!watches_) return;
        at(watches_->lost, patience,
           [cause, text](Session& session) { session.kill(cause, text); });
    }

    void signal(int number) {
        const std::scoped_lock lock{process_mutex_};
        process_.signal(number);
    }

    std::optional<Ended> reap() {
        const std::scoped_lock lock{process_mutex_};
        return process_.reap_if_ended();
    }

    std::shared_ptr<const ExitReport> make_report(const Ended& ended, const Reason& reason,
                                                  std::string tail) const {
        const auto now = Clock::now();
        auto report = std::make_shared<ExitReport>();
        report->worker = name_;
        report->pid = pid_;
        report->generation = generation_;
        report->status = ended.status;
        report->uptime = to_milliseconds(now - started_);
        report->peak_memory_bytes = ended.peak_memory_bytes;
        report->killed_from_outside = !reason_ && ended.status.signal() == SIGKILL;
        if (const auto kills = count_oom_kills(); kills && oom_kills_before_) {
            report->oom_kills = *kills - std::min(*kills, *oom_kills_before_);
        }
        report->limits = limits_;
        report->note = reason.text;
        report->stderr_tail = std::move(tail);
        report->calls_in_flight = describe_calls(calls_.calls(), now);
        return report;
    }

    void finish(const Ended& ended, std::string tail) {
        SessionEnd end;
        errc cause{};
        {
            const Lock lock{mutex_};
            ended_ = ending_ = input_closed_ = true;
            note_watch_error();
            const auto reason = verdict(reason_, ended.status, ready_);
            end.report = make_report(ended, reason, std::move(tail));
            end.was_ready = ready_;
            end.expected = reason_ && (reason_->cause == errc::stopped || killed_by_owner_);
            end.error = CallError{reason.cause, to_string(*end.report), end.report};
            end.seen = calls_.size() != 0;
            cause = reason.cause;
        }
        // Before its calls are settled: who asks then finds the worker in its new state.
        if (on_end_) std::exchange(on_end_, nullptr)(end);
        {
            Lock lock{mutex_};
            channel_.stop_sending(lock);
            settle_all(cause, end.report);
        }
        close_descriptors();
        runtime_.remove(shared_from_this());
        wake_.notify();
    }

    void note_watch_error() {
        const std::scoped_lock watching{watching_};
        if (!watch_error_) return;
        set_reason(errc::worker_killed, "it could not be watched: " + watch_error_.message());
    }

    void settle_all(errc cause, const std::shared_ptr<const ExitReport>& report) {
        const bool by_itself =
            !reason_ || reason_->cause == errc::framing || reason_->cause == errc::worker_stuck;
        for (auto* call : calls_.calls()) {
            calls_.remove(call->number);
            const bool unsent = !call->message.opened();
            call->outcome.lost_with_worker =
                by_itself && ready_ && (unsent || call->info.idempotent);
            settle_with(*call, death_of_call(*call, cause, ready_, report));
        }
        calls_.clear();
    }

    // --- What makes a worker be replaced though it has not ended: defined in session_health.hpp

    bool watch_overdue(const Call& call);
    void arm_look(TimePoint when);
    void look_at_overdue();
    void on_still_running(std::uint64_t number);
    void look_at_error(const Outcome& outcome);
    void watch_idleness(TimePoint when);
    void on_idle();
    void retire(StopLadder::Step how);
    void leave_soon();
    void on_leave();

    // --- What the background thread watches: defined in session_background.hpp

    template <class Act>
    void when_ready(WatchedDescriptor& descriptor, int fd, bool to_write, Act act);
    template <class Act>
    void at(asio::steady_timer& timer, TimePoint when, Act act);
    void on_unwatched(std::error_code error);
    void watch_everything();
    void watch_end();
    void look_for_end();
    void watch_control();
    void watch_control_room();
    void watch_output(std::size_t index);
    void on_output_ready(std::size_t index);
    void watch_backlog();
    void on_backlog();
    void on_start_timeout();
    void watch_input();
    void on_input_ready();
    void watch_room();
    void on_room();
    void let_go_of_connection();
    void watch_deadline(const Call& call);
    void arm_deadline(TimePoint when);
    void on_deadline();
    void close_watches();
    void close_descriptors();

    Runtime& runtime_;
    const std::string name_;
    const ProtocolId protocol_;
    const std::uint64_t generation_;
    const StopPolicy stop_policy_;
    const Duration start_timeout_;
    const StuckPolicy stuck_policy_;
    const Duration idle_timeout_;
    const Limits limits_;
    const unsigned concurrency_;
    const std::optional<std::uint64_t> oom_kills_before_ = count_oom_kills();
    const Secret worker_secret_;
    const std::int64_t pid_;
    const TimePoint started_ = Clock::now();
    OnEnd on_end_;

    HostMutex collecting_;
    bool finished_ = false;

    std::mutex process_mutex_;
    ChildProcess process_;

    ControlLink control_;

    HostMutex output_mutex_;
    std::unique_ptr<OutputPump> output_;

    std::mutex reading_;  // the channel's reader
    mutable std::mutex mutex_;
    Channel channel_;
    CallTable<Call> calls_;
    Deadlines deadlines_;
    std::size_t async_calls_ = 0;
    BlockingCall* leader_ = nullptr;
    std::vector<BlockingCall*> followers_;
    WakeUp wake_;
    std::optional<Reason> reason_;
    bool ready_ = false;         // the worker has welcomed us
    bool input_closed_ = false;  // nothing is read any more
    bool ending_ = false;        // no more calls are taken
    bool ended_ = false;         // reaped, everything settled
    bool asked_to_stop_ = false;
    bool killed_by_owner_ = false;
    OverdueCalls overdue_;
    TimePoint last_call_ = started_;
    // How it is ended once no call is left; none: it need not be.
    StopLadder::Step retirement_ = StopLadder::Step::none;

    std::mutex watching_;
    std::unique_ptr<Watches> watches_;
    std::error_code watch_error_;          // something could not be watched
    std::array<bool, 2> output_paused_{};  // not watched, since the host's stderr is behind
    // Under mutex_:
    bool watching_input_ = false;
    bool watching_room_ = false;
    bool connection_watched_ = false;  // the reactor has the connection
    TimePoint armed_deadline_ = TimePoint::max();
};

}  // namespace detail
TETHER_NAMESPACE_END
