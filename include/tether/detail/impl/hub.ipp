#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/detail/call/hub.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/error.hpp>

#include <asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL Notification::~Notification() {
    if (const auto the_hub = hub.lock()) the_hub->release(*this);
}

// --- Subscriber

TETHER_DECL void Subscriber::deliver() {
    {
        const std::scoped_lock lock{mutex_};
        if (waiting_.empty() || posted_) return;
        posted_ = true;
    }
    try {
        asio::post(executor_, [self = shared_from_this()] { self->run(); });
    } catch (...) {  // no memory, or the executor takes no more work: with the next one
        const std::scoped_lock lock{mutex_};
        posted_ = false;
    }
}

inline std::shared_ptr<Notification> Subscriber::next() {
    const std::scoped_lock lock{mutex_};
    if (ended_ || waiting_.empty()) {
        posted_ = false;
        return nullptr;
    }
    auto notification = std::move(waiting_.front());
    waiting_.pop_front();
    running_ = std::this_thread::get_id();
    return notification;
}

TETHER_DECL void Subscriber::run() {
    struct Running {
        explicit Running(Subscriber& the_subscriber) : subscriber(the_subscriber) {}
        Running(const Running&) = delete;
        Running& operator=(const Running&) = delete;
        ~Running() {
            const std::scoped_lock lock{subscriber.mutex_};
            subscriber.running_ = {};
            subscriber.changed_.notify_all();
        }
        Subscriber& subscriber;
    };
    // Others want to run there, too.
    constexpr int slice = 64;
    for (int i = 0; i < slice; ++i) {
        const auto notification = next();
        if (notification == nullptr) return;
        const Running running{*this};
        try {
            if (notification.use_count() == 1) {
                function_(notification->message);
            } else {  // others read it, too
                StoredMessage copy = notification->message;
                function_(copy);
            }
        } catch (...) {  // the user's: it leaves the executor's run(), and the rest comes later
            deliver_rest();
            throw;
        }
    }
    deliver_rest();
}

inline void Subscriber::deliver_rest() {
    {
        const std::scoped_lock lock{mutex_};
        posted_ = false;
    }
    deliver();
}

TETHER_DECL void Subscriber::end() {
    std::deque<std::shared_ptr<Notification>> dropped;
    std::unique_lock lock{mutex_};
    ended_ = true;
    dropped.swap(waiting_);
    if (running_ != std::this_thread::get_id()) {
        // The thread that is inside the function may have been left behind at exit.
        const auto returned = [this] { return running_ == std::thread::id{}; };
        while (!changed_.wait_for(lock, std::chrono::seconds{1}, returned)) {
            if (Runtime::instance().exiting()) break;
        }
    }
    lock.unlock();
}

// --- Hub

TETHER_DECL Hub::Hub() : epoch_(Runtime::fork_epoch().load()) {}

TETHER_DECL bool Hub::forked() const noexcept { return epoch_ != Runtime::fork_epoch().load(); }

TETHER_DECL void Hub::provide(std::uint16_t index, std::shared_ptr<const Provider> provider) {
    const std::scoped_lock lock{mutex_};
    providers_.insert_or_assign(index, std::move(provider));
}

inline bool Hub::has_subscribers(std::uint16_t index) const {
    return std::any_of(subscribers_.begin(), subscribers_.end(),
                       [&](const auto& subscriber) { return subscriber->index() == index; });
}

inline Hub::Attached* Hub::find(const CallConnection& connection) {
    const auto found = std::find_if(attached_.begin(), attached_.end(), [&](const auto& attached) {
        return attached.address == &connection && !attached.connection.expired();
    });
    return found == attached_.end() ? nullptr : &*found;
}

inline std::vector<std::shared_ptr<CallConnection>> Hub::connections() const {
    std::vector<std::shared_ptr<CallConnection>> result;
    for (const auto& attached : attached_) {
        if (auto connection = attached.connection.lock()) result.push_back(std::move(connection));
    }
    return result;
}

