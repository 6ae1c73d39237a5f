// Why: a host that turns into a daemon closes what its background thread watches, and nothing in
// this process could wake that thread any more. A worker can: it notices the end of its control
// channel, and holds a copy of one descriptor that the thread watches. The kernel goes on watching
// a file as long as anybody has it open.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/os/watches.hpp>

#include <chrono>
#include <memory>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Of all workers of a runtime that live at the same time; each has a copy of the descriptor.
template <class Runtime>
class Alarm : public std::enable_shared_from_this<Alarm<Runtime>> {
public:
    // Throws a std::system_error where there are no descriptors.
    explicit Alarm(Runtime& runtime)
        : runtime_(runtime),
          watch_(std::make_unique<WatchedDescriptor>(runtime.context())),
          again_(std::make_unique<WatchTimer>(runtime.context())) {}
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;
    ~Alarm() {
        // The reactor's number may be a file of the host's by now.
        if (runtime_.has_descriptors()) {
            Watches::let_go(*watch_);
        } else {
            [[maybe_unused]] auto* leaked_watch = watch_.release();
            [[maybe_unused]] auto* leaked_timer = again_.release();
        }
    }

    [[nodiscard]] int fd() const noexcept { return wake_.fd(); }

    void watch() {
        static_cast<void>(Watches::when_ready(*watch_, wake_.fd(), false, this->shared_from_this(),
                                              [](Alarm& alarm) { alarm.on_alarm(); }));
    }

private:
    // A host may close its descriptors one by one, and those of the worker first. The event is not
    // read: each time that it is sounded is news to the reactor, and a worker could have the read
    // block.
    void on_alarm() {
        for (int round = 0; round < 2 && runtime_.has_descriptors(); ++round) {
            nap(std::chrono::milliseconds{1});
        }
        runtime_.look_after_descriptors();
        // Not at once: a worker that sounds it without end harms itself only.
        const auto later = deadline_after(Clock::now(), std::chrono::milliseconds{100});
        if (!runtime_.has_descriptors()) return;
        static_cast<void>(Watches::at(*again_, later, this->shared_from_this(),
                                      [](Alarm& alarm) { alarm.watch(); }));
    }

    Runtime& runtime_;
    WakeUp wake_;
    std::unique_ptr<WatchedDescriptor> watch_;
    std::unique_ptr<WatchTimer> again_;
};

}  // namespace detail
TETHER_NAMESPACE_END
