// Why: who reads on a connection, and what becomes of what was read. Apart from connection.hpp only
// for the reader's sake; whoever uses connections includes this.
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

// Whose deadline is nearer than this polls: a receive may take some milliseconds longer than it
// should.
inline constexpr Duration deaf_margin = std::chrono::milliseconds{100};

// A caller that nothing can wake polls for as long: it got no descriptor for that, or nothing comes
// any more.
inline constexpr Duration blind_poll = std::chrono::milliseconds{10};

// What a blocked caller leaves behind in order, also when an exception ends its wait: its call
// lives no longer than it. Whoever leaves sees to it that somebody reads on, also one that only
// followed: its leader may have gone at the same time.
struct Connection::Departure {
    Departure(Connection& the_connection, BlockingCall& the_call, const bool& is_leading,
              Lock& the_lock)
        : connection(the_connection), call(the_call), leading(is_leading), lock(the_lock) {}
    Departure(const Departure&) = delete;
    Departure& operator=(const Departure&) = delete;
    ~Departure() {
        if (!lock.owns_lock()) lock.lock();
        if (leading) connection.leader_ = nullptr;
        std::erase(connection.followers_, &call);
        Waiter next;
        // Each by itself: the connection must not know the call any more, whatever fails for lack
        // of memory.
        attempt([&] {
            if (!call.message.done()) connection.release(call, lock);
        });
        attempt([&] {
            if (!call.settled) connection.forget(call);
        });
        attempt([&] { next = connection.appoint_reader(); });  // else the next caller tries again
        lock.unlock();
        if (next != nullptr) next->notify_one();
    }
    template <class Step>
    static void attempt(Step step) noexcept {
        try {
            step();
        } catch (...) {
        }
    }

    Connection& connection;
    BlockingCall& call;
    const bool& leading;
    Lock& lock;
};

// Blocks until the call is settled, and reads for all who wait meanwhile.
inline void Connection::wait(BlockingCall& call) {
    Lock lock{mutex_};
    bool leading = false;
    bool looked_again = false;
    // Who may have to look up at any moment must poll.
    const bool may_be_deaf =
        may_wait_in_receive_ && !call.interruptible && call.info.run_timeout == no_timeout;
    bool came = true;  // something, at the last look
    const Departure departure{*this, call, leading, lock};
    while (!call.settled) {
        const auto now = Clock::now();
        if (call.cancelled) {
            give_up(call, cancelled(call), lock);
        } else if (now >= call.deadline()) {
            // An answer that has arrived wins over a deadline that passed while nobody read.
            if (std::exchange(looked_again, true)) {
                give_up(call, expired(call), lock);
            } else {
                lock.unlock();
                read(&call);
                lock.lock();
            }
        } else if (leading || leader_ == nullptr) {
            leading = true;
            leader_ = &call;
            const bool deaf =
                came && may_be_deaf && deadline_after(now, deaf_margin) < call.deadline();
            came = lead(call, lock, deaf);
        } else {
            follow(call, lock);
        }
    }
}

// Reads for all until this call is settled, cancelled or due, or there is another reason to
// look up. `deaf`: waits in the receive itself, which saves a system call and hears of nothing but
// input; the socket has it return within some milliseconds. True: something came.
inline bool Connection::lead(BlockingCall& call, Lock& lock, bool deaf) {
    if (watched_) let_go();
    const int fd = input_closed_ ? -1 : channel_.fd();
    PollItem items[] = {channel_.blocked() ? readable_or_writable(fd) : readable(fd), {}};
    const bool only_input = !channel_.blocked() && !input_closed_;
    deaf = deaf && only_input && reading_wanted_ == 0;
    leader_is_deaf_ = deaf;
    auto until = call.deadline();
    woken_ = false;
    if (!deaf) {
        wake_ = wake_ups_.take();
        // Once nothing comes any more, the call is about to be settled.
        if (!wake_ || input_closed_) {
            until = std::min(until, deadline_after(Clock::now(), blind_poll));
        }
    }
    items[1] = readable(wake_ ? wake_->fd() : -1);
    lock.unlock();
    auto received = Channel::Received::nothing;
    if (!only_input || !spin_([&] { return look_for_answer(call); })) {
        // Where the system refuses to wait, this thread looks again and again.
        const bool blind = !deaf && wait_ready(items, until) < 0;
        if (blind) take_for_writable(items[0]);
        if (deaf || blind || can_read(items[0])) received = read(&call, deaf);
    }
    lock.lock();
    leader_is_deaf_ = false;
    if (wake_) {
        if (woken_) wake_->drain();
        wake_ups_.give_back(*std::exchange(wake_, std::nullopt));
    }
    if (can_write(items[0])) channel_.flush(lock);
    if (channel_.broken()) on_send_failed();
    return received != Channel::Received::nothing;
}