TETHER_DECL void Hub::subscribe(std::shared_ptr<Subscriber> subscriber) {
    const auto index = subscriber->index();
    const std::scoped_lock telling{telling_};
    std::vector<std::shared_ptr<CallConnection>> told;
    {
        const std::scoped_lock lock{mutex_};
        if (!has_subscribers(index)) told = connections();
        subscribers_.push_back(std::move(subscriber));
    }
    for (const auto& connection : told) tell_subscription(index, true, connection);
}

TETHER_DECL void Hub::unsubscribe(const std::shared_ptr<Subscriber>& subscriber) {
    {
        const std::scoped_lock telling{telling_};
        try {
            std::vector<std::shared_ptr<CallConnection>> told;
            bool any = false;
            {
                const std::scoped_lock lock{mutex_};
                std::erase(subscribers_, subscriber);
                any = !subscribers_.empty();
                if (!has_subscribers(subscriber->index())) told = connections();
            }
            for (const auto& connection : told) {
                tell_subscription(subscriber->index(), false, connection);
                connection->listen(any);
            }
        } catch (const std::bad_alloc&) {  // what the worker still sends is dropped
        }
    }
    subscriber->end();
}

TETHER_DECL void Hub::tell_subscription(std::uint16_t index, bool wanted,
                                        const std::shared_ptr<CallConnection>& connection) {
    OutgoingMessage message;
    message.seal();
    connection->send_to_worker(FrameType::subscription, index, wanted ? 1 : 0, message);
    if (wanted) connection->listen(true);
}

TETHER_DECL void Hub::attach(const std::shared_ptr<CallConnection>& connection) {
    const std::scoped_lock telling{telling_};
    std::vector<std::uint16_t> indexes;
    {
        const std::scoped_lock lock{mutex_};
        std::erase_if(attached_,
                      [](const Attached& attached) { return attached.connection.expired(); });
        attached_.push_back({connection, connection.get()});
        for (const auto& subscriber : subscribers_) indexes.push_back(subscriber->index());
    }
    std::sort(indexes.begin(), indexes.end());
    indexes.erase(std::unique(indexes.begin(), indexes.end()), indexes.end());
    for (const auto index : indexes) tell_subscription(index, true, connection);
}

TETHER_DECL bool Hub::announce_large(const CallConnection& connection) {
    const std::scoped_lock lock{mutex_};
    auto* const from = find(connection);
    return from != nullptr && from->window.is_open() && !std::exchange(from->announced_large, true);
}

TETHER_DECL void Hub::break_off_large(const CallConnection& connection) {
    const std::scoped_lock lock{mutex_};
    if (auto* const from = find(connection)) from->announced_large = false;
}

TETHER_DECL bool Hub::take(const CallConnection& connection, IncomingMessage& message) {
    const std::scoped_lock lock{mutex_};
    auto* const from = find(connection);
    if (from == nullptr) return false;
    if (message.storage != nullptr) from->announced_large = false;
    if (!from->window.receive(window_cost(message))) return false;
    auto& notification = arrived_.emplace_back();
    notification = std::make_shared<Notification>(weak_from_this(), from->connection, message);
    for (const auto& subscriber : subscribers_) {
        if (subscriber->index() == message.index) subscriber->add(notification);
    }
    return true;
}

TETHER_DECL void Hub::on_news() {
    std::vector<std::shared_ptr<Subscriber>> subscribers;
    std::vector<std::shared_ptr<Notification>> arrived;
    {
        const std::scoped_lock lock{mutex_};
        subscribers = subscribers_;
        arrived.swap(arrived_);
    }
    arrived.clear();  // subscribers hold what they have not handled
    for (const auto& subscriber : subscribers) subscriber->deliver();
}

TETHER_DECL void Hub::release(const Notification& notification) {
    if (forked()) return;
    const auto connection = notification.connection.lock();
    if (connection == nullptr) return;
    std::uint64_t more = 0;
    {
        const std::scoped_lock lock{mutex_};
        auto* const from = find(*connection);
        if (from == nullptr) return;
        more = from->window.take(notification.cost);
    }
    if (more == 0) return;
    OutgoingMessage window;
    append_window(window.payload(), more);
    window.seal();
    connection->send_to_worker(FrameType::window, 0, 0, window);
}

