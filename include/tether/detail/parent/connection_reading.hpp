// Why: how blocked callers and the background thread read from a connection, and what becomes of
// what was read. Apart from connection.hpp only to keep both short; users of connections include
// this header.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/parent/connection.hpp>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// --- Waiting

// A caller with less time left polls: a receive may take some milliseconds longer than it should.
inline constexpr Duration receive_margin = std::chrono::milliseconds{100};

// How long a caller polls that nothing can wake: there was no descriptor for that, or the input is
// closed.
inline constexpr Duration blind_poll = std::chrono::milliseconds{10};

// What a blocked caller leaves behind in order, even when an exception ends its wait: a call's
// lifetime may end with the wait, and the reader role must go to the next thread.
struct Connection::Departure {
    Departure(Connection& the_connection, WaitingCaller& the_caller, Lock& the_lock)
        : connection(the_connection), caller(the_caller), call(the_caller.call), lock(the_lock) {
        // Where it is not pending here any more, its list may be another connection's by now.
        caller.enlisted = caller.awaited != 0 && !connection.is_over(caller);
        if (caller.enlisted) call.feed->waiting.push_back(&caller);
    }
    Departure(const Departure&) = delete;
    Departure& operator=(const Departure&) = delete;
    ~Departure() {
        if (!lock.owns_lock()) lock.lock();
        if (connection.role_.leads(caller)) connection.wake_.reset();
        Waiter next;
        // Each step by itself: the connection must not know the call any more, even when another
        // step fails for lack of memory.
        const auto action = connection.role_.leave(caller);
        if (action.what == ReaderRole::Do::promote) {
            next = static_cast<WaitingCaller*>(action.caller)->changed;
        } else {
            attempt([&] { connection.carry_out(action); });
        }
        if (caller.awaited != 0) {
            if (caller.enlisted) std::erase(call.feed->waiting, &caller);
        } else if (!in_order) {
            attempt([&] {
                if (!call.message.done()) connection.release(call, lock);
            });
            attempt([&] {
                if (!call.settled) connection.forget(call);
            });
        }
        if (!connection.role_.held()) attempt([&] { connection.see_to_room(); });
        const bool handed_over = connection.hand_over_settled();
        lock.unlock();
        if (next != nullptr) next->notify_one();
        if (!handed_over) attempt([&] { connection.complete_settled(); });
    }
    template <class Step>
    static void attempt(Step step) noexcept {
        try {
            step();
        } catch (...) {
        }
    }

    Connection& connection;
    WaitingCaller& caller;
    Call& call;
    Lock& lock;
    bool in_order = false;
};

inline void Connection::wait_for_answer(BlockingCall& call) {
    if (!wait(call)) [[unlikely]]
        see_to_interrupts(call);
}

// Whether the call is settled is asked under the lock: the thread that settles it uses it after it
// has said so.
inline void Connection::see_to_interrupts(BlockingCall& call) {
    do {
        try {
            const Left left;
            call.feed->interrupt(*this, call.number);
        } catch (...) {  // the user's: the call ends with it
            cancel(call);
            wait(call);
            throw;
        }
    } while (!wait(call));
}

// What it waits for will not come here.
[[gnu::always_inline]] inline bool Connection::is_over(const WaitingCaller& caller) const noexcept {
    if (caller.awaited == 0) return caller.call.settled;
    return calls_.find(caller.awaited) != &caller.call;
}

inline bool Connection::has_reason_by_feed(const WaitingCaller& caller) const {
    return is_over(caller) || (!caller.cancelled && caller.has_news());
}

// The caller has a reason to look up.
[[gnu::always_inline]] inline bool Connection::has_reason(const WaitingCaller& caller) const {
    if (caller.awaited == 0 && caller.call.feed == nullptr) [[likely]]
        return caller.call.settled;
    return has_reason_by_feed(caller);
}

inline bool Connection::wait(WaitingCaller& caller) {
    Lock lock{mutex_};
    auto& call = caller.call;
    // A caller that may have to look up at any moment must poll.
    const bool may_block_in_receive =
        may_wait_in_receive_ && !caller.interruptible && call.info.run_timeout == no_timeout;
    bool came = true;  // something, at the last look
    Departure departure{*this, caller, lock};
    while (!has_reason(caller)) {
        hand_over_settled();
        const auto now = Clock::now();
        const auto until = std::min(call.deadline(), caller.until);
        if (caller.cancelled) {
            give_up(call, cancelled(call), lock);
        } else if (now >= until) {
            // An answer that has arrived wins over a deadline that passed while no thread read.
            lock.unlock();
            read(&caller);
            lock.lock();
            if (is_over(caller)) break;
            if (now >= call.deadline()) give_up(call, expired(call), lock);
            if (now >= caller.until) break;
        } else {
            carry_out(role_.seek(caller));
            if (role_.leads(caller)) {
                const bool has_time = deadline_after(now, receive_margin) < until;
                came = lead(caller, lock, until, came && may_block_in_receive && has_time);
            } else {
                follow(caller, lock, until);
            }
        }
    }
    departure.in_order = true;
    return is_over(caller);
}

