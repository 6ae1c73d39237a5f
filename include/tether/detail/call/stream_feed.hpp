// Why: a stream is used from one side by its consumer, at its own pace, by blocking or by async
// operations, and from the other by whatever thread reads the connection. Meanwhile its request may
// be waiting for a process, or go to the next one. This is what they share, for any type of item.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/call_connection.hpp>
#include <tether/detail/call/call_feed.hpp>
#include <tether/error.hpp>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What an operation on a stream waits for.
enum class StreamWant : std::uint8_t { item, room, end };

class StreamFeed;

// An async operation on a stream: a call that no worker is sent.
class StreamOp : public AsyncCall {
public:
    bool sent = false;  // the item that it had to send

    [[nodiscard]] StreamWant want() const noexcept { return want_; }

protected:
    TETHER_DECL StreamOp(std::shared_ptr<CallCarrier> carrier, CompletionPointer completion,
                         std::shared_ptr<StreamFeed> stream, StreamWant want);

    const std::shared_ptr<StreamFeed> stream_;

private:
    friend class StreamFeed;
    // What it sends once there is room.
    OutgoingMessage upload_{};
    std::uint64_t cost_ = 0;

    TETHER_DECL void withdraw(bool only_unsent) override;
    [[nodiscard]] CallFeed::Turn* turn() noexcept override { return &turn_; }

    const StreamWant want_;
    CallFeed::Turn turn_;

protected:
    OutgoingMessage& upload() noexcept { return upload_; }
    void set_cost(std::uint64_t cost) noexcept { cost_ = cost; }
};

class StreamFeed : public CallFeed {
public:
    using CallFeed::CallFeed;

    // --- Of its call

    void set_call(const std::shared_ptr<AsyncCall>& call) { call_ = call; }
    // Its request has left; again, if its worker has ended before it began.
    TETHER_DECL void on_sent();
    // It was settled. Not final: perhaps it goes to the next process.
    void on_settled(bool final) override {
        const auto held = lock();
        if (final) over_ = true;
        changed_.notify_all();
    }
    // It is completed.
    TETHER_DECL void on_completed();

    // --- Of its consumer. Throw nothing but std::bad_alloc, and what user's functions throw.

    // Blocks until it has what is wanted, or is over. Sees to progress and questions meanwhile.
    // False: for longer than `gap` nothing came; the stream is given up.
    TETHER_DECL bool await(StreamWant want, Duration gap);
    [[nodiscard]] TETHER_DECL std::optional<StoredMessage> next_item();
    // Blocks until there is room, and sends the message. False: it is over. Throws where it was
    // finished.
    [[nodiscard]] TETHER_DECL bool write(OutgoingMessage& upload, std::uint64_t cost);
    // No more uploads. Blocks for nothing.
    TETHER_DECL void finish();
    // With what is wanted, or its end.
    TETHER_DECL void begin(const std::shared_ptr<StreamOp>& op, Duration gap);
    TETHER_DECL void withdraw(StreamOp& op);
    TETHER_DECL void cancel();
    [[nodiscard]] bool is_over() const {
        const auto held = lock();
        return over_;
    }

    // --- CallFeed

    [[nodiscard]] bool wants_news() const override {
        const auto held = lock();
        return pull_ != nullptr || push_ != nullptr;
    }
    [[nodiscard]] TETHER_DECL std::optional<Duration> wanted_reader() const override;
    TETHER_DECL void on_news() override;
    TETHER_DECL void see_to_news(AsyncCall& op) override;

protected:
    // Progress and questions; on the thread of the consumer.
    virtual void see_to_interrupts(const AsyncCall::Ticket&) {}

private:
    class Caller;

    [[nodiscard]] bool has(StreamWant want, const Lock& held) const noexcept {
        if (over_) return true;
        if (want == StreamWant::item) return has_item(held);
        return want == StreamWant::room && is_at_work(held) && has_room(held);
    }
    // Its request has left, and it is not on its way to the next process.
    [[nodiscard]] bool is_at_work(const Lock& held) const noexcept {
        return sent_ != 0 && !is_parked(held) && !over_;
    }
    void check_alone(StreamWant want) {
        if (slot(want) != nullptr || (want == StreamWant::room && writing_)) {
            throw std::logic_error("a stream has one operation of a kind at a time");
        }
    }
    TETHER_DECL void send_finish_if_due();
    TETHER_DECL void see_to_reader();
    TETHER_DECL void drop_items();
    [[nodiscard]] std::shared_ptr<StreamOp>& slot(StreamWant want) noexcept {
        return want == StreamWant::room ? push_ : pull_;
    }
    TETHER_DECL void complete_ops();
    [[nodiscard]] AsyncCall::Ticket ticket() const {
        const auto call = call_.lock();
        return call == nullptr ? AsyncCall::Ticket{} : call->ticket();
    }

    std::weak_ptr<AsyncCall> call_;
    // With lock() held:
    std::condition_variable changed_;  // sent, settled or completed
    std::uint64_t sent_ = 0;           // how often
    bool over_ = false;                // nothing more will come
    std::shared_ptr<StreamOp> pull_;   // waits for an item, or the end
    std::shared_ptr<StreamOp> push_;   // waits for room
    Duration gap_ = no_timeout;        // of pull_
    bool writing_ = false;             // the item of an operation is about to leave
    bool finished_ = false;            // no item is written any more
    std::uint64_t finish_sent_ = 0;    // the value of sent_ when it was said so
    // One thread takes items, one writes them.
    Waiter item_waiter_ = std::make_shared<std::condition_variable>();
    Waiter room_waiter_ = std::make_shared<std::condition_variable>();
};

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/stream_feed.ipp>
#endif
