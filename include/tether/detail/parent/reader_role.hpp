// Why: of all threads that want answers from one connection, exactly one reads. Which one is
// decided here, without I/O, locks or threads: events in, actions out. The connection calls these
// functions under its lock and carries the actions out. States and invariants are described in
// docs/design.md, "The reader role".
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/call.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class ReaderRole {
public:
    enum class State : std::uint8_t {
        none,      // no thread reads, and none has to
        promoted,  // a follower was chosen, and has not taken the role yet
        looking,   // a caller leads, and looks at its call and the connection under the lock
        polling,   // the leader polls, spins or reads; its wake-up pipe ends the poll
        woken,     // the same, and its wake-up pipe has been written to
        bounded,   // the leader is blocked for some milliseconds; nothing ends that sooner
        armed,     // the reactor reports the next input to the background thread
        reading,   // the background thread reads
    };

    enum class Do : std::uint8_t {
        nothing,
        arm,       // have the reactor report input
        arm_room,  // have it report room in the socket
        disarm,    // take the connection from it, input and room
        wake,      // write to the leader's wake-up pipe
        promote,   // notify the caller's condition variable, after unlocking
    };
    struct Action {
        Do what = Do::nothing;
        BlockedCaller* caller = nullptr;  // to be promoted
        friend bool operator==(const Action&, const Action&) = default;
    };

    // --- Async calls

    // Before its request leaves: the answer would otherwise wake the background thread only to find
    // the lock taken.
    [[nodiscard]] Action add_async() noexcept {
        ++async_;
        if (state_ != State::none || !open_) return checked({});
        return checked(arm());
    }

    // One was settled or forgotten. An armed reactor stays armed: to disarm it would cost more than
    // the wake-up that it may save.
    void remove_async() noexcept {
        assert(async_ != 0);
        --async_;
    }

    // --- Blocked callers

    // The caller has no answer yet. Afterwards it leads, or it stands in the line of followers and
    // must block until it is settled, cancelled, due or promoted. A caller that arrives goes before
    // a promoted follower, because it runs already.
    [[nodiscard]] Action seek(BlockedCaller& caller) noexcept {
        if (is_leader_state() && holder_ != &caller) {
            join_line(caller);
            return checked({});
        }
        assert(state_ != State::polling && state_ != State::woken && state_ != State::bounded);
        leave_line(caller);
        holder_ = &caller;
        state_ = State::looking;
        room_armed_ = false;
        return checked({std::exchange(registered_, false) ? Do::disarm : Do::nothing});
    }

    // The leader is about to poll with a wake-up pipe.
    void poll() noexcept {
        assert(state_ == State::looking);
        state_ = State::polling;
    }

    // The leader is about to block for some milliseconds, and nothing wakes it.
    void block_bounded() noexcept {
        assert(state_ == State::looking);
        state_ = State::bounded;
    }

    // The leader has the lock again. True: its wake-up pipe must be drained.
    [[nodiscard]] bool look_up() noexcept {
        assert(state_ == State::polling || state_ == State::woken || state_ == State::bounded);
        return std::exchange(state_, State::looking) == State::woken;
    }

    // Another thread has settled its call: it is going to leave.
    [[nodiscard]] Action settle(BlockedCaller& caller) noexcept {
        leave_line(caller);
        return checked(holder_ == &caller ? wake() : Action{});
    }

    // Its stop token has fired. A follower is notified in any case.
    [[nodiscard]] Action cancel(const BlockedCaller& caller) noexcept {
        return checked(holder_ == &caller ? wake() : Action{});
    }

    // The caller returns to its user, answered or not; from any state, because its thread may be
    // cancelled in the middle of a poll. The role goes to the first follower, otherwise to the
    // background thread if there are async calls.
    [[nodiscard]] Action leave(BlockedCaller& caller) noexcept {
        leave_line(caller);
        if (holder_ != &caller) return checked({});
        holder_ = nullptr;
        state_ = State::none;
        if (first_ != nullptr) {
            holder_ = first_;
            state_ = State::promoted;
            return checked({Do::promote, holder_});
        }
        return checked(async_ != 0 && open_ ? arm() : Action{});
    }

    // --- The background thread

    // The reactor has reported input. False: another thread reads by now, or none has to; an event
    // may arrive after the reactor was disarmed.
    [[nodiscard]] bool begin_background() noexcept {
        if (state_ != State::armed) return false;
        state_ = State::reading;
        return true;
    }

    // The background thread has read. `more`: it stopped before everything was read.
    [[nodiscard]] Action end_background(bool more) noexcept {
        const bool wanted = open_ && (more || async_ != 0);
        if (state_ == State::reading) state_ = State::none;
        if (state_ != State::none || !wanted) return checked({});
        return checked(arm());
    }

    // --- The connection

    // Nothing is received any more. Followers and the leader wait until their calls are settled.
    [[nodiscard]] Action close_input() noexcept {
        open_ = false;
        return checked(wake());
    }

    // The socket was full. `others`: this thread is not about to seek the role itself.
    [[nodiscard]] Action want_room(bool others) noexcept {
        if (is_leader_state() && state_ != State::bounded) return checked(wake());
        if (room_armed_ || (!others && state_ != State::bounded)) return checked({});
        room_armed_ = registered_ = true;
        return checked({Do::arm_room});
    }

    // The reactor has reported room.
    void found_room() noexcept { room_armed_ = false; }

    // --- Looking

    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] bool input_open() const noexcept { return open_; }
    [[nodiscard]] std::size_t async_calls() const noexcept { return async_; }
    // A caller leads, or is about to.
    [[nodiscard]] bool held() const noexcept { return holder_ != nullptr; }
    [[nodiscard]] bool leads(const BlockedCaller& caller) const noexcept {
        return is_leader_state() && holder_ == &caller;
    }
    [[nodiscard]] bool promoted(const BlockedCaller& caller) const noexcept {
        return state_ == State::promoted && holder_ == &caller;
    }

    // What is always true between two events. The states exclude each other, so it is enough that
    // there is one when one is needed.
    [[nodiscard]] bool check() const noexcept {
        const bool held = is_leader_state() || state_ == State::promoted;
        const bool background = state_ == State::armed || state_ == State::reading;
        return (holder_ != nullptr) == held &&  // the state says that a caller has it
               (first_ == nullptr || held) &&   // followers have a leader, or get one
               (async_ == 0 || !open_ || held || background) &&  // async calls have a reader
               (registered_ || !(background || room_armed_)) &&
               !(is_leader_state() && holder_->in_line_);
    }

