// Why: what a connection needs to know of a call, whether its caller blocks or not.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/call_feed.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/error.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a call is about; fixed when it is made.
struct CallInfo {
    std::string_view request{};  // a literal
    std::uint16_t index = 0;
    bool idempotent = false;
    TimePoint made{};
    TimePoint deadline{};
    Duration run_timeout = no_timeout;  // from the start of its handler
    TimePoint encoded{};                // where it is traced
    std::uint64_t affinity = 0;         // for a pool
    int priority = 0;
};

// One call. Its connection changes it only under its own lock, and settles it exactly once.
class Call {
    const ExchangeLease exchange_ = take_exchange();

public:
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    virtual ~Call() = default;

    // Once, after it was settled. Of a blocking call: under the connection's lock, because the call
    // may be gone when that is released; the result must be notified then. Of an async one: under
    // no lock, because it runs code of the user's, and may destroy this.
    [[nodiscard]] virtual Waiter on_settled() noexcept = 0;

    // No thread blocks for it: the background thread has to read. It stays alive from submission
    // until on_settled() is called. Every other call is a BlockingCall.
    [[nodiscard]] virtual bool is_async() const noexcept { return false; }

    // Held while the connection releases its lock in the middle of something with this call. Must
    // not be the last reference under that lock.
    [[nodiscard]] virtual std::shared_ptr<Call> keep_alive() { return nullptr; }

    [[nodiscard]] TimePoint deadline() const noexcept { return info.deadline; }

    // Progress has come.
    void extend() noexcept {
        if (feed->extension == Duration::zero()) return;
        const auto until = deadline_after(Clock::now(), feed->extension);
        info.deadline = std::min(until, feed->last_deadline);
    }

    // What may come before its answer; null: nothing.
    std::shared_ptr<CallFeed> feed{};
    // An async call that the background thread need not read for, now: a thread or an operation
    // that waits for its feed sees to that.
    bool quiet = false;
    // The role counts it among the async calls.
    bool counted = false;

    CallInfo info{};
    OutgoingMessage& message = exchange_->message;
    Outcome& outcome = exchange_->outcome;
    std::uint64_t number = 0;
    bool settled = false;
    Call* next_settled = nullptr;  // of the async calls that are still to be completed

protected:
    const Waiter& waiter() {
        auto& waiter = exchange_->waiter;
        if (waiter == nullptr) waiter = std::make_shared<std::condition_variable>();
        return waiter;
    }
};

// What the worker is told of how long its caller waits.
[[gnu::always_inline]] inline Timeouts timeouts_of(const Call& call) noexcept {
    Timeouts result;
    auto deadline = call.info.deadline;
    if (call.feed != nullptr && call.feed->extension != Duration::zero()) [[unlikely]]
        deadline = call.feed->last_deadline;
    if (deadline != TimePoint::max()) {
        const auto left = to_microseconds(deadline - Clock::now());
        result.call_us = std::max<std::uint64_t>(1, left);
    }
    if (call.info.run_timeout != no_timeout) {
        const auto most = std::numeric_limits<std::uint32_t>::max();
        const auto left = to_microseconds(call.info.run_timeout) / 1000;
        result.run_ms = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(left, 1, most));
    }
    return result;
}

// A blocked caller's place among the followers; see ReaderRole. Part of what blocks, so that
// blocking allocates nothing.
class BlockedCaller {
    friend class ReaderRole;
    BlockedCaller* before_ = nullptr;
    BlockedCaller* after_ = nullptr;
    bool in_line_ = false;
};

// A thread that blocks for a call.
class WaitingCaller : public BlockedCaller {
public:
    WaitingCaller(Call& the_call, const Waiter& waiter) noexcept
        : call(the_call), changed(waiter) {}
    WaitingCaller(const WaitingCaller&) = delete;
    WaitingCaller& operator=(const WaitingCaller&) = delete;

    Call& call;
    const Waiter& changed;
    bool cancelled = false;      // its stop token fired
    bool interruptible = false;  // it has a stop token that may fire
    // Of a thread that waits for the feed of an async call: that call's number there. 0: the call
    // is its own.
    std::uint64_t awaited = 0;
    bool enlisted = false;               // in the list of that feed
    TimePoint until = TimePoint::max();  // it returns then

    // With the connection's lock held: something has come that it waits for.
    [[nodiscard]] virtual bool has_news() const {
        return call.feed->has_interrupts(call.feed->lock());
    }

    virtual ~WaitingCaller() = default;
};

// A call that its caller's thread blocks for.
class BlockingCall final : public Call, public WaitingCaller {
public:
    BlockingCall() : WaitingCaller(static_cast<Call&>(*this), waiter()) {}

    [[nodiscard]] Waiter on_settled() noexcept override { return changed; }
};

}  // namespace detail
TETHER_NAMESPACE_END
