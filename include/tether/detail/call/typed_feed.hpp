// Why: what comes before an answer is decoded, and given to the user's functions, by the thread
// that waits for it, or on the executor of the completion.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/call_connection.hpp>
#include <tether/detail/call/call_feed.hpp>
#include <tether/detail/call/hub.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>

#include <cstdint>
#include <memory>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class P>
inline constexpr bool has_questions = CallbacksOf<P>::size != 0;

// A plain call may get more than its answer.
template <class P, class R>
inline constexpr bool needs_feed = has_progress<R> || has_questions<P>;

template <class P, class R>
constexpr FeedKind feed_kind(bool is_stream) noexcept {
    return {has_progress<R>, is_stream && has_items<R>, is_stream && has_upload<R>,
            has_questions<P>};
}

// The user's functions for what comes before an answer.
template <class P, class R>
class Interrupts {
public:
    Interrupts(const CallOptions<R>& options, std::shared_ptr<Hub> hub) : hub_(std::move(hub)) {
        if constexpr (has_progress<R>) on_progress_ = options.on_progress;
    }

    void report([[maybe_unused]] StoredMessage& progress) const {
        if constexpr (has_progress<R>) {
            if (on_progress_ == nullptr) return;
            const auto value =
                decode_payload<CodecOf<P>, typename R::Progress>(progress.bytes(), progress.blobs);
            on_progress_(value);
        }
    }
    // `kept` keeps the connection alive for an answer that is given elsewhere; null: it need not.
    void answer(StoredMessage question, CallConnection& connection,
                std::shared_ptr<CallConnection> kept, std::uint64_t number) const {
        hub_->answer(std::move(question), connection, std::move(kept), number);
    }

private:
    const std::shared_ptr<Hub> hub_;
    typename SelectOnProgress<R>::type on_progress_{};
};

// Of a call whose thread waits for it.
template <class P, class R>
class ProgressFeed : public CallFeed {
public:
    ProgressFeed(const CallOptions<R>& options, std::shared_ptr<Hub> hub)
        : CallFeed(feed_kind<P, R>(false)), interrupts_(options, std::move(hub)) {}

    void interrupt(CallConnection& connection, std::uint64_t number) override {
        interrupt(connection, nullptr, number);
    }

    void see_to_last_news() override { report_progress(); }

protected:
    void interrupt(CallConnection& connection, std::shared_ptr<CallConnection> kept,
                   std::uint64_t number) {
        report_progress();
        while (auto question = take_question(number)) {
            interrupts_.answer(std::move(*question), connection, kept, number);
        }
    }
    void report_progress() {
        while (auto progress = take_progress()) interrupts_.report(*progress);
    }

private:
    Interrupts<P, R> interrupts_;
};

// Of an async call: the user's functions run on the executor of its completion.
template <class P, class R>
class AsyncFeed final : public ProgressFeed<P, R> {
public:
    AsyncFeed(const CallOptions<R>& options, std::shared_ptr<Hub> hub,
              const std::shared_ptr<AsyncCall>& call)
        : ProgressFeed<P, R>(options, std::move(hub)), call_(call) {}

    [[nodiscard]] bool wants_news() const override { return true; }
    void on_news() override {
        if (const auto call = call_.lock()) call->post_news();
    }
    CallFeed::Turn* turn() noexcept override { return &turn_; }
    void see_to_news(AsyncCall& call) override {
        const auto ticket = call.ticket();
        if (ticket.connection == nullptr) return;
        this->interrupt(*ticket.connection, ticket.connection, ticket.number);
    }

private:
    const std::weak_ptr<AsyncCall> call_;
    CallFeed::Turn turn_;
};

}  // namespace detail
TETHER_NAMESPACE_END
