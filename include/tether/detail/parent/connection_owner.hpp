// Why: a connection knows no process and no reactor. What it needs of them it asks of its owner.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/hub.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/error.hpp>

#include <cstdint>
#include <memory>
#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a connection asks of its owner, on any thread. The connection's lock is held, except in
// on_violation(), where only its lock for reading may be.
class ConnectionOwner {
public:
    ConnectionOwner(const ConnectionOwner&) = delete;
    ConnectionOwner& operator=(const ConnectionOwner&) = delete;

    // On the background thread, call on_input() once there is input, or on_room() once there is
    // room; each once. The reactor may make the socket non-blocking for that. An owner that cannot
    // watch must end the connection.
    virtual void watch_input() = 0;
    virtual void watch_room() = 0;
    // Neither is wanted any more. What was reported already may still come.
    virtual void unwatch_connection() = 0;
    // The calling thread is the background thread.
    [[nodiscard]] virtual bool on_background_thread() const noexcept = 0;
    // On the background thread, call on_others_ran() once all handlers have run that are ready now.
    virtual void let_others_run() = 0;
    // On the background thread, call on_deadline() at that time. Replaces the time asked for
    // before.
    virtual void watch_deadline(TimePoint when) = 0;

    // Takes back a request that the worker has, before its handler begins. False: it may have
    // begun.
    virtual bool withdraw([[maybe_unused]] std::uint64_t number) { return false; }
    // A call was settled without an answer, but the worker has its request. False: the worker is
    // not told of that now.
    virtual bool on_given_up(std::uint64_t number, errc cause) = 0;
    // An answer has come; its call is settled next.
    virtual void on_answer() noexcept {}
    virtual void on_error_answer(const ErrorAnswer& answer) = 0;
    // Null: its calls are not observed.
    [[nodiscard]] virtual const Observer* observer() const noexcept { return nullptr; }
    // Where notifications go. Null: there are none in this protocol.
    virtual std::shared_ptr<Hub> hub() { return nullptr; }
    // The worker's lines. Null: the host does not want them.
    virtual std::shared_ptr<OutputSource> output() = 0;
    // The worker's welcome has arrived.
    virtual void on_welcome() {}
    // The connection takes no more calls, and has none left.
    virtual void on_drained() = 0;
    // Nothing can be sent, or nothing comes any more.
    virtual void on_lost(const std::string& text) = 0;
    // The worker sent what no worker sends, or it cannot be received.
    virtual void on_violation(errc cause, const std::string& text) = 0;

protected:
    ConnectionOwner() = default;
    ~ConnectionOwner() = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
