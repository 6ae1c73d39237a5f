// Why: all calls to one worker, on one connection: sent, answered, given up. Blocked callers read
// by themselves: one of them, the leader, reads for all. Only when no caller blocks and an async
// call is pending, the owner's background thread reads. ReaderRole decides which thread it is; this
// carries its actions out. What the end of the connection means for the process is up to the owner.
//
// Locks, in the order in which they may be taken: reading_, mutex_; below those the owner's. A
// leader may hold reading_ while it is blocked in a receive, for a tick or two of the kernel; it
// does not start one while another thread waits for reading_.
//
// Async calls are settled under these locks, by any thread. The background thread completes them
// under none of them, because that runs code of the user's, which may take the user's locks: those
// that a thread holds that waits for its answer, cancels a call or stops the worker.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/wake_up_pool.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/spin.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/call_connection.hpp>
#include <tether/detail/call/call_table.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/parent/calls_of_the_dead.hpp>
#include <tether/detail/parent/connection_owner.hpp>
#include <tether/detail/parent/reader_role.hpp>
#include <tether/detail/parent/settled_calls.hpp>
#include <tether/detail/parent/wanted_mutex.hpp>
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

class Connection final : public CallConnection {
public:
    using Lock = Channel::Lock;

    struct Identity {
        std::string worker{};  // its name, for the texts of errors
        std::int64_t pid = 0;  // 0: it has no process
        ProtocolId protocol{};
        Secret secret{};  // proves that the peer is the worker
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

    // Sends a request and returns its number. 0: no more calls are taken; the connection is about
    // to end or has ended. The caller keeps the call alive until this returns, even if it is
    // settled before.
    std::uint64_t submit(Call& call) {
        Lock lock{mutex_};
        if (closed_) return 0;
        if (call.deadline() <= call.info.made) throw error_of(call, expired(call), false);
        const auto number = call.number = calls_.add(call);
        const bool async = call.is_async();
        try {
            if (call.feed != nullptr) [[unlikely]]
                call.feed->begin();
            call.counted = async && !call.quiet;
            if (call.counted) carry_out(role_.add_async());  // first: forget() takes it back
            call.message.open(FrameType::request, call.info.index, number, timeouts_of(call));
            if (async) watch_deadline(call);
            if (leaves_with_others(call)) {
                channel_.queue(call.message);
            } else if (call.feed != nullptr) {  // before what is sent about it
                channel_.queue_copy_of_all(call.message);
                channel_.flush(lock);
            } else {
                channel_.send(call.message, lock);
            }
        } catch (...) {
            if (!call.message.done()) channel_.release(call.message, lock);
            forget(call);
            throw;
        }
        see_to_room(async);
        return number;
    }

    // Sends a request that gets no answer, and waits while the socket is full. False as above: 0.
    [[gnu::cold, gnu::noinline]] bool post(const BlockingCall& call) {
        Lock lock{mutex_};
        if (closed_) return false;
        call.message.open(FrameType::request, call.info.index, calls_.skip(), timeouts_of(call),
                          FrameHeader::one_way);
        send_copy(call.message, lock);
        while (channel_.blocked() && !stopped_ && Clock::now() < call.deadline() &&
               !owner_.on_background_thread()) {
            lock.unlock();
            PollItem item = writable(channel_.fd());
            wait_ready({&item, 1}, deadline_after(Clock::now(), std::chrono::milliseconds{10}));
            lock.lock();
            channel_.flush(lock);
        }
        return true;
    }

    // Blocks until the call is settled, and may read for all other callers meanwhile. What comes
    // before is seen to by its feed.
    void wait_for_answer(BlockingCall& call);

    bool wait(WaitingCaller& caller) override;

    // Ends the wait with an error. On any thread, before it or during it.
    void cancel(BlockingCall& call) {
        const Lock lock{mutex_};
        call.cancelled = true;
        call.changed->notify_one();
        carry_out(role_.cancel(call));
    }

