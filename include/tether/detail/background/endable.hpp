// Why: stop(), the destructor and the exit hook end workers in the same way: side by side, by plain
// polling, on whichever thread asks for it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/stop_ladder.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/os/os.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A worker process that can be ended. What the exit hook, stop() and the destructor drive.
class Endable {
public:
    virtual ~Endable() = default;
    // False: the system refused it.
    virtual bool take_step(StopLadder::Step step) = 0;
    // Looks whether the process has ended, and if so settles everything. True once it has.
    virtual bool collect() = 0;
    // To wait for its end, and for its output where nobody else reads that. False: its end must be
    // asked for.
    virtual bool add_poll_items(std::vector<PollItem>& items, bool with_output) = 0;
    virtual void pump_output() = 0;
    [[nodiscard]] virtual StopPolicy stop_policy() const = 0;
    // Other code of this process has closed its descriptors: it touches none of them any more.
    virtual void forsake_descriptors() = 0;
};

// What act() returns. True as well when it is held up by a lock, so that its worker is left to its
// lifeline.
template <class Act>
bool or_held_up(Act act) {
    try {
        return act();
    } catch (const HeldUp&) {
        return true;
    }
}

// Walks all of `processes` down the ladder side by side, until all have ended or were given up.
// After `limit` there are no more friendly steps, and soon after nothing is waited for any more: a
// process may hang in the kernel, or a callback of the host's hold a lock for ever.
inline void end_all(std::span<const std::shared_ptr<Endable>> processes, StopLadder::Step first,
                    TimePoint limit, bool with_output) {
    struct Ending {
        Endable* process;
        StopLadder ladder;
    };
    std::vector<Ending> left;
    for (const auto& process : processes) {
        left.push_back({process.get(), StopLadder{process->stop_policy(), first}});
    }
    std::vector<PollItem> items;
    const auto give_up = deadline_after(limit, std::chrono::milliseconds{500});
    WaitClock clock;
    for (;;) {
        const auto now = clock.now();
        auto wake = limit > now ? limit : TimePoint::max();
        bool blind = false;
        items.clear();
        std::erase_if(left, [&](Ending& ending) {
            return or_held_up([&] { return ending.process->collect(); });
        });
        if (left.empty() || now >= give_up) return;
        std::erase_if(left, [&](Ending& ending) {
            auto* const process = ending.process;
            auto& ladder = ending.ladder;
            return or_held_up([&] {
                if (now >= limit) ladder.hurry();
                if (!process->take_step(ladder.advance(now))) ladder.refused();
                if (with_output) process->pump_output();
                blind = !process->add_poll_items(items, with_output) || blind;
                wake = std::min(wake, ladder.deadline());
                return false;
            });
        });
        const auto next_look = deadline_after(now, std::chrono::milliseconds{blind ? 2 : 250});
        const auto time = std::max(std::min(wake, next_look), now) - now;
        const auto ready = wait_ready(items, deadline_after(Clock::now(), time));
        if (ready == 0) clock.slept(time);
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