inline bool Connection::look_for_answer(const BlockingCall& call) {
    read(&call);
    const auto lock = acquire(mutex_);
    return call.settled || call.cancelled;
}

inline void Connection::follow(BlockingCall& call, Lock& lock) {
    followers_.push_back(&call);
    const auto ready = [&] { return call.settled || call.cancelled || call.promoted; };
    if (call.deadline() == TimePoint::max()) {
        call.changed->wait(lock, ready);
    } else {
        call.changed->wait_until(lock, call.deadline(), ready);
    }
    std::erase(followers_, &call);
    if (call.promoted && leader_ != nullptr) call.promoted = false;
}

// The leader leaves: somebody who waits takes over, and must be notified once the lock is released;
// or else the background thread.
inline Waiter Connection::appoint_reader() {
    if (leader_ != nullptr) return nullptr;
    for (auto* follower : followers_) {
        if (follower->settled) continue;
        follower->promoted = true;
        return follower->changed;
    }
    if (wants_background_reader()) watch_input();
    see_to_room();
    return nullptr;
}

// The reactor gets the connection only when it must read, and loses it when a caller reads,
// since it would be woken by each arrival.
inline void Connection::watch_input() {
    if (std::exchange(watching_input_, true)) return;
    watched_ = true;
    owner_.watch_input();
}

inline void Connection::watch_room() {
    if (std::exchange(watching_room_, true)) return;
    watched_ = true;
    owner_.watch_room();
}

inline void Connection::let_go() {
    watching_input_ = watching_room_ = watched_ = false;
    owner_.unwatch_connection();
    if (may_wait_in_receive_) set_blocking(channel_.fd());  // the reactor has changed that
}

// --- Reading

inline void Connection::on_input() {
    {
        const auto lock = acquire(mutex_);
        watching_input_ = false;
        if (leader_ != nullptr) return let_go();
    }
    const bool more = read_available();
    const auto lock = acquire(mutex_);
    if (more || wants_background_reader()) watch_input();
}

// `reader` is the call of this thread, if any: its answer is reason enough to stop. `wait`: for
// something to come, as long as the socket does.
inline Channel::Received Connection::read(const Call* reader, bool wait) {
    using Received = Channel::Received;
    ++reading_wanted_;
    const std::scoped_lock reading{reading_};
    --reading_wanted_;
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
                if (input_closed_) return Received::closed;
                if (reader != nullptr && reader->settled) return Received::drained;
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

inline Doorkeeper::Verdict Connection::Door::judge(const FrameHeader& header) {
    const Lock lock{connection_.mutex_};
    const auto& calls = connection_.calls_;
    const bool is_answer = header.type == FrameType::response || header.type == FrameType::error;
    if (!connection_.ready_ || !is_answer || ++opened_ > calls.last()) return Verdict::refuse;
    if (calls.find(header.number) != nullptr) return Verdict::take;
    return calls.is_abandoned(header.number) ? Verdict::discard : Verdict::refuse;
}

inline void Connection::deliver(IncomingMessage& message, const Call* reader) {
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
    // When there is no memory for any of this, the call is still pending.
    call->outcome.take(message);
    if (message.logged) call->outcome.logged = owner_.output();
    if (call->outcome.is_error_answer) look_at_error(*call);
    calls_.remove(message.number);
    const auto waiter = settle(*call, reader);
    lock.unlock();
    if (waiter != nullptr) waiter->notify_one();
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
}

inline void Connection::on_input_closed() {
    Lock lock{mutex_};
    if (std::exchange(input_closed_, true)) return;
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
