// Why: what a session needs to know of a call, whoever waits for it in whatever way.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/detail/wire/error_answer.hpp>
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
};

// One call. Its session changes it only under its own lock, and settles it exactly once.
class Call {
    const ExchangePool::Lease exchange_ = ExchangePool::instance().take();

public:
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    virtual ~Call() = default;

    // Under the session's lock; `this` may be gone as soon as that is released. Then the one who is
    // returned must be notified.
    [[nodiscard]] virtual Waiter on_settled() noexcept = 0;

    // Nobody blocks for it: it wants a background reader.
    [[nodiscard]] virtual bool is_async() const noexcept { return false; }

    // Held while the session lets go of its lock in the middle of something with this call.
    [[nodiscard]] virtual std::shared_ptr<Call> keep_alive() { return nullptr; }

    [[nodiscard]] TimePoint deadline() const noexcept { return info.deadline; }

    CallInfo info{};
    OutgoingMessage& message = exchange_->message;
    Outcome& outcome = exchange_->outcome;
    std::uint64_t number = 0;
    bool settled = false;

protected:
    const Waiter& waiter() {
        auto& waiter = exchange_->waiter;
        if (waiter == nullptr) waiter = std::make_shared<std::condition_variable>();
        return waiter;
    }
};

// What the worker is told of how long its caller waits.
inline Timeouts timeouts_of(const Call& call) noexcept {
    Timeouts result;
    if (call.info.deadline != TimePoint::max()) {
        const auto left = to_microseconds(call.info.deadline - Clock::now());
        result.call_us = std::max<std::uint64_t>(1, left);
    }
    if (call.info.run_timeout != no_timeout) {
        const auto most = std::numeric_limits<std::uint32_t>::max();
        const auto left = to_microseconds(call.info.run_timeout) / 1000;
        result.run_ms = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(left, 1, most));
    }
    return result;
}

// A call that its maker's thread waits for.
class BlockingCall final : public Call {
public:
    [[nodiscard]] Waiter on_settled() noexcept override { return changed; }

    const Waiter& changed = waiter();
    bool promoted = false;       // shall read for all
    bool cancelled = false;      // its stop token fired
    bool interruptible = false;  // it has a stop token that may fire
};

}  // namespace detail
TETHER_NAMESPACE_END