private:
    [[nodiscard]] bool is_leader_state() const noexcept {
        return state_ >= State::looking && state_ <= State::bounded;
    }

    [[nodiscard]] Action arm() noexcept {
        state_ = State::armed;
        registered_ = true;
        return {Do::arm};
    }

    // A leader that looks is about to see what has changed, and one that is woken will.
    [[nodiscard]] Action wake() noexcept {
        if (state_ != State::polling) return {};
        state_ = State::woken;
        return {Do::wake};
    }

    [[nodiscard]] Action checked(Action action) const noexcept {
        assert(check());
        return action;
    }

    void join_line(BlockedCaller& caller) noexcept {
        if (std::exchange(caller.in_line_, true)) return;
        caller.before_ = last_;
        caller.after_ = nullptr;
        (last_ == nullptr ? first_ : last_->after_) = &caller;
        last_ = &caller;
    }

    void leave_line(BlockedCaller& caller) noexcept {
        if (!std::exchange(caller.in_line_, false)) return;
        (caller.before_ == nullptr ? first_ : caller.before_->after_) = caller.after_;
        (caller.after_ == nullptr ? last_ : caller.after_->before_) = caller.before_;
    }

    State state_ = State::none;
    bool open_ = true;         // something may still be received
    bool registered_ = false;  // the reactor has the connection, and has made it non-blocking
    bool room_armed_ = false;  // the reactor reports room
    std::size_t async_ = 0;    // pending calls that no thread is blocked for
    BlockedCaller* holder_ = nullptr;  // the leader, or the promoted follower
    BlockedCaller* first_ = nullptr;   // of the followers, in the order in which they came
    BlockedCaller* last_ = nullptr;
};

}  // namespace detail
TETHER_NAMESPACE_END
