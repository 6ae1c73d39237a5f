// Why: what the background thread watches for one worker. Asio's objects are not thread-safe; their
// session locks around them, and lets go of a descriptor here before it is closed.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>

#include <asio/basic_waitable_timer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/basic_stream_descriptor.hpp>

#include <array>
#include <memory>
#include <system_error>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// With the executor of Tether's own context, not one whose type is erased: what Asio makes of that
// takes a while to compile.
using WatchedDescriptor = asio::posix::basic_stream_descriptor<asio::io_context::executor_type>;
using WatchTimer =
    asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, asio::io_context::executor_type>;

struct Watches {
    explicit Watches(asio::io_context& context)
        : end(context),
          control(context),
          output{WatchedDescriptor{context}, WatchedDescriptor{context}},
          connection(context),
          start(context),
          deadline(context),
          lost(context),
          step(context),
          look(context),
          overdue(context),
          silence(context),
          heartbeat(context),
          idle(context),
          leave(context),
          backlog(context) {}
    Watches(const Watches&) = delete;
    Watches& operator=(const Watches&) = delete;
    ~Watches() {
        for (auto* descriptor : {&end, &control, &output[0], &output[1], &connection}) {
            let_go(*descriptor);
        }
    }

    static void let_go(WatchedDescriptor& descriptor) {
        if (descriptor.is_open()) static_cast<void>(descriptor.release());
    }

    // Calls act(owner) once the descriptor is ready, unless it is let go before or the owner is
    // gone: what was cancelled waits for the background thread, and must not keep the owner until
    // then.
    template <class Owner, class Act>
    static std::error_code when_ready(WatchedDescriptor& descriptor, int fd, bool to_write,
                                      const std::shared_ptr<Owner>& owner, Act act) noexcept {
        std::error_code error;
        if (!descriptor.is_open()) static_cast<void>(descriptor.assign(fd, error));
        if (error) return error;
        return without_exceptions([&] {
            descriptor.async_wait(
                to_write ? WatchedDescriptor::wait_write : WatchedDescriptor::wait_read,
                if_there(owner, act));
        });
    }

    // Calls act(owner) at `when`, unless the timer is set again or destroyed before, or the owner
    // is gone.
    template <class Owner, class Act>
    static std::error_code at(WatchTimer& timer, TimePoint when,
                              const std::shared_ptr<Owner>& owner, Act act) noexcept {
        if (when == TimePoint::max()) return {};
        return without_exceptions([&] {
            timer.expires_at(when);
            timer.async_wait(if_there(owner, act));
        });
    }

    template <class Begin>
    static std::error_code without_exceptions(Begin begin) noexcept {
        try {
            begin();
            return {};
        } catch (const std::system_error& error) {
            return error.code();
        } catch (...) {
            return std::make_error_code(std::errc::not_enough_memory);
        }
    }

    template <class Owner, class Act>
    static auto if_there(const std::shared_ptr<Owner>& owner, Act act) {
        return [weak = std::weak_ptr<Owner>{owner}, act](const std::error_code& error) {
            if (error == asio::error::operation_aborted) return;
            const auto there = weak.lock();
            if (there == nullptr) return;
            if constexpr (requires { act.refuse(*there, error); }) {
                // It would come again at once, for ever.
                if (error == asio::error::operation_not_supported) return act.refuse(*there, error);
            }
            // Any other error is for whoever looks at the descriptor next.
            act(*there);
        };
    }

    WatchedDescriptor end;                    // the worker's pidfd
    WatchedDescriptor control;                // the control channel
    std::array<WatchedDescriptor, 2> output;  // the worker's stdout and stderr
    WatchedDescriptor connection;             // only when nobody else reads
    WatchTimer start;                         // the start timeout
    WatchTimer deadline;                      // of the next call that nobody's thread waits for
    WatchTimer lost;                          // the connection has ended, the process has not
    WatchTimer step;                          // it was killed and has not ended
    WatchTimer look;                          // without a pidfd: asks whether it has ended
    WatchTimer overdue;                       // a call has expired and was not answered
    WatchTimer silence;                       // the guard was asked and has not answered
    WatchTimer heartbeat;                     // whether it can be heard
    WatchTimer idle;                          // no call for a while
    WatchTimer leave;                         // the last call of a worker that is given up
    WatchTimer backlog;                       // the host's stderr was full
};

}  // namespace detail
TETHER_NAMESPACE_END
