// Why: a connection knows no process and no reactor; what it needs of them it asks of its owner.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/error.hpp>

#include <cstdint>
#include <memory>
#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a connection asks of whoever has it. Its lock is held, but for on_violation.
class ConnectionOwner {
public:
    ConnectionOwner(const ConnectionOwner&) = delete;
    ConnectionOwner& operator=(const ConnectionOwner&) = delete;

    // Call on_input() or on_room() once, as soon as there is some.
    virtual void watch_input() = 0;
    virtual void watch_room() = 0;
    virtual void unwatch_connection() = 0;
    // This is the thread that calls what is asked for here.
    [[nodiscard]] virtual bool on_background_thread() const noexcept = 0;
    // Call on_others_ran() there, once all has run that is ready now.
    virtual void let_others_run() = 0;
    // Call on_deadline() then, and no more at the time asked for before.
    virtual void watch_deadline(TimePoint when) = 0;

    // Its caller waits no longer, but the worker has the request.
    // False: the worker is not told of it now.
    virtual bool on_given_up(std::uint64_t number, errc cause) = 0;
    virtual void on_error_answer(const ErrorAnswer& answer) = 0;
    // Null: the host does not want the lines.
    virtual std::shared_ptr<OutputSource> output() = 0;
    // It takes no more calls, and has none left.
    virtual void on_drained() = 0;
    // Nothing can be sent, or nothing comes any more.
    virtual void on_lost(const std::string& text) = 0;
    // What came is not what a worker sends, or it cannot be received.
    virtual void on_violation(errc cause, const std::string& text) = 0;

protected:
    ConnectionOwner() = default;
    ~ConnectionOwner() = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