    // Settles an async call if it is still pending here. `only_unsent`: only if no part of its
    // request has been sent.
    void cancel(std::uint64_t number, bool only_unsent) override {
        std::shared_ptr<Call> alive;  // released after the lock
        Section section{*this};
        auto* call = calls_.find(number);
        if (call == nullptr) return;
        alive = call->keep_alive();
        if (only_unsent) {
            channel_.settle(section.lock);  // it may be leaving at this moment
            if (calls_.find(number) != call) return;
            if (call->message.opened() && !owner_.withdraw(number)) return;
        }
        give_up(*call, cancelled(*call), section.lock);
    }

    // --- What passes beside requests and answers

    [[nodiscard]] const Observer* observer() const noexcept override { return owner_.observer(); }

    [[gnu::cold]] void give_up_waiting(std::uint64_t number, Duration waited) override {
        std::shared_ptr<Call> alive;  // released after the lock
        Section section{*this};
        auto* call = calls_.find(number);
        if (call == nullptr) return;
        alive = call->keep_alive();
        give_up(*call, silent(waited), section.lock);
    }
    [[gnu::cold]] void see_to_reader(std::uint64_t number) override {
        const Lock lock{mutex_};
        auto* call = calls_.find(number);
        if (call == nullptr || call->feed == nullptr) return;
        auto& feed = *call->feed;
        const auto wanted = feed.wanted_reader();
        feed.item_gap = wanted.value_or(no_timeout);
        feed.item_due = deadline_after(Clock::now(), feed.item_gap);
        if (feed.item_due < feed.item_watched) {  // otherwise expire() goes on to it
            feed.item_watched = feed.item_due;
            watch_deadline(feed.item_due, number);
        }
        if (call->counted == wanted.has_value()) return;
        call->counted = wanted.has_value();
        if (call->counted) {
            carry_out(role_.add_async());
        } else {
            role_.remove_async();
        }
    }
    bool send_side(std::uint64_t number, FrameType type, OutgoingMessage& message) override {
        Lock lock{mutex_};
        const auto* call = calls_.find(number);
        if (call == nullptr) return false;
        message.open(type, call->info.index, side_numbers_.next(), of_call(number));
        send_copy(message, lock);
        return true;
    }
    [[nodiscard]] std::uint64_t max_message_bytes() const noexcept override {
        return max_message_bytes_;
    }
    void send_answer(std::uint64_t number, FrameType type, std::uint16_t index,
                     std::uint64_t question, OutgoingMessage& message) override {
        Lock lock{mutex_};
        if (calls_.find(number) == nullptr || stopped_) return;
        message.open(type, index, question);
        send_copy(message, lock);
        unread_answers_ = channel_.blocked() ? unread_answers_ + 1 : 0;
    }
    // To the worker as a whole. With `type` window, of notifications.
    [[gnu::cold]] void send_to_worker(FrameType type, std::uint16_t index, std::uint64_t about,
                                      OutgoingMessage& message) override {
        Lock lock{mutex_};
        if (stopped_) return;
        message.open(type, index, side_numbers_.next(), of_call(about));
        send_copy(message, lock);
    }
    // While there are subscriptions, the background thread reads where no caller does.
    void listen(bool wanted) override {
        const Lock lock{mutex_};
        if (std::exchange(listening_, wanted) == wanted || !role_.input_open()) return;
        if (wanted) {
            carry_out(role_.add_async());
        } else {
            role_.remove_async();
        }
    }

    // --- Its state

