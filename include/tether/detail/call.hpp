// Why: what a session needs to know of a call, whoever waits for it in whatever way.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/envelope.hpp>
#include <tether/detail/frame_reader.hpp>
#include <tether/detail/lifecycle.hpp>
#include <tether/detail/outgoing_message.hpp>
#include <tether/error.hpp>
#include <tether/options.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

// An answer or an error. An error is kept as a value and thrown by whoever waits for it, so that no
// exception object is shared between threads. The bytes of an answer are decoded by whoever waits
// for it.
struct Outcome {
    std::optional<CallError> error{};
    bool lost_with_worker = false;  // the worker ended, and doing it again would be right
    bool is_error_answer = false;
    std::string payload{};
    Bytes large_payload{};
    std::vector<Bytes> blobs{};

    // Keeps the storage, unless that is large.
    void reset() {
        if (payload.capacity() > OutgoingMessage::kept_storage) std::string{}.swap(payload);
        error.reset();
        lost_with_worker = is_error_answer = false;
        payload.clear();
        large_payload = {};
        blobs.clear();
    }

    void take(const IncomingMessage& message) {
        is_error_answer = message.type == FrameType::error;
        if (message.storage != nullptr) {
            large_payload = std::move(*message.storage);
        } else {
            payload.assign(message.payload);
        }
        blobs.resize(message.blobs.size());
        std::ranges::move(message.blobs, blobs.begin());
    }

    [[nodiscard]] std::string_view bytes() const noexcept {
        return large_payload.empty() ? std::string_view{payload} : large_payload.view();
    }

    // Throws where the call failed; `where()` says which call.
    template <class Where>
    void check(const Where& where) const {
        if (error) throw CallError{*error};
        if (!is_error_answer) return;
        auto answer = ErrorAnswer::decode(bytes());
        const auto prefix = where() + ": ";
        if (answer.cause != errc::handler) throw CallError(answer.cause, prefix + answer.text);
        std::string text = prefix + answer.causes.front().message;
        for (std::size_t i = 1; i < answer.causes.size(); ++i) {
            text += "; caused by: " + answer.causes[i].message;
        }
        throw RemoteError(text, std::move(answer.causes));
    }
};

// One call. Its session changes it only under its own lock, and settles it exactly once.
class Call {
public:
    Call() = default;
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    virtual ~Call() = default;

    // Wakes whoever waits. Under the session's lock; `this` may be gone as soon as that is
    // released.
    virtual void on_settled() noexcept = 0;

    // Nobody blocks for it: it wants a background reader.
    [[nodiscard]] virtual bool is_async() const noexcept { return false; }

    // Held while the session lets go of its lock in the middle of something with this call.
    [[nodiscard]] virtual std::shared_ptr<Call> keep_alive() { return nullptr; }

    [[nodiscard]] TimePoint deadline() const noexcept { return info.deadline; }

    CallInfo info{};
    OutgoingMessage message{};
    std::uint64_t number = 0;
    bool settled = false;
    Outcome outcome{};
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
    void on_settled() noexcept override { changed.notify_one(); }

    void reset() {
        info = {};
        message.reset();
        number = 0;
        settled = promoted = cancelled = interruptible = false;
        outcome.reset();
    }

    std::condition_variable changed{};
    bool promoted = false;       // shall read for all
    bool cancelled = false;      // its stop token fired
    bool interruptible = false;  // it has a stop token that may fire
};

}  // namespace detail
TETHER_NAMESPACE_END
