// Why: a host that turns into a daemon closes the descriptors that its background thread watches,
// and no thread of this process could wake that one any more. A worker can: its guard notices the
// end of the control channel, and the worker holds a copy of one descriptor that the thread
// watches. The kernel goes on watching a file as long as any process has it open.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/os/watches.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <memory>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The runtime, as far as an alarm knows it.
class ReactorOwner {
public:
    ReactorOwner() = default;
    ReactorOwner(const ReactorOwner&) = delete;
    ReactorOwner& operator=(const ReactorOwner&) = delete;
    // False: the host has closed them.
    [[nodiscard]] virtual bool has_descriptors() const noexcept = 0;
    // Settles that, if it is so.
    virtual void look_after_descriptors() noexcept = 0;

protected:
    ~ReactorOwner() = default;
};

// Of all workers of a runtime that live at the same time; each has a copy of the descriptor.
class Alarm : public std::enable_shared_from_this<Alarm> {
public:
    // Throws a std::system_error where there are no descriptors.
    Alarm(ReactorOwner& owner, asio::io_context& context)
        : owner_(owner),
          watch_(std::make_unique<WatchedDescriptor>(context)),
          again_(std::make_unique<WatchTimer>(context)) {}
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;
    ~Alarm() {
        if (owner_.has_descriptors()) {
            Watches::let_go(*watch_);
        } else {  // the reactor's number may be a file of the host's by now
            [[maybe_unused]] auto* leaked_watch = watch_.release();
            [[maybe_unused]] auto* leaked_timer = again_.release();
        }
    }

    [[nodiscard]] int fd() const noexcept { return event_.fd(); }

    void watch() {
        static_cast<void>(Watches::when_ready(*watch_, event_.fd(), false, shared_from_this(),
                                              [](Alarm& alarm) { alarm.on_alarm(); }));
    }

private:
    // On the background thread. A host may close its descriptors one by one, and those of the
    // worker first, so this looks again for a moment. Then it listens again, but not at once: a
    // worker that sounds the alarm without end must harm itself only.
    void on_alarm() {
        for (int round = 0; round < 2 && owner_.has_descriptors(); ++round) {
            nap(std::chrono::milliseconds{1});
        }
        owner_.look_after_descriptors();
        if (!owner_.has_descriptors() || !reset_event(event_.fd())) return;
        const auto later = deadline_after(Clock::now(), std::chrono::milliseconds{100});
        static_cast<void>(
            Watches::at(*again_, later, shared_from_this(), [](Alarm& alarm) { alarm.watch(); }));
    }

    ReactorOwner& owner_;
    const WakeUp event_;
    std::unique_ptr<WatchedDescriptor> watch_;
    std::unique_ptr<WatchTimer> again_;
};

}  // namespace detail
TETHER_NAMESPACE_END
