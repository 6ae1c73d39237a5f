// Why: what the background thread watches for one worker. Asio's objects are not thread-safe: the
// session locks around them, and releases a descriptor here before it closes it.
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

// With the executor type of Tether's own context: a type-erased one takes long to compile.
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
          ladder(context),
          look(context),
          health(context),
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

    // Calls act(owner) once the descriptor is ready, unless it is released or the owner is gone
    // before. A cancelled wait stays queued until the background thread runs, so it does not own
    // the owner.
    template <class Owner, class Act>
    static std::error_code when_ready(WatchedDescriptor& descriptor, int fd, bool to_write,
                                      const std::shared_ptr<Owner>& owner, Act act) noexcept {
        return without_exceptions([&] {
            if (!descriptor.is_open()) descriptor.assign(fd);
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
                // A new wait would fail at once, for ever.
                if (error == asio::error::operation_not_supported) return act.refuse(*there, error);
            }
            // The next use of the descriptor reports any other error.
            act(*there);
        };
    }

    WatchedDescriptor end;                    // the worker's pidfd
    WatchedDescriptor control;                // the control channel
    std::array<WatchedDescriptor, 2> output;  // the worker's stdout and stderr
    WatchedDescriptor connection;             // to read while no caller does; to write when full
    WatchTimer start;                         // the start timeout
    WatchTimer deadline;                      // of the next call for which no thread blocks
    WatchTimer lost;                          // the connection has ended, the process has not
    WatchTimer step;                          // it was killed and has not ended
    WatchTimer ladder;                        // the next step of ending it
    WatchTimer look;                          // without a pidfd: asks whether it has ended
    WatchTimer health;                        // the next look at whether it is of use
    WatchTimer leave;                         // the last call of a worker that is given up
    WatchTimer backlog;                       // the host's stderr was full
};

}  // namespace detail
TETHER_NAMESPACE_END