// --- Questions

TETHER_DECL Reply::~Reply() {
    if (sent_) return;
    try {
        refuse(errc::stopped, "the parent has dropped what was to answer it");
    } catch (...) {  // no memory: the asker has its timeout
    }
}

TETHER_DECL void Reply::send(FrameType type) {
    sent_ = true;
    message_.seal();
    connection_.send_answer(call_, type, index_, question_, message_);
}

// One that is too large for the worker's reader would end the worker.
TETHER_DECL void Reply::send() {
    const auto most = connection_.max_message_bytes();
    if (message_.content_size() <= most && message_.blobs().size() <= MessageHead::max_blobs) {
        return send(FrameType::response);
    }
    refuse(errc::message_too_large, "the answer has " + std::to_string(message_.content_size()) +
                                        " bytes in " + std::to_string(message_.blobs().size()) +
                                        " blobs and a payload; the limit is " +
                                        std::to_string(most) + " bytes and " +
                                        std::to_string(MessageHead::max_blobs) + " blobs");
}

TETHER_DECL void Reply::fail() { send(ErrorAnswer{errc::handler, {}, describe_thrown()}); }

TETHER_DECL void Reply::refuse(errc cause, const std::string& text) {
    send(ErrorAnswer{cause, text, {}});
}

inline void Reply::send(ErrorAnswer error) {
    message_.reset();
    error.shorten(connection_.max_message_bytes());
    error.append_to(message_.payload());
    send(FrameType::error);
}

TETHER_DECL void Hub::answer_now(const Provider* provider, StoredMessage& question, Reply reply) {
    if (provider == nullptr) {
        return reply.refuse(errc::codec, "the parent provides no answer to it (Worker::provide)");
    }
    const Answering answering{*this};
    try {
        provider->answer(question, reply);
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        reply.fail();
    }
}

TETHER_DECL void Hub::answer(StoredMessage question, CallConnection& connection,
                             std::shared_ptr<CallConnection> kept, std::uint64_t call) {
    std::shared_ptr<const Provider> provider;
    {
        const std::scoped_lock lock{mutex_};
        const auto found = providers_.find(question.index);
        if (found != providers_.end()) provider = found->second;
        // One that answers elsewhere, or later, may outlive the call.
        const auto* const asker = kept == nullptr ? find(connection) : nullptr;
        if (asker != nullptr) kept = asker->connection.lock();
    }
    if (kept.get() != &connection) return;  // of a process that is gone
    Reply reply{connection, std::move(kept), call, question};
    if (provider == nullptr || !provider->executor) {
        return answer_now(provider.get(), question, std::move(reply));
    }
    asio::post(*provider->executor,
               [self = shared_from_this(), provider, question = std::move(question),
                reply = std::move(reply)]() mutable {
                   self->answer_now(provider.get(), question, std::move(reply));
               });
}

// --- Calls by those that answer

TETHER_DECL bool Hub::answers_on_this_thread() const noexcept {
    return Answering::current() == this;
}

TETHER_DECL NestedCall::NestedCall(Hub& hub, std::string_view request, const std::string& worker,
                                   unsigned most) {
    if (!hub.answers_on_this_thread()) return;
    const std::scoped_lock lock{hub.mutex_};
    if (hub.nested_ + 1 >= most) {
        throw CallError(errc::would_deadlock,
                        describe_call(request, worker) +
                            ": the handler that asked waits for this thread, and the worker has no "
                            "other for this call; use async_call, or more concurrency");
    }
    ++hub.nested_;
    hub_ = &hub;
}

TETHER_DECL NestedCall::~NestedCall() {
    if (hub_ == nullptr) return;
    const std::scoped_lock lock{hub_->mutex_};
    --hub_->nested_;
}

}  // namespace detail
TETHER_NAMESPACE_END
