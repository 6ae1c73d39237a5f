// Why: any thread may look at a worker's process, signal it or reap it; each of these is a system
// call or several, which belong together.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/stop_ladder.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/os/os.hpp>

#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A worker's process, and what became of the attempts to end it. Thread-safe. No other lock is
// taken under its own, which may be held for some 100 ms while a tree is killed.
class WorkerProcess {
public:
    // Once, before anything else.
    void take(ChildProcess process) noexcept { process_ = std::move(process); }

    // -1 where it must be asked from time to time whether it has ended.
    [[nodiscard]] int pidfd() const {
        const auto lock = acquire(mutex_);
        return process_.pidfd();
    }
    [[nodiscard]] bool is_stopped() const {
        const auto lock = acquire(mutex_);
        return process_.is_stopped();
    }
    // It has crashed. That may take long with much memory, and must not be disturbed.
    [[nodiscard]] bool is_dumping_core() const {
        const auto lock = acquire(mutex_);
        return process_.is_dumping_core();
    }
    [[nodiscard]] bool has_ended() const {
        const auto lock = acquire(mutex_);
        return process_.has_ended();
    }

    // False: the system refused it.
    bool terminate() {
        const auto lock = acquire(mutex_);
        return !process_.terminate();
    }
    bool kill_tree() {
        const auto lock = acquire(mutex_);
        kill_error_ = process_.kill_tree();
        return !kill_error_;
    }

    // Its lifeline is cut.
    void on_cut() {
        const auto lock = acquire(mutex_);
        cut_ = true;
    }

    // How it ended, when it has; once. `tidy`: it says that it has ended its descendants itself.
    std::optional<Ended> reap(bool tidy) {
        const auto lock = acquire(mutex_);
        if (tidy) process_.set_descendants_ended();
        return process_.reap_if_ended();
    }
    // Ends and reaps one that no session came to own.
    void discard() {
        const auto lock = acquire(mutex_);
        process_.discard();
    }
    void close() {
        const auto lock = acquire(mutex_);
        process_.close();
    }

    // How it was ended, where that was not as it should be; empty otherwise.
    [[nodiscard]] std::string describe_refusal(bool left_behind) const {
        const auto lock = acquire(mutex_);
        std::string text;
        if (kill_error_) text += "kill: " + kill_error_.message();
        if (cut_) {
            text += (text.empty() ? "" : ", so ") + std::string{"its control channel was cut"};
        }
        if (left_behind) {
            const auto limit = to_milliseconds(StopLadder::cut_patience).count();
            text += "; it has not ended within " + std::to_string(limit) +
                    " ms of that, and is left behind";
        }
        return text;
    }

private:
    mutable std::mutex mutex_;  // guards the rest
    ChildProcess process_;
    std::error_code kill_error_;  // of the last attempt
    bool cut_ = false;
};

}  // namespace detail
TETHER_NAMESPACE_END
