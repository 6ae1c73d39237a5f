// Why: what a worker says outside of its calls, and what it asks, concerns the worker as a whole:
// subscriptions and answers are given once, and hold for each of its processes.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/call/call_connection.hpp>
#include <tether/detail/call/news.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/outgoing_message.hpp>
#include <tether/detail/wire/stored_message.hpp>
#include <tether/errc.hpp>

#include <asio/any_io_executor.hpp>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a question is answered by, once. Nothing happens where its call has ended.
class Reply {
public:
    // `kept` keeps the connection alive; null: the caller does.
    Reply(CallConnection& connection, std::shared_ptr<CallConnection> kept, std::uint64_t call,
          const StoredMessage& question) noexcept
        : connection_(connection),
          kept_(std::move(kept)),
          call_(call),
          index_(question.index),
          question_(question.number) {}
    Reply(Reply&& other) noexcept
        : connection_(other.connection_),
          kept_(std::move(other.kept_)),
          call_(other.call_),
          index_(other.index_),
          question_(other.question_),
          message_(std::move(other.message_)),
          sent_(std::exchange(other.sent_, true)) {}
    Reply& operator=(Reply&&) = delete;
    // One that was not sent, because its executor is gone, is refused.
    TETHER_DECL ~Reply();

    // To encode the answer to, before send().
    [[nodiscard]] OutgoingMessage& message() noexcept { return message_; }
    TETHER_DECL void send();
    // With the exception that is being handled.
    TETHER_DECL void fail();
    TETHER_DECL void refuse(errc cause, const std::string& text);

private:
    TETHER_DECL void send(FrameType type);
    void send(ErrorAnswer error);

    CallConnection& connection_;
    std::shared_ptr<CallConnection> kept_;
    std::uint64_t call_;
    std::uint16_t index_;
    std::uint64_t question_;
    OutgoingMessage message_{};
    bool sent_ = false;  // or moved from
};

// Answers the questions of one type.
struct Provider {
    std::optional<asio::any_io_executor> executor{};  // none: the thread that waits for the call
    // Sends the reply, or moves it away to do so later. Throws what the user's function throws.
    std::function<void(StoredMessage& question, Reply& reply)> answer;
};

class Hub;

// A notification, on its way to all that have subscribed to it.
struct Notification {
    Notification(std::weak_ptr<Hub> the_hub, std::weak_ptr<CallConnection> the_connection,
                 IncomingMessage& source)
        : hub(std::move(the_hub)),
          connection(std::move(the_connection)),
          message(source),
          cost(window_cost(message.view())) {}
    Notification(const Notification&) = delete;
    Notification& operator=(const Notification&) = delete;
    TETHER_DECL ~Notification();

    std::weak_ptr<Hub> hub;
    std::weak_ptr<CallConnection> connection;  // that it came on
    StoredMessage message;
    std::uint64_t cost;
};

// One subscription. Its function runs on its executor, one notification at a time, in their order.
class Subscriber : public std::enable_shared_from_this<Subscriber> {
public:
    using Function = std::function<void(StoredMessage& notification)>;

    Subscriber(std::uint16_t index, asio::any_io_executor executor, Function function)
        : index_(index), executor_(std::move(executor)), function_(std::move(function)) {}
    Subscriber(const Subscriber&) = delete;
    Subscriber& operator=(const Subscriber&) = delete;

    [[nodiscard]] std::uint16_t index() const noexcept { return index_; }

    // With the connection's lock held.
    void add(const std::shared_ptr<Notification>& notification) {
        const std::scoped_lock lock{mutex_};
        if (!ended_) waiting_.push_back(notification);
    }
    // Has the function called for what waits. Under no lock.
    TETHER_DECL void deliver();
    // The function is not called any more once this has returned, unless this is called by it.
    TETHER_DECL void end();

private:
    TETHER_DECL void run();
    std::shared_ptr<Notification> next();
    void deliver_rest();

