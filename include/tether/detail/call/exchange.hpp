// Why: what a call sends and gets lies in storage of several kinds. It is kept from call to call,
// so that a small blocking call allocates nothing of its own.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/wire/outgoing_message.hpp>
#include <tether/error.hpp>

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

struct IncomingMessage;

inline std::string describe_call(std::string_view request, const std::string& worker) {
    return "call \"" + std::string{request} + "\" to worker \"" + worker + "\"";
}

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
    const Observer* observer = nullptr;  // of the worker that it was sent to, where it is traced

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
        observer = nullptr;
    }

    TETHER_DECL void take(const IncomingMessage& message);

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

    // Throws where the call failed.
    TETHER_DECL void check(std::string_view request, const std::string& worker) const;
};

// Where a thread blocks until its call has changed. It outlives the call, since the lock that the
// waiting thread needs is released before it is notified.
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

struct GiveBackExchange {
    TETHER_DECL void operator()(Exchange* exchange) const noexcept;
};
using ExchangeLease = std::unique_ptr<Exchange, GiveBackExchange>;

// One that was used before, if there is one.
TETHER_DECL ExchangeLease take_exchange();

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/exchange.ipp>
#endif
