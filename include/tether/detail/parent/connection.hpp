// Why: all calls to one worker, on one connection: sent, answered, given up. Whoever waits reads:
// of several blocked callers one (the leader) reads for all; when nobody blocks but a call is
// pending, a background thread does, which is the owner's. What the end of the connection means for
// the process is the owner's business, too.
//
// Locks, in the order they may be taken: reading_, mutex_; below those the owner's. A deaf leader
// holds reading_ while it waits in a receive, for a tick or two of the kernel; nobody becomes deaf
// while somebody wants it, since the lock is not fair.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/wake_up_pool.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/spin.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/call_table.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/parent/calls_of_the_dead.hpp>
#include <tether/detail/parent/connection_owner.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/error.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class Connection {
public:
    using Lock = Channel::Lock;

    struct Identity {
        std::string worker{};  // its name, for the texts of errors
        std::int64_t pid = 0;
        ProtocolId protocol{};
        Secret secret{};  // proves that it is the worker who speaks
    };

    Connection(ConnectionOwner& owner, Descriptor socket, std::uint64_t max_message_bytes,
               Identity identity, Duration spin = Duration::zero(), WakeUpPool* wake_ups = nullptr)
        : owner_(owner),
          identity_(std::move(identity)),
          max_message_bytes_(max_message_bytes),
          channel_(std::move(socket), max_message_bytes),
          may_wait_in_receive_(limit_waiting_receives(channel_.fd())),
          spin_(spin),
          wake_ups_(wake_ups != nullptr ? *wake_ups : own_wake_ups_) {
        channel_.reader().set_doorkeeper(door_);
    }

    [[nodiscard]] int fd() const noexcept { return channel_.fd(); }

    // --- Calls

    // Sends a request and returns its number. 0: no more calls are taken, the end is near or was.
    // The call lives as long as this lasts, settled or not.
    std::uint64_t submit(Call& call) {
        Lock lock{mutex_};
        if (closed_) return 0;
        if (call.deadline() <= call.info.made) throw error_of(call, expired(call), false);
        const auto number = call.number = calls_.add(call);
        if (call.is_async()) ++async_calls_;
        try {
            call.message.open(FrameType::request, call.info.index, number, timeouts_of(call));
            if (call.is_async()) watch_deadline(call);
            // Before it leaves: the answer would wake the background thread only to find that this
            // one still holds the locks.
            if (wants_background_reader()) watch_input();
            if (leaves_with_others(call)) {
                channel_.queue(call.message);
            } else {
                channel_.send(call.message, lock);
            }
        } catch (...) {
            if (!call.message.done()) channel_.release(call.message, lock);
            forget(call);
            throw;
        }
        see_to_room(call.is_async());
        return number;
    }

    // Blocks until the call is settled, and reads for all who wait meanwhile.
    void wait(BlockingCall& call);

    // From another thread than the one in wait(), or instead of it.
    void cancel(BlockingCall& call) {
        const Lock lock{mutex_};
        call.cancelled = true;
        call.changed->notify_one();
        if (leader_ == &call) wake_leader();
    }

    // Settles a call that nobody's thread waits for, if it is still pending here. `only_unsent`:
    // not when it has left already.
    void cancel(std::uint64_t number, bool only_unsent) {
        Lock lock{mutex_};
        auto* call = calls_.find(number);
        if (call == nullptr) return;
        const auto alive = call->keep_alive();
        if (only_unsent) {
            channel_.settle(lock);  // it may be leaving at this moment
            if (calls_.find(number) != call || call->message.opened()) return;
        }
        give_up(*call, cancelled(*call), lock);
    }

    // --- Its state

    // The worker has welcomed us.
    [[nodiscard]] bool ready() const {
        const auto lock = acquire(mutex_);
        return ready_;
    }
    [[nodiscard]] bool takes_calls() const noexcept { return !closed_; }
    [[nodiscard]] bool has_calls() const {
        const auto lock = acquire(mutex_);
        return calls_.size() != 0;
    }
    [[nodiscard]] bool is_pending(std::uint64_t number) const {
        const Lock lock{mutex_};
        return calls_.find(number) != nullptr;
    }
    // How many calls were made.
    [[nodiscard]] std::uint64_t calls_made() const {
        const auto lock = acquire(mutex_);
        return calls_.last();
    }
    // It was given up, and its answer has not come yet.
    [[nodiscard]] bool is_unanswered(std::uint64_t number) const {
        const Lock lock{mutex_};
        return calls_.is_abandoned(number);
    }
    // A call that expired when its request had left, and has no answer yet.
    struct OverdueCall {
        std::uint64_t number = 0;
        AbandonedCall call{};
    };
    // Those that may run in the worker. What has not begun will not begin, since it was given up.
    [[nodiscard]] std::vector<OverdueCall> overdue_calls(const Begun& begun);
    [[nodiscard]] std::optional<OverdueCall> overdue_call(std::uint64_t number);
    [[nodiscard]] bool has_overdue();
    // From now on it is not overdue.
    void excuse(std::uint64_t number);
    // Numbers of those that the worker was not told of, while it was stopped; each once.
    [[nodiscard]] std::vector<std::uint64_t> take_untold();
    [[nodiscard]] std::vector<CallInFlight> in_flight(TimePoint now, const Begun& begun) const {
        const auto lock = acquire(mutex_);
        return describe_calls(calls_.calls(), now, begun);
    }

    // --- Its end

    // Takes no more calls. Those that it has go on.
    void close() noexcept { closed_ = true; }

    // Closes when nothing has happened since this was asked before.
    bool close_if_idle() {
        const Lock lock{mutex_};
        const bool busy = calls_.size() != 0 || calls_.abandoned() != 0;
        const auto made = busy ? std::nullopt : std::optional{calls_.last()};
        if (made && idle_since_ == made) close();
        idle_since_ = made;
        return closed_;
    }

    void stop_reading() {
        const auto lock = acquire(mutex_);
        input_closed_ = true;
    }

    // Other code has closed the socket: it is touched no more. What has arrived is lost with it.
    void forsake() {
        auto lock = acquire(mutex_);
        close();
        stopped_ = input_closed_ = true;
        channel_.stop_sending(lock);
        wake_leader();
    }

    // What its calls need to know when a worker ends.
    struct End {
        Begun begun{};
        bool another = false;    // there may be another process for what this one has not begun
        bool wanted = false;     // its owner asked for the end
        bool by_itself = false;  // no one did: calls that may be made again go on, too
    };

    // The worker is asked to leave: nothing more is sent, and no answer awaited.
    void stop(const End& end) {
        auto lock = acquire(mutex_);
        close();
        stopped_ = true;
        if (held_back_ != 0) channel_.flush(lock);  // they were made before
        channel_.stop_sending(lock);
        for (auto* call : calls_.calls()) {
            // Whether or not its welcome has been read: it may be at work already.
            const bool begun = may_have_begun(*call, end.begun);
            if (end.another && has_not_begun(*call, end.begun)) {
                call->outcome.resend = Resend::freely;
            }
            CallError error{code_of(errc::stopped, begun && !call->info.idempotent),
                            describe(*call) + ": it was stopped"};
            // Those that left are still answered by a handler that runs to its end.
            calls_.abandon(call->number);
            settle_with(*call, std::move(error));
        }
    }

    // Takes answers that the worker had ready but had not sent when it ended; others may be among
    // them that it has.
    void recover(std::string_view frames);

    // The worker is gone.
    void finish(errc cause, const End& end, const std::shared_ptr<const ExitReport>& report) {
        CallsOfTheDead dead{cause, report};
        auto lock = acquire(mutex_);
        close();
        stopped_ = input_closed_ = true;
        channel_.stop_sending(lock);
        for (auto* call : calls_.calls()) {
            const bool begun = may_have_begun(*call, end.begun);
            const bool go_on = end.another && (ready_ || end.wanted);
            if (go_on && has_not_begun(*call, end.begun)) {
                call->outcome.resend = Resend::freely;
            } else if (go_on && end.by_itself && call->info.idempotent) {
                call->outcome.resend = Resend::once;
            }
            const bool unknown = ready_ && begun && !call->info.idempotent;
            auto error = dead.error_of(call->info.request, unknown);
            calls_.remove(call->number);
            settle_with(*call, std::move(error));
        }
        calls_.clear();
        wake_leader();
    }

    // --- What the background thread does

    // Delivers what has arrived, without waiting. False: nothing more is there now.
    bool read_available() {
        if (locks_are_bounded()) {  // what a caller does not pay for, in read()
            static_cast<void>(acquire(reading_));
            static_cast<void>(acquire(mutex_));
        }
        return read(nullptr) == Channel::Received::more;
    }

    void on_input();

    void on_room() {
        Lock lock{mutex_};
        watching_room_ = false;
        channel_.flush(lock);
        see_to_room();
    }

    void on_others_ran() {
        Lock lock{mutex_};
        held_back_ = 0;
        channel_.flush(lock);
        see_to_room();
    }

    void on_deadline() {
        // Very many may be due at once: their handlers run in between, and so do other workers.
        constexpr std::size_t slice = 256;
        read_available();
        Lock lock{mutex_};
        for (const auto number : deadlines_.take_due(Clock::now(), slice)) {
            auto* call = calls_.find(number);
            if (call == nullptr) continue;
            const auto alive = call->keep_alive();
            give_up(*call, expired(*call), lock);
        }
        arm_deadline(deadlines_.next(
            [this](std::uint64_t number) { return calls_.find(number) != nullptr; }));
    }

    // The worker says that its handler has had the run timeout of the call.
    void on_overrun(std::uint64_t number) {
        if (!is_pending(number)) return;
        read_available();
        Lock lock{mutex_};
        auto* call = calls_.find(number);
        if (call != nullptr && !call->message.done()) {
            channel_.settle(lock);       // it may be leaving at this moment
            call = calls_.find(number);  // a blocking caller may have gone meanwhile
        }
        if (call == nullptr || call->info.run_timeout == no_timeout) return;
        if (!call->message.done()) return;  // no handler can have begun it
        const auto alive = call->keep_alive();
        give_up(*call, overrun(*call), lock);
    }