// Reads for all until this caller has a reason to look up, or it is `until`. To block in the
// receive saves a system call; nothing but input ends that, and the socket has it return within
// some milliseconds. True: something came.
inline bool Connection::lead(WaitingCaller& caller, Lock& lock, TimePoint until,
                             bool may_block_in_receive) {
    const bool open = role_.input_open();
    const int fd = open ? channel_.fd() : -1;
    PollItem items[] = {channel_.blocked() ? readable_or_writable(fd) : readable(fd), {}};
    const bool only_input = !channel_.blocked() && open;
    const bool in_receive = may_block_in_receive && only_input && !reading_.wanted();
    if (!in_receive) {
        wake_ = wake_ups_.take();
        // Once the input is closed, the call is about to be settled.
        if (!wake_ || !open) until = std::min(until, deadline_after(Clock::now(), blind_poll));
    }
    if (wake_) {
        items[1] = readable(wake_->fd());
        role_.poll();
    } else {
        role_.block_bounded();
    }
    lock.unlock();
    auto received = Channel::Received::nothing;
    if (!only_input || !spin_([&] { return look_for_answer(caller); })) {
        // Where the system refuses to wait, this thread looks again and again.
        const bool refused = !in_receive && wait_ready(items, until) < 0;
        if (refused) take_for_writable(items[0]);
        if (in_receive || refused || can_read(items[0])) received = read(&caller, in_receive);
    }
    lock.lock();
    const bool woken = role_.look_up();
    if (wake_) {
        if (woken) wake_->drain();
        wake_ups_.give_back(*std::exchange(wake_, std::nullopt));
    }
    if (can_write(items[0])) channel_.flush(lock);
    if (channel_.broken()) on_send_failed();
    return received != Channel::Received::nothing;
}

inline bool Connection::look_for_answer(const WaitingCaller& caller) {
    read(&caller);
    const auto lock = acquire(mutex_);
    static_cast<void>(hand_over_settled());  // this thread may block for long afterwards
    return has_reason(caller) || caller.cancelled;
}

inline void Connection::follow(WaitingCaller& caller, Lock& lock, TimePoint until) const {
    const auto ready = [&] {
        return has_reason(caller) || caller.cancelled || role_.promoted(caller);
    };
    if (until == TimePoint::max()) {
        caller.changed->wait(lock, ready);
    } else {
        caller.changed->wait_until(lock, until, ready);
    }
}

inline void Connection::carry_out_something(ReaderRole::Action action) {
    using Do = ReaderRole::Do;
    switch (action.what) {
        case Do::nothing:
        case Do::promote:  // after unlocking: see Departure
            break;
        case Do::arm:
            owner_.watch_input();
            break;
        case Do::arm_room:
            owner_.watch_room();
            break;
        case Do::disarm:
            owner_.unwatch_connection();
            if (may_wait_in_receive_) set_blocking(channel_.fd());  // the reactor has changed that
            break;
        case Do::wake:
            wake_->notify();
            break;
    }
}

// --- Reading

inline void Connection::on_input() {
    {
        const auto lock = acquire(mutex_);
        if (!role_.begin_background()) return;
    }
    const bool more = read(nullptr) == Channel::Received::more;
    const Section section{*this};
    carry_out(role_.end_background(more));
}

// `reader` is this thread's own call, if it has one: its answer is reason enough to stop. `wait`:
// blocks until something comes, for as long as the socket allows. What is settled here is completed
// by the caller of this function, because reading_ is held.
inline Channel::Received Connection::read(const WaitingCaller* reader, bool wait) {
    using Received = Channel::Received;
    const std::scoped_lock reading{reading_};
    // What a worker sends without end must not keep this thread from its deadlines, nor from other
    // workers. More than a socket holds: what has arrived is read as a whole. But pieces of
    // messages may be as small as a byte, and a slice of those would take 20 ms.
    constexpr std::uint64_t slice = std::uint64_t{4} << 20;
    constexpr std::uint64_t slice_pieces = std::uint64_t{16} << 10;
    try {
        const auto& frames = channel_.reader();
        const auto end = frames.parsed() + slice;
        const auto last_piece = frames.pieces() + slice_pieces;
        for (int round = 0; round < 64 && frames.parsed() < end && frames.pieces() < last_piece;
             ++round) {
            {
                const auto lock = acquire(mutex_);
                if (!role_.input_open()) return Received::closed;
                if (reader != nullptr && has_reason(*reader)) return Received::drained;
            }
            const auto received = channel_.receive(
                wait && round == 0, [&](IncomingMessage& message) { deliver(message, reader); });
            if (received == Received::closed) on_input_closed();
            if (received == Received::nothing && round != 0) return Received::drained;
            if (received != Received::more) return received;
        }
        return Received::more;
    } catch (const FramingError& error) {
        stop_reading();
        owner_.on_violation(errc::framing, error.what());
    } catch (const std::bad_alloc&) {
        stop_reading();
        owner_.on_violation(errc::message_too_large, "an answer did not fit into memory");
    }
    return Channel::Received::closed;
}

