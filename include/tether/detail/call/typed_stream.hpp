// Why: the typed side of a stream: what it sends, what its items and its response are.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/call/response.hpp>
#include <tether/detail/call/stream_feed.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/call/typed_feed.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/error.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What has come for a stream of this type, and what sees to it.
template <class P, class R>
class TypedStreamFeed final : public StreamFeed {
public:
    TypedStreamFeed(const CallOptions<R>& options, const std::shared_ptr<Hub>& hub)
        : StreamFeed(feed_kind<P, R>(true)), interrupts_(options, hub) {}

    void see_to_last_news() override { report_progress(); }

private:
    void see_to_interrupts(const AsyncCall::Ticket& ticket) override {
        report_progress();
        while (auto question = take_question(ticket.number)) {
            interrupts_.answer(std::move(*question), *ticket.connection, ticket.connection,
                               ticket.number);
        }
    }
    void report_progress() {
        while (auto progress = take_progress()) interrupts_.report(*progress);
    }

    Interrupts<P, R> interrupts_;
};

struct StreamCompleted {
    std::weak_ptr<StreamFeed> feed;
    void operator()(const std::exception_ptr&) const {
        if (const auto there = feed.lock()) there->on_completed();
    }
};

// The call behind a stream. Its completion only says that the stream is over.
template <class P, class R>
class StreamCall final : public HandledCall<AsyncCall, void, StreamCompleted> {
    using Base = HandledCall<AsyncCall, void, StreamCompleted>;

public:
    StreamCall(std::shared_ptr<CallCarrier> carrier, R request,
               std::shared_ptr<TypedStreamFeed<P, R>> stream)
        : Base(std::move(carrier),
               HandlerCompletion<StreamCompleted>::make({stream}, background_executor(), false)),
          request_(std::move(request)),
          stream_(std::move(stream)) {
        quiet = true;
        this->set_cancellable();
    }

    [[nodiscard]] const R& request() const noexcept { return request_; }
    [[nodiscard]] StreamFeed& stream() noexcept { return *stream_; }
    [[nodiscard]] const std::shared_ptr<TypedStreamFeed<P, R>>& shared_stream() const noexcept {
        return stream_;
    }
    void connect_cancellation(std::stop_token token) {
        if (token.stop_possible()) this->cancel_by(std::move(token));
    }
    void on_sent() override { stream_->on_sent(); }

    // Once it is over and no item is left; once.
    typename R::Response take_response_now() {
        if (this->outcome.logged != nullptr) {
            this->outcome.logged->pass_on_output(this->deadline());
        }
        return take_response<P, R>(this->outcome, this->worker());
    }
    // No item has come in time, and it waits for a process.
    [[noreturn]] void give_up_unsent(Duration waited) {
        this->cancel(false);
        throw CallError(errc::timeout, describe_call(R::name, this->worker()) + ": " +
                                           silent(waited).text + "; it waited for a process");
    }
    // Throws where it has failed.
    void check() const { this->outcome.check(R::name, this->worker()); }
    using Base::worker;

private:
    void take_result() override {}
    void on_failed() noexcept override { stream_->on_settled(true); }

    R request_;
    const std::shared_ptr<TypedStreamFeed<P, R>> stream_;
};

template <class P, class R>
typename R::Item decode_item(StoredMessage& item, const std::string& worker) {
    try {
        return decode_payload<CodecOf<P>, typename R::Item>(item.bytes(), item.blobs);
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        throw_codec_error(describe_call(R::name, worker), "an item could not be decoded");
    }
}

// Encodes and seals; returns what it costs of the window.
template <class P, class R>
std::uint64_t encode_upload(const typename R::Upload& item, OutgoingMessage& message,
                            const std::string& worker, std::uint64_t max_message_bytes) {
    try {
        encode_payload<CodecOf<P>>(item, message.payload(), message.blobs());
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        throw_codec_error(describe_call(R::name, worker), "an item could not be encoded");
    }
    const auto cost = window_cost(message);
    seal_request(message, R::name, worker, max_message_bytes);
    return cost;
}

// --- Async operations

