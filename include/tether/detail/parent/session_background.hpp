// Why: what the background thread does for a session: it watches what no other thread waits for.
// Members of Session.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/parent/session.hpp>

#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline void Session::InATurn::operator()(Session& session) const {
    auto* turn = session.runtime_.turn();
    if (turn == nullptr) return act(session);  // a substitute runs Tether's context
    (*turn)([&] { act(session); });
}

inline void Session::InATurn::refuse(Session& session, std::error_code error) const {
    const auto lock = acquire(session.mutex_);
    session.on_unwatched(lock, error);
    session.look_soon(lock);  // its end may be what cannot be watched
}

// All watches go through these two.
inline void Session::when_ready(const Lock& lock, WatchedDescriptor& descriptor, int fd,
                                bool to_write, Act act) {
    const auto error =
        Watches::when_ready(descriptor, fd, to_write, shared_from_this(), InATurn{act});
    if (error) on_unwatched(lock, error);
}

inline void Session::at(const Lock& lock, WatchTimer& timer, TimePoint when, Act act) {
    const auto error = Watches::at(timer, when, shared_from_this(), InATurn{act});
    if (error) on_unwatched(lock, error);
}

// A worker that cannot be watched is of no use: no thread would learn what it says, nor of its end.
inline void Session::on_unwatched([[maybe_unused]] const Lock& lock, std::error_code error) {
    assert(lock.owns_lock());
    if (!watch_error_) watch_error_ = error;
    if (process_.kill_tree()) return;
    process_.on_cut();
    control_.cut();
}

inline void Session::watch_end(const Lock& lock) {
    if (const int pidfd = process_.pidfd(); pidfd != -1) {
        when_ready(lock, watches_->end, pidfd, false,
                   [](Session& session) { session.look_for_end(); });
        if (!watch_error_) return;
    }
    look_soon(lock);
}

inline void Session::look_soon(const Lock& lock) {
    if (!watches_) return;
    at(lock, watches_->look, deadline_after(Clock::now(), std::chrono::milliseconds{20}),
       [](Session& session) { session.look_for_end(); });
}

inline void Session::look_for_end() {
    if (collect() && !left_behind_) return;
    const auto lock = acquire(mutex_);
    if (watches_) watch_end(lock);
}

inline void Session::watch_left_behind() {
    const auto lock = acquire(mutex_);
    watches_ = std::make_unique<Watches>(runtime_.context());
    watch_end(lock);
}

// Where no thread waits for the end and walks the ladder.
inline void Session::watch_step(StopLadder::Step step, Duration patience) {
    const auto lock = acquire(mutex_);
    if (!watches_ || left_behind_) return;
    const Act act =
        step == StopLadder::Step::cut
            ? Act{[](Session& session) { session.take_step(StopLadder::Step::cut); }}
            : Act{[](Session& session) { session.take_step(StopLadder::Step::give_up); }};
    at(lock, watches_->step, deadline_after(Clock::now(), patience), act);
}

inline void Session::watch_control(const Lock& lock) {
    when_ready(lock, watches_->control, control_.fd(), false, [](Session& session) {
        const bool open = session.read_control();
        const auto again = acquire(session.mutex_);
        if (open && session.watches_) session.watch_control(again);
    });
}

inline void Session::watch_output(const Lock& lock, std::size_t index) {
    const auto& stream = output_->streams()[index];
    if (!stream.pipe || stream.ended) return;
    const Act acts[] = {[](Session& session) { session.on_output_ready(0); },
                        [](Session& session) { session.on_output_ready(1); }};
    when_ready(lock, watches_->output[index], stream.pipe.get(), false, acts[index]);
}

inline void Session::on_output_ready(std::size_t index) {
    bool written = false;
    bool congested = false;
    {
        const auto output = enter(output_mutex_);
        if (!output) return;
        output_->pump(output_->streams()[index]);
        written = output_->flush();
        congested = output_->is_congested();
    }
    const auto lock = acquire(mutex_);
    if (!watches_) return;
    if (congested) {
        output_paused_[index] = true;
    } else {
        watch_output(lock, index);
    }
    if (!written) watch_backlog(lock);
}

// The host's stderr cannot be given to the reactor: look again in a while.
inline void Session::watch_backlog(const Lock& lock) {
    at(lock, watches_->backlog, deadline_after(Clock::now(), std::chrono::milliseconds{10}),
       [](Session& session) { session.on_backlog(); });
}

inline void Session::on_backlog() {
    const bool written = StderrSink::instance().flush();
    const bool congested = output_->is_congested();
    const auto lock = acquire(mutex_);
    if (!watches_) return;
    for (std::size_t i = 0; i < 2 && !congested; ++i) {
        if (std::exchange(output_paused_[i], false)) watch_output(lock, i);
    }
    if (!written || congested) watch_backlog(lock);
}

// What the host's stderr does not take now leaves later.
inline void Session::pump_and_flush() {
    bool written = true;
    if (const auto output = enter(output_mutex_)) {
        for (auto& stream : output_->streams()) output_->pump(stream);
        written = output_->flush();
    }
    const auto lock = acquire(mutex_);
    if (!written && watches_) watch_backlog(lock);
}

inline void Session::on_start_timeout() {
    // A parent that was stopped or busy must not mistake its own pause for the worker's.
    connection_.read_available();
    if (connection_.ready()) return;
    const auto limit = to_milliseconds(start_timeout_);
    kill(errc::start_timeout,
         "it was not ready within the start timeout of " + std::to_string(limit.count()) + " ms");
}

// --- The ladder, where no thread waits for the end

inline void Session::end_in_background() {
    end_for_good();
    const auto lock = acquire(mutex_);
    if (!watches_ || ladder_) return;
    ladder_.emplace(stop_policy_, StopLadder::Step::ask);
    at(lock, watches_->ladder, Clock::now(), [](Session& session) { session.walk_ladder(); });
}

inline void Session::walk_ladder() {
    StopLadder::Step step{};
    {
        const auto lock = acquire(mutex_);
        step = ladder_->advance(Clock::now());
    }
    const bool taken = take_step(step);
    if (step == StopLadder::Step::kill) return;  // watch_step() has those after it
    const auto lock = acquire(mutex_);
    if (!watches_) return;
    if (!taken) ladder_->refused();
    at(lock, watches_->ladder, ladder_->deadline(),
       [](Session& session) { session.walk_ladder(); });
}

inline void Session::watch_control_room() {
    const auto lock = acquire(mutex_);
    if (!watches_) return;
    when_ready(lock, watches_->control, control_.fd(), true,
               [](Session& session) { session.send_control({}); });
}

inline void Session::close_watches() {
    const auto lock = acquire(mutex_);
    watches_.reset();
}

}  // namespace detail
TETHER_NAMESPACE_END
