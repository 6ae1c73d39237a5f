#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/call/stream_feed.hpp>
#include <tether/errc.hpp>
#include <tether/error.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// --- StreamOp

TETHER_DECL StreamOp::StreamOp(std::shared_ptr<CallCarrier> carrier, CompletionPointer completion,
                               std::shared_ptr<StreamFeed> stream, StreamWant want)
    : AsyncCall(std::move(carrier), std::move(completion)),
      stream_(std::move(stream)),
      want_(want) {
    feed = stream_;
}

TETHER_DECL void StreamOp::withdraw(bool) {
    if (!forked()) stream_->withdraw(*this);
}

// --- StreamFeed

// A thread that waits in the connection.
class StreamFeed::Caller final : public WaitingCaller {
public:
    Caller(const StreamFeed& feed, Call& the_call, const Waiter& waiter, StreamWant want)
        : WaitingCaller(the_call, waiter), feed_(feed), want_(want) {}
    [[nodiscard]] bool has_news() const override {
        const auto held = feed_.lock();
        return feed_.has_interrupts(held) || feed_.has(want_, held);
    }

private:
    const StreamFeed& feed_;
    const StreamWant want_;
};

TETHER_DECL void StreamFeed::on_sent() {
    {
        const auto held = lock();
        ++sent_;
        unpark(held);
        changed_.notify_all();
    }
    send_finish_if_due();
    {
        const auto held = lock();
        if (pull_ == nullptr && push_ == nullptr) return;
    }
    see_to_reader();
    on_news();
}

TETHER_DECL void StreamFeed::on_completed() {
    {
        const auto held = lock();
        over_ = true;
        changed_.notify_all();
    }
    complete_ops();
}

TETHER_DECL bool StreamFeed::await(StreamWant want, Duration gap) {
    const auto until = deadline_after(Clock::now(), gap);
    {
        const auto held = lock();
        check_alone(want);
    }
    std::uint64_t stale = 0;  // what was sent there does not wait there any more
    for (;;) {
        const auto call = call_.lock();
        std::uint64_t sent = 0;
        {
            auto held = lock();
            if (!has_interrupts(held) || over_ || sent_ == 0) {
                if (has(want, held)) return true;
                if (sent_ == stale) {
                    if (until == TimePoint::max()) {
                        changed_.wait(held);
                    } else {
                        changed_.wait_until(held, until);
                    }
                    if (Clock::now() < until) continue;
                }
            }
            sent = sent_;
        }
        const auto at = ticket();
        see_to_interrupts(at);
        if (Clock::now() >= until) {
            if (at.connection != nullptr) at.connection->give_up_waiting(at.number, gap);
            return false;
        }
        Caller caller{*this, *call, want == StreamWant::room ? room_waiter_ : item_waiter_, want};
        caller.awaited = at.number;
        caller.until = until;
        const Entered entered;
        if (at.connection->wait(caller)) stale = sent;
    }
}

TETHER_DECL std::optional<StoredMessage> StreamFeed::next_item() {
    std::optional<StoredMessage> item;
    std::uint64_t more = 0;
    {
        const auto held = lock();
        if (!has_item(held)) return std::nullopt;
        item.emplace(take_item(held));
        more = release(held, *item);
        if (over_) more = 0;
    }
    if (more != 0) {
        OutgoingMessage window;
        append_window(window.payload(), more);
        window.seal();
        const auto at = ticket();
        if (at.connection != nullptr) {
            at.connection->send_side(at.number, FrameType::window, window);
        }
    }
    return item;
}

TETHER_DECL bool StreamFeed::write(OutgoingMessage& upload, std::uint64_t cost) {
    for (;;) {
        await(StreamWant::room, no_timeout);
        std::uint64_t sent = 0;
        {
            const auto held = lock();
            if (finished_) throw std::logic_error("a stream is written to after finish()");
            if (over_) return false;
            if (!has(StreamWant::room, held)) continue;
            use_room(held, cost);
            sent = sent_;
        }
        const auto at = ticket();
        if (at.connection->send_side(at.number, FrameType::item, upload)) return true;
        // Its process has just ended, and it goes to the next.
        auto held = lock();
        changed_.wait(held, [&] { return over_ || sent_ != sent; });
    }
}

