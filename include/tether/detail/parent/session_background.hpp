// Why: what the background thread does for a session: it watches what nobody waits for. Apart from
// session.hpp only for the reader's sake; whoever uses sessions includes this.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/parent/session.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline void Session::watch_everything() {
    const auto watching = acquire(watching_);
    watches_ = std::make_unique<Watches>(runtime_.context());
    watch_end();
    watch_control();
    for (std::size_t i = 0; i < 2; ++i) watch_output(i);
    at(watches_->start, deadline_after(started_, start_timeout_),
       [](Session& session) { session.on_start_timeout(); });
    watch_idleness();
    watch_heartbeat(stuck_policy_.heartbeat);
    if (!watch_error_) return;
    throw CallError(errc::start_failed,
                    "worker \"" + name_ +
                        "\" could not be started: watch its descriptors: " + watch_error_.message(),
                    nullptr, watch_error_);
}

inline void Session::InATurn::operator()(Session& session) const {
    auto* turn = session.runtime_.turn();
    if (turn == nullptr) return act(session);  // somebody else runs Tether's context
    (*turn)([&] { act(session); });
}

// All watches go through these two. With watching_ held.
inline void Session::when_ready(WatchedDescriptor& descriptor, int fd, bool to_write, Act act) {
    const auto error =
        Watches::when_ready(descriptor, fd, to_write, shared_from_this(), InATurn{act});
    if (error) on_unwatched(error);
}

inline void Session::at(WatchTimer& timer, TimePoint when, Act act) {
    const auto error = Watches::at(timer, when, shared_from_this(), InATurn{act});
    if (error) on_unwatched(error);
}

// A worker that cannot be watched is of no use: nobody would learn what it says, nor of its end.
inline void Session::on_unwatched(std::error_code error) {
    if (!watch_error_) watch_error_ = error;
    const auto lock = acquire(process_mutex_);
    kill_error_ = process_.kill_tree();
    if (!kill_error_) return;
    cut_ = true;
    control_.cut();
}

// With watching_ held.
inline void Session::watch_end() {
    if (const int pidfd = process_.pidfd(); pidfd != -1) {
        when_ready(watches_->end, pidfd, false, [](Session& session) { session.look_for_end(); });
        if (!watch_error_) return;
    }
    look_soon();
}

// With watching_ held.
inline void Session::look_soon() {
    if (!watches_) return;
    at(watches_->look, deadline_after(Clock::now(), std::chrono::milliseconds{20}),
       [](Session& session) { session.look_for_end(); });
}

inline void Session::look_for_end() {
    if (collect() && !left_behind_) return;
    const auto watching = acquire(watching_);
    if (watches_) watch_end();
}

inline void Session::watch_left_behind() {
    const auto watching = acquire(watching_);
    watches_ = std::make_unique<Watches>(runtime_.context());
    watch_end();
}

// Where no thread waits for the end and walks the ladder.
inline void Session::watch_step(StopLadder::Step step, Duration patience) {
    const auto watching = acquire(watching_);
    if (!watches_ || left_behind_) return;
    const Act act =
        step == StopLadder::Step::cut
            ? Act{[](Session& session) { session.take_step(StopLadder::Step::cut); }}
            : Act{[](Session& session) { session.take_step(StopLadder::Step::give_up); }};
    at(watches_->step, deadline_after(Clock::now(), patience), act);
}

inline void Session::watch_control() {
    when_ready(watches_->control, control_.fd(), false, [](Session& session) {
        const bool open = session.read_control();
        const auto watching = acquire(session.watching_);
        if (open && session.watches_) session.watch_control();
    });
}

inline void Session::watch_output(std::size_t index) {
    const auto& stream = output_->streams()[index];
    if (!stream.pipe || stream.ended) return;
    const Act acts[] = {[](Session& session) { session.on_output_ready(0); },
                        [](Session& session) { session.on_output_ready(1); }};
    when_ready(watches_->output[index], stream.pipe.get(), false, acts[index]);
}

inline void Session::on_output_ready(std::size_t index) {
    bool written = false;
    bool congested = false;
    {
        const auto lock = enter(output_mutex_);
        if (!lock) return;
        output_->pump(output_->streams()[index]);
        written = output_->flush();
        congested = output_->is_congested();
    }
    const auto watching = acquire(watching_);
    if (!watches_) return;
    if (congested) {
        output_paused_[index] = true;
    } else {
        watch_output(index);
    }
    if (!written) watch_backlog();
}

// The host's stderr cannot be given to the reactor: look again in a while. With watching_ held.
inline void Session::watch_backlog() {
    at(watches_->backlog, deadline_after(Clock::now(), std::chrono::milliseconds{10}),
       [](Session& session) { session.on_backlog(); });
}

inline void Session::on_backlog() {
    const bool written = StderrSink::instance().flush();
    const bool congested = output_->is_congested();
    const auto watching = acquire(watching_);
    if (!watches_) return;
    for (std::size_t i = 0; i < 2 && !congested; ++i) {
        if (std::exchange(output_paused_[i], false)) watch_output(i);
    }
    if (!written || congested) watch_backlog();
}

inline void Session::on_start_timeout() {
    // A parent that was stopped or busy must not mistake its own pause for the worker's.
    connection_.read_available();
    if (connection_.ready()) return;
    const auto limit = to_milliseconds(start_timeout_);
    kill(errc::start_timeout,
         "it was not ready within the start timeout of " + std::to_string(limit.count()) + " ms");
}

inline void Session::kill_at_last() {
    Reason reason;
    {
        const auto watching = acquire(watching_);
        reason = last_reason_;
    }
    kill(reason.cause, reason.text);
}

inline void Session::watch_control_room() {
    const auto watching = acquire(watching_);
    if (!watches_) return;
    when_ready(watches_->control, control_.fd(), true,
               [](Session& session) { session.send_control({}); });
}

inline void Session::close_watches() {
    const auto watching = acquire(watching_);
    watches_.reset();
}

inline void Session::close_descriptors() {
    control_.close();
    alarm_.reset();
    const auto lock = acquire(process_mutex_);
    process_.close();
}

}  // namespace detail
TETHER_NAMESPACE_END