    // The worker's welcome has arrived.
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
    // The call was given up, and its answer has not come yet.
    [[nodiscard]] bool is_unanswered(std::uint64_t number) const {
        const Lock lock{mutex_};
        return calls_.is_abandoned(number);
    }
    // A call that expired when its request had left, and has no answer yet.
    struct OverdueCall {
        std::uint64_t number = 0;
        AbandonedCall call{};
    };
    // Those that may run in the worker. A call that has not begun never will: it was given up.
    [[nodiscard]] std::vector<OverdueCall> overdue_calls(const Begun& begun);
    [[nodiscard]] std::optional<OverdueCall> overdue_call(std::uint64_t number);
    [[nodiscard]] bool has_overdue();
    // From now on this call is not overdue.
    void excuse(std::uint64_t number);
    // Numbers of the calls that were given up while the worker was stopped, and that it was not
    // told of; each once.
    [[nodiscard]] std::vector<std::uint64_t> take_untold();
    [[nodiscard]] std::vector<CallInFlight> in_flight(TimePoint now, const Begun& begun) const {
        const auto lock = acquire(mutex_);
        return describe_calls(calls_.calls(), now, begun);
    }

    // --- Its end

    // Takes no more calls. Those that are pending go on.
    void close() noexcept { closed_ = true; }

    // Closes if nothing has happened since the last time this was called. True: it is closed.
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
        carry_out(role_.close_input());
    }

    // Other code has closed the socket: it is not touched any more. What has arrived is lost.
    void forsake() {
        auto lock = acquire(mutex_);
        close();
        stopped_ = true;
        carry_out(role_.close_input());
        channel_.stop_sending(lock);
    }

    // What decides about the calls of a worker that ends.
    struct End {
        Begun begun{};
        bool another = false;    // there may be another process for calls that have not begun
        bool wanted = false;     // its owner asked for the end
        bool by_itself = false;  // the worker died; idempotent calls are sent again, too
    };

    // The worker is asked to leave: nothing more is sent, and no answer is awaited.
    void stop(const End& end, const Reason& reason = {errc::stopped, "it was stopped"}) {
        Section section{*this};
        auto& lock = section.lock;
        close();
        stopped_ = true;
        if (held_back_ != 0) channel_.flush(lock);  // those calls were made before
        channel_.stop_sending(lock);
        for (auto* call : calls_.calls()) {
            // Even if the welcome has not been read: the worker may have begun.
            const bool begun = may_have_begun(*call, end.begun);
            if (end.another && has_not_begun(*call, end.begun)) {
                resend(*call, Resend::freely);
            }
            CallError error{code_of(reason.cause, begun && !call->info.idempotent),
                            describe(*call) + ": " + reason.text};
            // A handler that runs to its end still answers.
            calls_.abandon(call->number);
            settle_with(*call, std::move(error));
        }
    }

    // Takes answers that the worker had ready when it ended. Some of them it may have sent.
    void recover(std::string_view frames);

    // The worker is gone.
    void finish(errc cause, const End& end, const std::shared_ptr<const ExitReport>& report) {
        CallsOfTheDead dead{cause, report};
        Section section{*this};
        close();
        stopped_ = true;
        carry_out(role_.close_input());
        channel_.stop_sending(section.lock);
        for (auto* call : calls_.calls()) {
            const bool begun = may_have_begun(*call, end.begun);
            const bool go_on = end.another && (ready_ || end.wanted);
            if (go_on && has_not_begun(*call, end.begun)) {
                resend(*call, Resend::freely);
            } else if (go_on && end.by_itself && call->info.idempotent) {
                resend(*call, Resend::once);
            }
            const bool unknown = ready_ && begun && !call->info.idempotent;
            auto error = dead.error_of(call->info.request, unknown);
            calls_.remove(call->number);
            settle_with(*call, std::move(error));
        }
        calls_.clear();
    }

    // While it lives, no async call is completed on this connection, not even by the background
    // thread: its thread holds another lock, which the user's code may want. The last one that ends
    // sees to their completion.
    class Postponed {
    public:
        explicit Postponed(Connection& connection) : connection_(connection) {
            const auto lock = acquire(connection.mutex_);
            ++connection.postponed_;
        }
        Postponed(const Postponed&) = delete;
        Postponed& operator=(const Postponed&) = delete;
        ~Postponed() {
            --connection_.postponed_;
            try {
                connection_.complete_settled();
            } catch (const HeldUp&) {  // the thread that has the lock completes them, or the next
            }
        }

    private:
        Connection& connection_;
    };