    const std::uint16_t index_;
    const asio::any_io_executor executor_;
    Function function_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Notification>> waiting_;
    bool posted_ = false;  // run() is about to run, or runs
    bool ended_ = false;
    std::thread::id running_{};  // the thread that is inside the function
};

// A blocking call by a thread that answers a question of the same worker: the handler that asks
// waits meanwhile. Throws would_deadlock where no handler would be left to answer.
class NestedCall {
public:
    // `most`: calls that the worker runs at once.
    TETHER_DECL NestedCall(Hub& hub, std::string_view request, const std::string& worker,
                           unsigned most);
    NestedCall(const NestedCall&) = delete;
    NestedCall& operator=(const NestedCall&) = delete;
    TETHER_DECL ~NestedCall();

private:
    Hub* hub_ = nullptr;
};

class Hub final : public NewsListener, public std::enable_shared_from_this<Hub> {
public:
    TETHER_DECL Hub();

    // As CallCarrier::forked().
    [[nodiscard]] TETHER_DECL bool forked() const noexcept;

    // --- The user's side

    TETHER_DECL void provide(std::uint16_t index, std::shared_ptr<const Provider> provider);
    TETHER_DECL void subscribe(std::shared_ptr<Subscriber> subscriber);
    TETHER_DECL void unsubscribe(const std::shared_ptr<Subscriber>& subscriber);

    // This thread answers a question of its worker's.
    [[nodiscard]] TETHER_DECL bool answers_on_this_thread() const noexcept;

    // Answers a question of a call, here or on the provider's executor.
    TETHER_DECL void answer(StoredMessage question, CallConnection& connection,
                            std::shared_ptr<CallConnection> kept, std::uint64_t call);

    // --- The worker's side

    // There is a new process, which is told of the subscriptions. Those of a pool have one hub.
    TETHER_DECL void attach(const std::shared_ptr<CallConnection>& connection);

    // With the connection's lock held. False: the worker had no right to send that.
    TETHER_DECL bool take(const CallConnection& connection, IncomingMessage& message);
    TETHER_DECL bool announce_large(const CallConnection& connection);
    TETHER_DECL void break_off_large(const CallConnection& connection);

    TETHER_DECL void on_news() override;

    // A notification was handled.
    TETHER_DECL void release(const Notification& notification);

private:
    friend class NestedCall;

    // Whose question this thread answers.
    struct Answering {
        explicit Answering(const Hub& hub) noexcept : before(std::exchange(current(), &hub)) {}
        Answering(const Answering&) = delete;
        Answering& operator=(const Answering&) = delete;
        ~Answering() { current() = before; }
        static const Hub*& current() noexcept {
            static thread_local const Hub* hub = nullptr;
            return hub;
        }
        const Hub* before;
    };

    // A process that is there.
    struct Attached {
        std::weak_ptr<CallConnection> connection;
        const CallConnection* address;
        ReceiveWindow window{};
        bool announced_large = false;
    };

    // With mutex_ held. Null: it is gone.
    [[nodiscard]] Attached* find(const CallConnection& connection);
    [[nodiscard]] std::vector<std::shared_ptr<CallConnection>> connections() const;
    TETHER_DECL void answer_now(const Provider* provider, StoredMessage& question, Reply reply);
    TETHER_DECL void tell_subscription(std::uint16_t index, bool wanted,
                                       const std::shared_ptr<CallConnection>& connection);
    [[nodiscard]] bool has_subscribers(std::uint16_t index) const;

    const unsigned epoch_;
    mutable std::mutex mutex_;  // guards the rest
    std::map<std::uint16_t, std::shared_ptr<const Provider>> providers_;
    std::vector<std::shared_ptr<Subscriber>> subscribers_;
    std::vector<Attached> attached_;
    // Until on_news(): what destroys one sends something, which must
    // not happen with the connection's lock held.
    std::vector<std::shared_ptr<Notification>> arrived_;
    unsigned nested_ = 0;  // calls by threads that answer questions
    std::mutex telling_;   // the worker is told of one change at a time; before mutex_
};

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/hub.ipp>
#endif
