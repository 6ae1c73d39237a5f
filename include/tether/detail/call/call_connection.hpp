// Why: a stream goes on talking to the connection that its request has left on. What it asks of
// that is behind this class, because typed code knows no connection.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/wire/frame.hpp>
#include <tether/detail/wire/outgoing_message.hpp>

#include <cstdint>

TETHER_NAMESPACE_BEGIN
namespace detail {

// `number` is the call's number there. Where the call is not pending there any more, nothing
// happens.
class CallConnection {
public:
    CallConnection(const CallConnection&) = delete;
    CallConnection& operator=(const CallConnection&) = delete;

    // Sees what its calls do; null: there is none.
    [[nodiscard]] virtual const Observer* observer() const noexcept = 0;
    // Settles an async call. `only_unsent`: only if no part of its request has been sent.
    virtual void cancel(std::uint64_t number, bool only_unsent) = 0;
    // Gives it up because nothing has come for so long.
    virtual void give_up_waiting(std::uint64_t number, Duration waited) = 0;
    // Blocks until the caller has news, or its call is not pending here, or it is `caller.until`.
    // Reads for all meanwhile, or has another thread read.
    // True: the call is not pending here.
    virtual bool wait(WaitingCaller& caller) = 0;
    // Have the background thread read for this call, or not any more, as its feed wants.
    virtual void see_to_reader(std::uint64_t number) = 0;
    // Sends a side message, which is sealed. A copy: the message is free at once. False: the call
    // is not pending here.
    virtual bool send_side(std::uint64_t number, FrameType type, OutgoingMessage& message) = 0;
    // What a message may have, payload and blobs.
    [[nodiscard]] virtual std::uint64_t max_message_bytes() const noexcept = 0;
    // Answers a question of the call.
    virtual void send_answer(std::uint64_t number, FrameType type, std::uint16_t index,
                             std::uint64_t question, OutgoingMessage& message) = 0;

    // To the worker as a whole: a window for notifications, or a subscription, which `about` says.
    virtual void send_to_worker(FrameType type, std::uint16_t index, std::uint64_t about,
                                OutgoingMessage& message) = 0;
    // Have the background thread read where no caller does, for notifications.
    virtual void listen(bool wanted) = 0;

protected:
    CallConnection() = default;
    ~CallConnection() = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