    // --- What the background thread does

    // Delivers what has arrived, without blocking. False: nothing is left. On any thread.
    bool read_available() {
        if (locks_are_bounded()) {  // read() itself does not ask, for the sake of blocking calls
            static_cast<void>(acquire(reading_.mutex()));
            static_cast<void>(acquire(mutex_));
        }
        const bool more = read(nullptr) == Channel::Received::more;
        complete_settled();
        return more;
    }

    void on_input();

    void on_room() {
        Lock lock{mutex_};
        role_.found_room();
        channel_.flush(lock);
        see_to_room();
    }

    // On any thread that stands in for the background thread, too.
    void on_others_ran() {
        SettledCalls settled;
        {
            auto lock = acquire(mutex_);
            handed_over_ = false;
            held_back_ = 0;
            channel_.flush(lock);
            see_to_room();
            if (postponed_ == 0) settled.swap(settled_);
        }
        settled.complete();
    }

    void on_deadline() {
        // Very many may be due at once: their handlers run in between, and so do other workers.
        constexpr std::size_t slice = 256;
        read_available();
        for (const auto number : take_due(slice)) expire(number);
        const Lock lock{mutex_};
        arm_deadline(deadlines_.next(
            [this](std::uint64_t number) { return calls_.find(number) != nullptr; }));
    }

    // The worker's guard says that a handler has run for the run timeout of its call.
    void on_overrun(std::uint64_t number) {
        if (!is_pending(number)) return;
        read_available();
        std::shared_ptr<Call> alive;  // released after the lock
        Section section{*this};
        auto* call = calls_.find(number);
        if (call != nullptr && !call->message.done()) {
            channel_.settle(section.lock);  // it may be leaving at this moment
            call = calls_.find(number);     // a blocking caller may have gone meanwhile
        }
        if (call == nullptr || call->info.run_timeout == no_timeout) return;
        if (!call->message.done()) return;  // no handler can have begun it
        alive = call->keep_alive();
        give_up(*call, overrun(*call), section.lock);
    }

private:
    // --- Waiting and reading: defined in connection_reading.hpp

    // An answer opens only for a call that is pending or was given up, and on the whole no more
    // often than there were calls: a worker may break off an answer, but not for ever.
    class Door final : public Doorkeeper {
    public:
        explicit Door(Connection& connection) noexcept : connection_(connection) {}
        Verdict judge(const FrameHeader& header, std::uint64_t number) override;
        void broken_off(FrameType type, std::uint64_t number) override;

    private:
        [[nodiscard]] Verdict judge_side(FrameType type, std::uint64_t number) const;
        Connection& connection_;
        std::uint64_t opened_ = 0;
    };

    struct Departure;
    [[nodiscard]] bool is_over(const WaitingCaller& caller) const noexcept;
    [[nodiscard]] bool has_reason_by_feed(const WaitingCaller& caller) const;
    [[nodiscard]] bool has_reason(const WaitingCaller& caller) const;
    bool lead(WaitingCaller& caller, Lock& lock, TimePoint until, bool may_block_in_receive);
    bool look_for_answer(const WaitingCaller& caller);
    void follow(WaitingCaller& caller, Lock& lock, TimePoint until) const;
    void carry_out(ReaderRole::Action action) {
        if (action.what != ReaderRole::Do::nothing) carry_out_something(action);
    }
    void carry_out_something(ReaderRole::Action action);
    Channel::Received read(const WaitingCaller* reader, bool wait = false);
    void deliver(IncomingMessage& message, const WaitingCaller* reader);
    [[gnu::cold]] void see_to_interrupts(BlockingCall& call);
    void deliver_side(IncomingMessage& message, const WaitingCaller* reader);
    void tell(Call& call, const WaitingCaller* reader);
    void look_at_error(Call& call);
    Call* wait_until_sent(std::uint64_t number, Lock& lock);
    void welcome(const IncomingMessage& message);
    void on_input_closed();
    void lose(const std::string& text);

    // --- Settling