TETHER_DECL void StreamFeed::finish() {
    {
        const auto held = lock();
        finished_ = true;
    }
    send_finish_if_due();
}

// After what was written before; once for each process that the request goes to.
TETHER_DECL void StreamFeed::send_finish_if_due() {
    {
        const auto held = lock();
        const bool writes = push_ != nullptr || writing_;
        if (!finished_ || writes || finish_sent_ == sent_ || !is_at_work(held)) return;
        finish_sent_ = sent_;
    }
    OutgoingMessage message;
    message.seal();
    const auto at = ticket();
    if (at.connection->send_side(at.number, FrameType::finish, message)) return;
    const auto held = lock();
    finish_sent_ = 0;  // on_sent() tries again
}

// While only the end is waited for.
TETHER_DECL void StreamFeed::drop_items() {
    while (next_item()) {
    }
}

TETHER_DECL void StreamFeed::begin(const std::shared_ptr<StreamOp>& op, Duration gap) {
    {
        const auto held = lock();
        check_alone(op->want());
        if (op->want() == StreamWant::room && finished_) {
            throw std::logic_error("a stream is written to after finish()");
        }
        slot(op->want()) = op;
        if (op->want() == StreamWant::item) gap_ = gap;
    }
    see_to_reader();
    complete_ops();
}

TETHER_DECL void StreamFeed::see_to_reader() {
    const auto at = ticket();
    if (at.connection != nullptr) at.connection->see_to_reader(at.number);
}

TETHER_DECL std::optional<Duration> StreamFeed::wanted_reader() const {
    const auto held = lock();
    if (pull_ == nullptr && push_ == nullptr) return std::nullopt;
    const bool waits_for_item = pull_ != nullptr && pull_->want() == StreamWant::item;
    return waits_for_item ? gap_ : no_timeout;
}

TETHER_DECL void StreamFeed::withdraw(StreamOp& op) {
    std::shared_ptr<StreamOp> taken;
    {
        const auto held = lock();
        auto& place = slot(op.want());
        if (place.get() != &op) return;
        taken.swap(place);
    }
    see_to_reader();
    send_finish_if_due();
    taken->fail({errc::cancelled, "an operation on a stream was cancelled"});
}

TETHER_DECL void StreamFeed::cancel() {
    if (const auto call = call_.lock(); call != nullptr && !is_over()) call->cancel(false);
}

TETHER_DECL void StreamFeed::on_news() {
    complete_ops();
    std::shared_ptr<StreamOp> op;
    {
        const auto held = lock();
        if (has_interrupts(held)) op = pull_ != nullptr ? pull_ : push_;
    }
    if (op != nullptr) op->post_news();
}

TETHER_DECL void StreamFeed::see_to_news(AsyncCall&) { see_to_interrupts(ticket()); }

TETHER_DECL void StreamFeed::complete_ops() {
    std::shared_ptr<StreamOp> pull;
    std::shared_ptr<StreamOp> push;
    bool drops = false;
    {
        const auto held = lock();
        drops = pull_ != nullptr && pull_->want() == StreamWant::end;
        if (pull_ != nullptr && has(pull_->want(), held)) pull.swap(pull_);
        if (push_ != nullptr && has(StreamWant::room, held)) push.swap(push_);
        if (push != nullptr && !over_) {
            use_room(held, push->cost_);
            push->sent = writing_ = true;
        }
    }
    if (drops) drop_items();
    if (pull == nullptr && push == nullptr) return;
    if (push != nullptr && push->sent) {
        const auto at = ticket();
        push->sent = at.connection->send_side(at.number, FrameType::item, push->upload_);
        {
            const auto held = lock();
            writing_ = false;
            if (!push->sent && !over_) push_.swap(push);  // on_sent() tries again
        }
        send_finish_if_due();
    }
    see_to_reader();
    if (push != nullptr) push->succeed();
    if (pull != nullptr) pull->succeed();
}

}  // namespace detail
TETHER_NAMESPACE_END