inline Doorkeeper::Verdict Connection::Door::judge(const FrameHeader& header,
                                                   std::uint64_t number) {
    const Lock lock{connection_.mutex_};
    const auto& calls = connection_.calls_;
    if (is_workers_side_message(header.type)) return judge_side(header.type, number);
    const bool is_answer = header.type == FrameType::response || header.type == FrameType::error;
    if (!connection_.ready_ || !is_answer || ++opened_ > calls.last()) return Verdict::refuse;
    if (calls.find(header.number) != nullptr) return Verdict::take;
    return calls.is_abandoned(header.number) ? Verdict::discard : Verdict::refuse;
}

inline Doorkeeper::Verdict Connection::Door::judge_side(FrameType type,
                                                        std::uint64_t number) const {
    const auto allowed = [](bool is_allowed) {
        return is_allowed ? Verdict::take : Verdict::refuse;
    };
    if (type == FrameType::notification) {
        const auto hub = connection_.owner_.hub();
        return allowed(connection_.ready_ && hub != nullptr && hub->announce_large(connection_));
    }
    const auto& calls = connection_.calls_;
    if (auto* call = calls.find(number)) {
        return allowed(call->feed != nullptr && call->feed->announce_large(type));
    }
    if (!calls.is_abandoned(number)) return Verdict::refuse;
    // A call has an item and a question at most at the same time, or its answer.
    const auto most = 2 * (calls.size() + calls.abandoned());
    return connection_.channel_.reader().open_messages() <= most ? Verdict::discard
                                                                 : Verdict::refuse;
}

inline void Connection::Door::broken_off(FrameType type, std::uint64_t number) {
    const Lock lock{connection_.mutex_};
    if (type == FrameType::notification) {
        if (const auto hub = connection_.owner_.hub()) hub->break_off_large(connection_);
    } else if (is_side_message(type)) {
        const auto* call = connection_.calls_.find(number);
        if (call != nullptr && call->feed != nullptr) call->feed->break_off_large(type);
    }
}

inline void Connection::deliver(IncomingMessage& message, const WaitingCaller* reader) {
    Lock lock{mutex_};
    if (!ready_) return welcome(message);
    if (is_workers_side_message(message.type)) [[unlikely]]
        return deliver_side(message, reader);
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
    // When there is no memory for any of this, the call is still pending.
    owner_.on_answer();
    call->outcome.take(message);
    if (message.logged) call->outcome.logged = owner_.output();
    if (call->outcome.is_error_answer) look_at_error(*call);
    calls_.remove(message.number);
    const auto waiter = settle(*call, reader);
    lock.unlock();
    if (waiter != nullptr) waiter->notify_one();
}

// What a worker sends beside its answers. Only what was asked for, and while there is room.
inline void Connection::deliver_side(IncomingMessage& message, const WaitingCaller* reader) {
    if (message.type == FrameType::notification) {
        auto hub = owner_.hub();
        if (hub == nullptr || !hub->take(*this, message))
            throw FramingError("a notification too many");
        return settled_.add_news(std::move(hub));
    }
    auto* call = calls_.find(message.call());
    if (call == nullptr) {
        if (calls_.is_abandoned(message.call())) return;
        throw FramingError("a message about call " + std::to_string(message.call()) +
                           ", which is not pending");
    }
    const bool is_question = message.type == FrameType::question;
    if (is_question && unread_answers_ > QuestionLimit::most * calls_.size()) {
        throw FramingError("a question, while answers to others are not read");
    }
    const auto index = is_question ? call->info.index : message.index;
    if (call->feed == nullptr || index != call->info.index || !call->feed->take(message)) {
        throw FramingError("a message about call " + std::to_string(message.call()) +
                           " that it has no use or no room for");
    }
    owner_.on_answer();
    if (message.type == FrameType::progress) call->extend();
    tell(*call, reader);
}

// Something has come for a call that goes on: its thread is woken, or its listener told.
inline void Connection::tell(Call& call, const WaitingCaller* reader) {
    const auto wake = [&](WaitingCaller& caller) {
        if (&caller == reader) return;
        carry_out(role_.cancel(caller));
        caller.changed->notify_one();
    };
    if (!call.is_async()) return wake(static_cast<BlockingCall&>(call));
    for (auto* caller : call.feed->waiting) wake(*caller);
    if (call.feed->wants_news()) settled_.add_news(call.feed);
}