    // Holds mutex_. On the background thread the calls that are settled by then are completed once
    // it has been released; so no other lock may be held there, unless completions are postponed.
    struct Section {
        explicit Section(Connection& the_connection)
            : connection(the_connection), lock(acquire(the_connection.mutex_)) {}
        Section(const Section&) = delete;
        Section& operator=(const Section&) = delete;
        ~Section() {
            if (!lock.owns_lock()) return;  // held up at exit: nothing is completed any more
            SettledCalls settled;
            if (connection.must_complete()) settled.swap(connection.settled_);
            lock.unlock();
            settled.complete();
        }
        Connection& connection;
        Lock lock;
    };
    void complete_settled() { const Section section{*this}; }

    [[nodiscard]] bool must_complete() noexcept {
        if (settled_.empty() || postponed_ != 0) return false;
        return owner_.on_background_thread() || !ask_to_complete();
    }

    // Leaves the completion of async calls to the background thread. False: there is no memory for
    // that.
    bool hand_over_settled() noexcept { return settled_.empty() || ask_to_complete(); }
    bool ask_to_complete() noexcept {
        try {
            if (!handed_over_) owner_.let_others_run();
            return handed_over_ = true;
        } catch (...) {
            return false;
        }
    }

    // Returns what must be notified once the lock is released.
    [[nodiscard]] Waiter settle(Call& call, const WaitingCaller* reader) {
        call.settled = true;
        const bool async = call.is_async();
        on_removed(call);
        if (async) settled_.add(call);
        if (call.feed != nullptr) [[unlikely]]
            settle_feed(call, reader);
        if (async || (reader != nullptr && &call == &reader->call)) return nullptr;
        auto& blocking = static_cast<BlockingCall&>(call);
        carry_out(role_.settle(blocking));
        return blocking.on_settled();
    }

    void settle_with(Call& call, CallError error) {
        call.outcome.error = std::move(error);
        if (const auto waiter = settle(call, nullptr)) waiter->notify_one();
    }

    [[gnu::noinline]] void settle_feed(const Call& call, const WaitingCaller* reader) {
        call.feed->on_settled(call.outcome.resend == Resend::never);
        let_go_of_waiting(*call.feed, reader);
    }

    // The threads that wait for its feed. From now on the list may be another connection's.
    void let_go_of_waiting(CallFeed& feed, const WaitingCaller* reader) {
        for (auto* caller : feed.waiting) {
            caller->enlisted = false;
            if (caller == reader) continue;
            carry_out(role_.settle(*caller));
            caller->changed->notify_one();
        }
        feed.waiting.clear();
    }

    static void resend(Call& call, Resend how) {
        if (call.feed == nullptr || call.feed->park()) call.outcome.resend = how;
    }

