#pragma once

// What the callers of the storm decide to ask, at random and yet the same for the same seed.

#include <asio/cancellation_type.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "process/chaos/protocol.hpp"
#include "process/support/processes.hpp"

namespace tether_test::chaos {

using namespace std::chrono_literals;
using Microseconds = std::chrono::microseconds;

/// The decisions of one actor. Whatever else happens, the n-th of them is the same for a seed.
class Dice {
public:
    Dice(std::uint64_t seed, std::uint64_t actor) : engine_(seed * 1000 + actor) {}

    [[nodiscard]] std::uint64_t below(std::uint64_t n) { return engine_() % n; }
    [[nodiscard]] bool one_in(std::uint64_t n) { return below(n) == 0; }
    [[nodiscard]] Microseconds up_to(Microseconds most) {
        return Microseconds{below(static_cast<std::uint64_t>(most.count()) + 1)};
    }
    template <class Values>
    [[nodiscard]] const auto& one_of(const Values& values) {
        return values[below(std::size(values))];
    }

private:
    std::mt19937_64 engine_;
};

/// What is special about a worker of the storm.
struct Site {
    std::string name{};
    bool meddles = false;     ///< its handlers write to the connection, so its messages are small
    bool has_budget = false;  ///< its crashes are counted
    bool is_hasty = false;    ///< its start timeout is short
    std::uint64_t max_message_bytes = std::uint64_t{16} << 20;
};

enum class Kind : std::uint8_t { once, again, say, pause, spawn, break_down };
enum class Style : std::uint8_t { blocking, callback, future, coroutine };

/// One call, as it was decided.
struct Plan {
    Kind kind = Kind::once;
    Style style = Style::blocking;
    std::size_t blob_size = 0;
    std::size_t answer_size = 0;
    std::string what{};
    std::int64_t pause = 0;  ///< ms
    tether::Duration timeout = tether::no_timeout;
    std::optional<Microseconds> cancel_after{};
    asio::cancellation_type how_to_cancel = asio::cancellation_type::none;  ///< a coroutine
    bool may_be_dropped = false;  ///< with the context that it would complete on

    /// Nothing in the storm takes as long as that.
    static constexpr tether::Duration long_timeout = 30s;

    [[nodiscard]] bool is_idempotent() const noexcept { return kind == Kind::again; }
    /// More or less: what goes with the blob counts, too.
    [[nodiscard]] bool may_be_too_large(const Site& site) const noexcept {
        return std::max(blob_size, answer_size) + 256 > site.max_message_bytes;
    }
    [[nodiscard]] bool is_too_large(const Site& site) const noexcept {
        return std::max(blob_size, answer_size) > site.max_message_bytes;
    }
    /// Timeouts included, it shall be settled by then; the tests' watchdog adds a lot.
    [[nodiscard]] tether::Duration limit() const noexcept {
        return std::min<tether::Duration>(timeout, long_timeout);
    }

    [[nodiscard]] std::string describe() const {
        static constexpr std::array names{"once", "again", "say", "pause", "spawn", "break"};
        std::string text = names[static_cast<std::size_t>(kind)];
        if (!what.empty()) text += " " + what;
        if (pause != 0) text += " " + std::to_string(pause) + " ms";
        if (blob_size != 0) text += " of " + std::to_string(blob_size) + " bytes";
        if (answer_size != 0) text += " for " + std::to_string(answer_size) + " bytes";
        if (timeout != tether::no_timeout) {
            text += ", timeout " +
                    std::to_string(std::chrono::duration_cast<Microseconds>(timeout).count()) +
                    " us";
        }
        if (cancel_after) {
            text += ", cancelled after " + std::to_string(cancel_after->count()) + " us (" +
                    std::to_string(static_cast<unsigned>(how_to_cancel)) + ")";
        }
        static constexpr std::array styles{"blocking", "callback", "future", "coroutine"};
        return text + ", " + styles[static_cast<std::size_t>(style)];
    }

    /// Calls `act` with the request that this plan means.
    template <class Act>
    decltype(auto) with_request(Token token, Act act) const {
        switch (kind) {
            case Kind::once:
                return act(Once{token, answer_size, pattern(token, blob_size)});
            case Kind::again:
                return act(Again{token, answer_size, pattern(token, blob_size)});
            case Kind::say:
                return act(Say{token, 3});
            case Kind::pause:
            case Kind::spawn:
            case Kind::break_down:
                break;
        }
        return act(Do{token, what, pause});
    }
};

/// Draws plans for calls to one worker.
class Planner {
public:
    Planner(Dice& dice, const Site& site) : dice_(dice), site_(site) {}

    [[nodiscard]] Plan next() {
        Plan plan;
        plan.kind = draw_kind();
        plan.style = dice_.one_of(std::array{Style::blocking, Style::callback, Style::future});
        if (plan.kind == Kind::once || plan.kind == Kind::again) {
            plan.blob_size = draw_size();
            plan.answer_size = dice_.one_in(3) ? draw_size() : plan.blob_size;
        }
        if (plan.kind == Kind::pause) draw_pause(plan);
        if (plan.kind == Kind::spawn) plan.what = "spawn";
        if (plan.kind == Kind::break_down) plan.what = draw_break();
        plan.timeout = draw_timeout();
        if (dice_.one_in(5)) draw_cancellation(plan);
        return plan;
    }

private:
    Kind draw_kind() {
        const auto roll = dice_.below(1000);
        if (roll < 500) return Kind::once;
        if (roll < 850) return Kind::again;
        if (roll < 920) return Kind::pause;
        if (roll < 960) return Kind::say;
        return roll < 997 ? Kind::break_down : Kind::spawn;
    }

    std::size_t draw_size() {
        if (site_.meddles) return dice_.below(300);
        const auto roll = dice_.below(100);
        if (roll < 60) return dice_.below(200);
        if (roll < 85) return dice_.below(std::size_t{64} << 10);
        return dice_.below(roll < 97 ? std::size_t{512} << 10 : std::size_t{4} << 20);
    }

    void draw_pause(Plan& plan) {
        static const std::array<std::string, 3> ways{"poll", "token", "ignore"};
        plan.what = dice_.one_of(ways);
        plan.pause = 1 + static_cast<std::int64_t>(dice_.below(dice_.one_in(8) ? 400 : 20));
    }

    std::string draw_break() {
        static const std::array<std::string, 6> ways{"error",     "error", "exception",
                                                     "bad_alloc", "exit",  "abort"};
        static const std::array<std::string, 4> meddling{"garbage", "stray", "half", "close"};
        if (site_.meddles && dice_.one_in(2)) return dice_.one_of(meddling);
        return dice_.one_in(8) ? "segfault" : dice_.one_of(ways);
    }

    tether::Duration draw_timeout() {
        const auto roll = dice_.below(10);
        if (roll < 4) return tether::no_timeout;
        if (roll < 7) return Plan::long_timeout;
        return dice_.up_to(roll < 9 ? 300ms : 5ms);
    }

    void draw_cancellation(Plan& plan) {
        using Type = asio::cancellation_type;
        plan.cancel_after = dice_.up_to(dice_.one_in(2) ? 200ms : 2ms);
        plan.how_to_cancel = dice_.one_of(std::array{Type::terminal, Type::partial, Type::total});
    }

    Dice& dice_;
    const Site& site_;
};

}  // namespace tether_test::chaos
