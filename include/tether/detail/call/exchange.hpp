// Why: what a call sends and gets lies in storage of several kinds. It is kept from call to call,
// so that a small blocking call allocates nothing of its own.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/frame_reader.hpp>
#include <tether/detail/wire/outgoing_message.hpp>
#include <tether/error.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Whether a call goes to the next process, when its worker has ended.
enum class Resend {
    never,
    once,    // its handler may have begun, and doing it again would be right
    freely,  // its handler had not begun
};

// A worker's lines of output, on their way through pipes of their own.
class OutputSource {
public:
    OutputSource(const OutputSource&) = delete;
    OutputSource& operator=(const OutputSource&) = delete;
    // Passes on what has come so far. Waits at most until `deadline`, and not for long.
    virtual void pass_on_output(TimePoint deadline) = 0;
    // Has `next` run on the background thread when that is done.
    virtual void pass_on_output(std::function<void()> next) = 0;

protected:
    OutputSource() = default;
    ~OutputSource() = default;
};

// An answer or an error. An error is kept as a value and thrown by whoever waits for it, so that no
// exception object is shared between threads. The bytes of an answer are decoded by whoever waits
// for it.
struct Outcome {
    std::optional<CallError> error{};
    Resend resend = Resend::never;
    bool is_error_answer = false;
    // The handler has logged something, which comes before its answer.
    std::shared_ptr<OutputSource> logged{};
    std::string payload{};
    Bytes large_payload{};
    std::vector<Bytes> blobs{};

    // Keeps the storage, unless that is large.
    void reset() {
        if (payload.capacity() > OutgoingMessage::kept_storage) std::string{}.swap(payload);
        error.reset();
        resend = Resend::never;
        is_error_answer = false;
        logged.reset();
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
        std::move(message.blobs.begin(), message.blobs.end(), blobs.begin());
    }

    // `sent_again` is true from the first time on that may not be repeated.
    [[nodiscard]] bool goes_on(bool& sent_again) const noexcept {
        if (resend == Resend::once) return !std::exchange(sent_again, true);
        return resend == Resend::freely;
    }

    [[nodiscard]] std::string_view bytes() const noexcept {
        return large_payload.empty() ? std::string_view{payload} : large_payload.view();
    }

    // The error as an exception, or null. Nothing is thrown for that: unwinding would be most of
    // the work where very many calls fail at once.
    [[nodiscard]] std::exception_ptr failure() const noexcept {
        return error ? std::make_exception_ptr(CallError{*error}) : nullptr;
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

// Where a thread sleeps until its call has changed. It outlives the call, so that it can be
// notified when the lock is free that its sleeper needs at once; woken before, it would sleep again
// for that.
using Waiter = std::shared_ptr<std::condition_variable>;

// A request and what comes of it.
struct Exchange {
    OutgoingMessage message{};
    Outcome outcome{};
    Waiter waiter{};  // made for the first call that needs one

    // Keeps the storage, unless that is large.
    void reset() {
        message.reset();
        outcome.reset();
    }
};

class ExchangePool {
public:
    struct GiveBack {
        void operator()(Exchange* exchange) const noexcept { instance().give_back(exchange); }
    };
    using Lease = std::unique_ptr<Exchange, GiveBack>;

    // Leaked on purpose: calls may be made during static destruction.
    static ExchangePool& instance() {
        static ExchangePool& pool = *new ExchangePool;
        return pool;
    }

    Lease take() {
        // Tried only: in a forked copy nobody may be left to unlock it.
        if (const std::unique_lock lock{mutex_, std::try_to_lock}; lock && !kept_.empty()) {
            Lease lease{kept_.back().release()};
            kept_.pop_back();
            return lease;
        }
        return Lease{new Exchange};
    }

private:
    static constexpr std::size_t most_kept = 64;

    ExchangePool() { kept_.reserve(most_kept); }

    void give_back(Exchange* returned) noexcept {
        std::unique_ptr<Exchange> exchange{returned};
        try {
            exchange->reset();
        } catch (...) {  // no memory: it is not kept
            return;
        }
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (lock && kept_.size() < most_kept) kept_.push_back(std::move(exchange));
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<Exchange>> kept_;
};

}  // namespace detail
TETHER_NAMESPACE_END