    // After a call has left the table.
    void on_removed(Call& call) {
        if (std::exchange(call.counted, false)) role_.remove_async();
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
        // Meanwhile the worker may have ended, and the call may be on its way to the next one.
        if (calls_.find(number) != &call) return;
        const bool left = sent == Outbox::Withdrawn::sent;
        const bool begun = left && !owner_.withdraw(number);
        auto error = error_of(call, reason, begun);
        if (left) {
            const bool expired = reason.cause == errc::timeout;
            calls_.abandon(number, {call.info.request, expired ? Clock::now() : TimePoint::max()});
        } else {
            calls_.remove(number);
        }
        settle_with(call, std::move(error));
        if (begun && !owner_.on_given_up(number, reason.cause)) {
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

    // As if the call had never been made.
    void forget(Call& call) {
        if (calls_.find(call.number) != &call) return;
        if (call.message.opened()) {
            calls_.abandon(call.number);
        } else {
            calls_.remove(call.number);
        }
        on_removed(call);
    }

    [[nodiscard]] std::string describe(const Call& call) const {
        auto text =
            "call \"" + std::string{call.info.request} + "\" to worker \"" + identity_.worker + '"';
        if (identity_.pid != 0) text += " (pid " + std::to_string(identity_.pid) + ")";
        return text;
    }

    // --- Sending

    // Requests that several completion handlers make, one after the other, leave with one system
    // call for up to as many; the worker should not have to wait for all of them.
    static constexpr unsigned most_held_back = 16;
    bool leaves_with_others(const Call& call) {
        if (call.message.wire_size() > Outbox::copy_limit) return false;
        if (!owner_.on_background_thread()) return false;
        if (held_back_ == 0) owner_.let_others_run();
        return ++held_back_ % most_held_back != 0;
    }

    // An opened message of any size, which is not needed any more afterwards.
    void send_copy(OutgoingMessage& message, Lock& lock) {
        channel_.queue_copy_of_all(message);
        channel_.flush(lock);
        see_to_room();
    }

    // After anything that may have sent. When the socket is full, the leader or the reactor must
    // watch for room. `others`: this thread is not about to lead.
    void see_to_room(bool others = true) {
        if (channel_.broken()) return on_send_failed();
        if (channel_.blocked()) carry_out(role_.want_room(others));
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

    // --- Deadlines of the async calls

    void watch_deadline(const Call& call) { watch_deadline(call.deadline(), call.number); }
    void watch_deadline(TimePoint when, std::uint64_t number) {
        if (when == TimePoint::max()) return;
        const auto pending = [this](std::uint64_t other) { return calls_.find(other) != nullptr; };
        deadlines_.add(when, number);
        deadlines_.tidy(calls_.size(), pending);
        if (when < armed_deadline_) arm_deadline(when);
    }

    std::vector<std::uint64_t> take_due(std::size_t most) {
        const Lock lock{mutex_};
        return deadlines_.take_due(Clock::now(), most);
    }

    void expire(std::uint64_t number) {
        std::shared_ptr<Call> alive;  // released after the lock
        Section section{*this};
        auto* const call = calls_.find(number);
        if (call == nullptr) return;
        const auto now = Clock::now();
        alive = call->keep_alive();
        if (now >= call->deadline()) return give_up(*call, expired(*call), section.lock);
        // It was extended, or waits for an item.
        auto& feed = *call->feed;
        if (now >= feed.item_due) return give_up(*call, silent(feed.item_gap), section.lock);
        feed.item_watched = feed.item_due;
        deadlines_.add(std::min(call->deadline(), feed.item_due), number);
    }

    void arm_deadline(TimePoint when) {
        armed_deadline_ = when;
        owner_.watch_deadline(when);
    }

    ConnectionOwner& owner_;
    const Identity identity_;
    const std::uint64_t max_message_bytes_;

    WantedMutex reading_;  // the channel's reader
    mutable std::mutex mutex_;
    Door door_{*this};
    Channel channel_;
    const bool may_wait_in_receive_;  // the socket limits how long that takes
    CallTable<Call> calls_;
    ReaderRole role_;
    Spin spin_;  // the leader's
    Deadlines deadlines_;
    SettledCalls settled_;  // still to be completed
    SideNumbers side_numbers_;
    std::size_t unread_answers_ = 0;  // to questions, since the socket is full
    bool listening_ = false;          // for notifications
    std::atomic<int> postponed_{0};   // threads that hold locks of the owner's
    bool handed_over_ = false;        // the background thread has been asked to complete
    unsigned held_back_ = 0;          // requests since the background thread was asked to flush
    WakeUpPool own_wake_ups_;
    WakeUpPool& wake_ups_;
    std::optional<WakeUp> wake_;                  // what the leader polls, if it does
    std::optional<std::uint64_t> idle_since_{0};  // the number of the last call, if that is over
    TimePoint armed_deadline_ = TimePoint::max();
    std::atomic<bool> closed_{false};  // no more calls are taken; never reset
    bool ready_ = false;               // the worker's welcome has arrived
    bool stopped_ = false;             // nothing is sent any more
    bool lost_ = false;                // the owner knows that the connection is of no use any more
};

}  // namespace detail
TETHER_NAMESPACE_END