template <class P, class R, class Handler>
class StreamNext final : public HandledCall<StreamOp, std::optional<typename R::Item>, Handler> {
    using Base = HandledCall<StreamOp, std::optional<typename R::Item>, Handler>;

public:
    StreamNext(std::shared_ptr<CallCarrier> carrier, const asio::any_io_executor& executor,
               Handler handler, std::shared_ptr<StreamCall<P, R>> call)
        : Base(std::move(carrier), HandlerCompletion<Handler>::make(std::move(handler), executor),
               call->shared_stream(), StreamWant::item),
          call_(std::move(call)) {}
    using Base::connect_slot;

private:
    std::optional<typename R::Item> take_result() override {
        if (auto item = call_->stream().next_item()) {
            return decode_item<P, R>(*item, call_->worker());
        }
        call_->check();
        return std::nullopt;
    }
    const std::shared_ptr<StreamCall<P, R>> call_;
};

template <class P, class R, class Handler>
class StreamWrite final : public HandledCall<StreamOp, bool, Handler> {
    using Base = HandledCall<StreamOp, bool, Handler>;

public:
    StreamWrite(std::shared_ptr<CallCarrier> carrier, const asio::any_io_executor& executor,
                Handler handler, std::shared_ptr<StreamCall<P, R>> call,
                const typename R::Upload& item, std::uint64_t max_message_bytes)
        : Base(std::move(carrier), HandlerCompletion<Handler>::make(std::move(handler), executor),
               call->shared_stream(), StreamWant::room),
          call_(std::move(call)),
          item_(item) {
        this->set_cost(
            encode_upload<P, R>(item_, this->upload(), call_->worker(), max_message_bytes));
    }
    using Base::connect_slot;

private:
    bool take_result() override { return this->sent; }
    const std::shared_ptr<StreamCall<P, R>> call_;
    const typename R::Upload item_;  // its blobs are sent from where they are
};

template <class P, class R, class Handler>
class StreamResponse final : public HandledCall<StreamOp, typename R::Response, Handler> {
    using Base = HandledCall<StreamOp, typename R::Response, Handler>;

public:
    StreamResponse(std::shared_ptr<CallCarrier> carrier, const asio::any_io_executor& executor,
                   Handler handler, std::shared_ptr<StreamCall<P, R>> call)
        : Base(std::move(carrier), HandlerCompletion<Handler>::make(std::move(handler), executor),
               call->shared_stream(), StreamWant::end),
          call_(std::move(call)) {}
    using Base::connect_slot;

private:
    typename R::Response take_result() override {
        return take_response<P, R>(call_->outcome, call_->worker());
    }
    const std::shared_ptr<StreamCall<P, R>> call_;
};

// A named class rather than a lambda, so that tokens that wrap others find the executor.
template <template <class, class, class> class Op, class P, class R>
class InitiateStreamOp {
public:
    using executor_type = asio::any_io_executor;

    InitiateStreamOp(std::shared_ptr<CallCarrier> carrier, executor_type executor,
                     std::shared_ptr<StreamCall<P, R>> call, Duration gap)
        : carrier_(std::move(carrier)),
          executor_(std::move(executor)),
          call_(std::move(call)),
          gap_(gap) {}

    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

    template <class Handler, class... Arguments>
    void operator()(Handler&& handler, const Arguments&... arguments) const {
        using Typed = Op<P, R, std::decay_t<Handler>>;
        carrier_->check_not_forked();
        auto op = std::make_shared<Typed>(carrier_, executor_, std::forward<Handler>(handler),
                                          call_, arguments...);
        if (!op->enlist()) return;
        op->connect_slot();
        call_->stream().begin(op, gap_);
    }

private:
    std::shared_ptr<CallCarrier> carrier_;
    executor_type executor_;
    std::shared_ptr<StreamCall<P, R>> call_;
    Duration gap_;
};

// Sends the request. Throws where it cannot be encoded; everything else is the stream's.
template <class P, class R>
std::shared_ptr<StreamCall<P, R>> begin_stream(const std::shared_ptr<CallCarrier>& carrier,
                                               R request, const CallOptions<R>& options) {
    auto feed = std::make_shared<TypedStreamFeed<P, R>>(options, carrier->hub());
    auto call = std::make_shared<StreamCall<P, R>>(carrier, std::move(request), feed);
    feed->set_call(call);
    const auto [timeout, max_message_bytes] = carrier->call_limits();
    call->info = call_info<R>(message_index<P, R>, options, timeout);
    give_feed(*call, feed, options);
    encode_request<P>(call->request(), call->message, carrier->name(), max_message_bytes);
    call->connect_cancellation(options.stop_token);
    carrier->launch(call);
    return call;
}

}  // namespace detail
TETHER_NAMESPACE_END
