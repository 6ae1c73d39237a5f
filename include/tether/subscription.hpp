// Tether: what keeps a function subscribed to a worker's notifications.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/hub.hpp>

#include <memory>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// Made by `Worker::on`: the function is called as long as this exists.
///
/// **Its end.** Once the destructor or `reset()` has returned, the function is not called any more,
/// and does not run: it waits for a call of the function on another thread, which must not wait for
/// this thread. Inside the function itself it waits for nothing. A subscription may outlive its
/// worker; then nothing comes. In a forked copy it does nothing.
///
/// **Threads.** One thread at a time uses a subscription.
class Subscription {
public:
    /// Subscribes to nothing.
    Subscription() = default;

    /// Made by Tether.
    Subscription(std::shared_ptr<detail::Hub> hub, std::shared_ptr<detail::Subscriber> subscriber)
        : hub_(std::move(hub)), subscriber_(std::move(subscriber)) {}

    /// The other subscribes to nothing any more.
    Subscription(Subscription&&) noexcept = default;
    /// The same; what this was subscribed to is ended first.
    Subscription& operator=(Subscription&& other) noexcept {
        if (this != &other) {
            reset();
            hub_ = std::move(other.hub_);
            subscriber_ = std::move(other.subscriber_);
        }
        return *this;
    }
    /// As `reset()`.
    ~Subscription() { reset(); }

    /// Ends it. May be called again.
    void reset() noexcept {
        const auto hub = std::move(hub_);
        const auto subscriber = std::move(subscriber_);
        hub_ = nullptr;
        subscriber_ = nullptr;
        if (hub != nullptr && !hub->forked()) hub->unsubscribe(subscriber);
    }

    /// Whether it subscribes to something.
    [[nodiscard]] explicit operator bool() const noexcept { return hub_ != nullptr; }

private:
    std::shared_ptr<detail::Hub> hub_;
    std::shared_ptr<detail::Subscriber> subscriber_;
};

TETHER_NAMESPACE_END