private:
    // --- Waiting and reading: defined in connection_reading.hpp

    // An answer opens only for a call that waits or was given up, and on the whole no more often
    // than there were calls: a worker may break off its answers, but not for ever.
    class Door final : public Doorkeeper {
    public:
        explicit Door(Connection& connection) noexcept : connection_(connection) {}
        Verdict judge(const FrameHeader& header) override;

    private:
        Connection& connection_;
        std::uint64_t opened_ = 0;
    };

    struct Departure;
    bool lead(BlockingCall& call, Lock& lock, bool deaf);
    bool look_for_answer(const BlockingCall& call);
    void follow(BlockingCall& call, Lock& lock);
    [[nodiscard]] Waiter appoint_reader();
    [[nodiscard]] bool wants_background_reader() const noexcept {
        return leader_ == nullptr && followers_.empty() && async_calls_ != 0 && !input_closed_;
    }

    void watch_input();
    void watch_room();
    void let_go();
    Channel::Received read(const Call* reader, bool wait = false);
    void deliver(IncomingMessage& message, const Call* reader);
    void look_at_error(Call& call);
    Call* wait_until_sent(std::uint64_t number, Lock& lock);
    void welcome(const IncomingMessage& message);
    void on_input_closed();
    void lose(const std::string& text);

    // Whatever it shall look up for is noted already. A leader that polls nothing looks by itself.
    void wake_leader() {
        if (!wake_) return;
        woken_ = true;
        wake_->notify();
    }

    // --- Settling

    // Returns who must be notified once the lock is released.
    [[nodiscard]] Waiter settle(Call& call, const Call* reader) {
        call.settled = true;
        if (&call == leader_ && reader != &call) wake_leader();
        const bool async = call.is_async();
        auto waiter = &call == reader ? nullptr : call.on_settled();
        on_removed(async);
        return waiter;
    }

    void settle_with(Call& call, CallError error) {
        call.outcome.error = std::move(error);
        if (const auto waiter = settle(call, nullptr)) waiter->notify_one();
    }

    // After a call has left the table.
    void on_removed(bool async) {
        if (async) --async_calls_;
        if (closed_ && calls_.size() == 0) owner_.on_drained();
    }

    void give_up(Call& call, const Reason& reason, Lock& lock) {
        auto sent = Outbox::Withdrawn::sent;
        const auto number = call.number;
        if (!call.message.done()) sent = release(call, lock);
        // Its copy may still wait for room in the socket.
        if (calls_.find(number) == &call && channel_.withdraw_copy(number)) {
            sent = Outbox::Withdrawn::unsent;
        }
        // Meanwhile the worker may have ended, and the call may be on its way to the next.
        if (calls_.find(number) != &call) return;
        const bool left = sent == Outbox::Withdrawn::sent;
        auto error = error_of(call, reason, left);
        if (left) {
            const bool expired = reason.cause == errc::timeout;
            calls_.abandon(number, {call.info.request, expired ? Clock::now() : TimePoint::max()});
        } else {
            calls_.remove(number);
        }
        settle_with(call, std::move(error));
        if (left && !owner_.on_given_up(number, reason.cause)) {
            const auto untold = calls_.abandoned_calls().find(number);
            if (untold != calls_.abandoned_calls().end()) untold->second.told = false;
        }
    }

    [[nodiscard]] CallError error_of(const Call& call, const Reason& reason, bool sent) const {
        auto text = describe(call) + ": " + reason.text;
        if (!ready_) text += "; the worker was still starting";
        if (!sent) text += "; the request had not left";
        return {code_of(reason.cause, sent && !call.info.idempotent), std::move(text)};
    }

    // As if it had never been made.
    void forget(Call& call) {
        if (calls_.find(call.number) != &call) return;
        if (call.message.opened()) {
            calls_.abandon(call.number);
        } else {
            calls_.remove(call.number);
        }
        on_removed(call.is_async());
    }

    [[nodiscard]] std::string describe(const Call& call) const {
        return "call \"" + std::string{call.info.request} + "\" to worker \"" + identity_.worker +
               "\" (pid " + std::to_string(identity_.pid) + ")";
    }

    // --- Sending

    // What several completion handlers ask for, one after the other, costs one system call for
    // some; the worker should not have to wait for all of them.
    static constexpr unsigned most_held_back = 16;
    bool leaves_with_others(const Call& call) {
        if (call.message.wire_size() > Outbox::copy_limit) return false;
        if (!owner_.on_background_thread()) return false;
        if (held_back_ == 0) owner_.let_others_run();
        return ++held_back_ % most_held_back != 0;
    }

    // After anything that may have sent. When the socket is full, whoever polls must learn of it;
    // `others_poll` unless this thread is about to.
    void see_to_room(bool others_poll = true) {
        if (channel_.broken()) return on_send_failed();
        if (!channel_.blocked()) return;
        if (leader_ != nullptr && !leader_is_deaf_) {
            wake_leader();
        } else if (leader_ != nullptr || others_poll) {
            watch_room();
        }
    }

    void on_send_failed() {
        if (stopped_) return;
        lose("nothing could be sent to it: " + channel_.send_error().message());
    }

    Outbox::Withdrawn release(Call& call, Lock& lock) {
        const auto result = channel_.release(call.message, lock);
        see_to_room();
        return result;
    }

    // --- Deadlines of the calls that nobody's thread waits for

    void watch_deadline(const Call& call) {
        if (call.deadline() == TimePoint::max()) return;
        const auto pending = [this](std::uint64_t number) {
            return calls_.find(number) != nullptr;
        };
        deadlines_.add(call.deadline(), call.number);
        deadlines_.tidy(async_calls_, pending);
        if (call.deadline() < armed_deadline_) arm_deadline(call.deadline());
    }

    void arm_deadline(TimePoint when) {
        armed_deadline_ = when;
        owner_.watch_deadline(when);
    }

    ConnectionOwner& owner_;
    const Identity identity_;
    const std::uint64_t max_message_bytes_;

    std::mutex reading_;                        // the channel's reader
    std::atomic<unsigned> reading_wanted_ = 0;  // threads that wait for it
    mutable std::mutex mutex_;
    Door door_{*this};
    Channel channel_;
    const bool may_wait_in_receive_;  // it has a limit
    CallTable<Call> calls_;
    Spin spin_;  // the leader's
    Deadlines deadlines_;
    std::size_t async_calls_ = 0;
    unsigned held_back_ = 0;  // requests since the background thread was asked to flush
    BlockingCall* leader_ = nullptr;
    bool leader_is_deaf_ = false;  // it waits in a receive, and hears nothing else
    std::vector<BlockingCall*> followers_;
    WakeUpPool own_wake_ups_;
    WakeUpPool& wake_ups_;
    std::optional<WakeUp> wake_;                  // what the leader polls, if it does
    bool woken_ = false;                          // there is something to be read from it
    std::optional<std::uint64_t> idle_since_{0};  // the number of the last call, if that is over
    TimePoint armed_deadline_ = TimePoint::max();
    std::atomic<bool> closed_{false};  // no more calls are taken; changes only once
    bool ready_ = false;               // the worker has welcomed us
    bool input_closed_ = false;        // nothing is read any more
    bool stopped_ = false;             // nothing is sent any more
    bool lost_ = false;                // the owner knows that it is of no use any more
    bool watching_input_ = false;
    bool watching_room_ = false;
    bool watched_ = false;  // the reactor has the connection
};

}  // namespace detail
TETHER_NAMESPACE_END