inline void Connection::recover(std::string_view frames) {
    FrameReader reader{max_message_bytes_};
    const auto is_pending = [this](std::uint64_t number) {
        const auto lock = acquire(mutex_);
        return ready_ && calls_.find(number) != nullptr;
    };
    try {
        const auto space = reader.space()[1];
        const auto size = std::min(frames.size(), space.size);
        std::copy_n(frames.data(), size, space.data);
        reader.received(size);
        while (auto message = reader.next()) {
            if (is_pending(message->number)) deliver(*message, nullptr);
        }
    } catch (const FramingError&) {  // they are no better than any that a worker sends
    }
    complete_settled();
}

inline bool Connection::has_overdue() {
    const auto lock = acquire(mutex_);
    const auto& calls = calls_.abandoned_calls();
    return std::any_of(calls.begin(), calls.end(),
                       [](const auto& entry) { return entry.second.expired != TimePoint::max(); });
}

inline std::optional<Connection::OverdueCall> Connection::overdue_call(std::uint64_t number) {
    const auto lock = acquire(mutex_);
    const auto found = calls_.abandoned_calls().find(number);
    if (found == calls_.abandoned_calls().end() || found->second.expired == TimePoint::max()) {
        return std::nullopt;
    }
    return OverdueCall{number, found->second};
}

// A worker that keeps no ledger begins requests in the order of their numbers, more or less.
inline std::vector<Connection::OverdueCall> Connection::overdue_calls(const Begun& begun) {
    constexpr std::size_t most = 64;
    std::vector<OverdueCall> result;
    const auto lock = acquire(mutex_);
    for (const auto& [number, call] : calls_.abandoned_calls()) {
        if (result.size() == most) break;
        const bool may_run = !begun.known() || begun.contains(number);
        if (may_run && call.expired != TimePoint::max()) result.push_back({number, call});
    }
    return result;
}

inline void Connection::excuse(std::uint64_t number) {
    const auto lock = acquire(mutex_);
    const auto found = calls_.abandoned_calls().find(number);
    if (found != calls_.abandoned_calls().end()) found->second.expired = TimePoint::max();
}

inline std::vector<std::uint64_t> Connection::take_untold() {
    const auto lock = acquire(mutex_);
    std::vector<std::uint64_t> numbers;
    for (auto& [number, call] : calls_.abandoned_calls()) {
        if (!std::exchange(call.told, true)) numbers.push_back(number);
    }
    return numbers;
}

inline void Connection::look_at_error(Call& call) {
    const auto answer = ErrorAnswer::decode(call.outcome.bytes());
    // Faster than the same on the control channel.
    if (answer.cause == errc::timeout && call.info.run_timeout != no_timeout) {
        call.outcome.error = error_of(call, overrun(call), true);
    }
    owner_.on_error_answer(answer);
}

// An answer may be faster than the thread that sent the last piece of its request.
inline Call* Connection::wait_until_sent(std::uint64_t number, Lock& lock) {
    channel_.settle(lock);
    auto* call = calls_.find(number);
    if (call != nullptr && !call->message.done()) {
        throw FramingError("an answer to call " + std::to_string(number) +
                           ", of which only a part was sent");
    }
    return call;
}

inline void Connection::welcome(const IncomingMessage& message) {
    const auto greeting =
        message.type == FrameType::welcome ? Greeting::decode(message.payload) : std::nullopt;
    if (!greeting || !equal_secrets(view(greeting->secret), view(identity_.secret))) {
        throw FramingError("the first message is not the worker's welcome");
    }
    if (greeting->protocol != identity_.protocol) {
        throw FramingError(describe_mismatch(identity_.protocol, greeting->protocol));
    }
    ready_ = true;
    owner_.on_welcome();
}

inline void Connection::on_input_closed() {
    Lock lock{mutex_};
    if (!role_.input_open()) return;
    carry_out(role_.close_input());
    if (stopped_) return;  // it was asked to leave, and has the time that it was given
    const auto error = channel_.receive_error();
    if (error && !is_hang_up(error)) {  // this side's trouble: the worker is not about to end
        close();
        lost_ = true;
        lock.unlock();
        return owner_.on_violation(errc::framing, "its connection failed: " + error.message());
    }
    lose(error ? "its connection failed (" + error.message() + "), but it did not end"
               : "it closed its connection but did not end");
}

inline void Connection::lose(const std::string& text) {
    close();
    if (!std::exchange(lost_, true)) owner_.on_lost(text);
}

}  // namespace detail
TETHER_NAMESPACE_END
