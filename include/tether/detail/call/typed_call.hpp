// Why: the typed side of a call, the same for every kind of worker: encode, check, wait or
// initiate, decode.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/debug_mode.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/response.hpp>
#include <tether/detail/call/typed_feed.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/error.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Not inlined: GCC 12 would then warn its users, by mistake, that the options they left out may be
// uninitialized.
template <class R>
[[gnu::noinline]] CallInfo call_info(std::uint16_t index, const CallOptions<R>& options,
                                     Duration worker_timeout) {
    const auto by_type = request_timeout<R>();
    const bool limited = !is_debugging();
    const auto timeout =
        limited ? options.timeout.value_or(by_type.value_or(worker_timeout)) : no_timeout;
    const auto run_timeout = limited ? options.run_timeout.value_or(no_timeout) : no_timeout;
    const auto now = Clock::now();
    return {std::string_view{R::name},
            index,
            is_idempotent<R>(),
            now,
            deadline_after(now, timeout),
            run_timeout,
            {},
            options.affinity.hash(),
            options.priority};
}

// Before the call is sent.
template <class R>
void give_feed(Call& call, std::shared_ptr<CallFeed> feed,
               [[maybe_unused]] const CallOptions<R>& options) {
    if constexpr (has_live_calls<R>) {
        if (options.progress_extends && call.info.deadline != TimePoint::max()) {
            const auto made = call.info.made;
            feed->extension = call.info.deadline - made;
            feed->last_deadline = deadline_after(made, options.total_timeout.value_or(no_timeout));
            call.info.deadline = std::min(call.info.deadline, feed->last_deadline);
        }
    }
    call.feed = std::move(feed);
}

// Throws where the message is larger than it may be; else it can be sent.
TETHER_DECL void seal_request(OutgoingMessage& message, std::string_view request,
                              const std::string& worker, std::uint64_t max_message_bytes);

template <class P, class R>
void encode_request(const R& request, OutgoingMessage& message, const std::string& worker,
                    std::uint64_t max_message_bytes) {
    try {
        encode_payload<CodecOf<P>>(request, message.payload(), message.blobs());
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        throw_codec_error(describe_call(R::name, worker), "the request could not be encoded");
    }
    seal_request(message, R::name, worker, max_message_bytes);
}

// Blocks until it is settled.
template <class P, class R>
typename R::Response blocking_call(CallCarrier& carrier, const R& request,
                                   const CallOptions<R>& options) {
    BlockingCall call;
    const auto [timeout, max_message_bytes] = carrier.call_limits();
    call.info = call_info<R>(message_index<P, R>, options, timeout);
    encode_request<P>(request, call.message, carrier.name(), max_message_bytes);
    note_time(call.info.encoded);
    if constexpr (needs_feed<P, R>) {
        give_feed(call, std::make_shared<ProgressFeed<P, R>>(options, carrier.hub()), options);
    }
    if constexpr (has_questions<P>) {
        const NestedCall nested{*carrier.hub(), R::name, carrier.name(),
                                carrier.room_for_nested_calls()};
        carrier.run(call, options.stop_token);
    } else {
        carrier.run(call, options.stop_token);
    }
    if constexpr (needs_feed<P, R>) call.feed->see_to_last_news();
    return take_response<P, R>(call.outcome, carrier.name());
}

// Sends it, and waits for no answer.
template <class P, class R>
void one_way_call(CallCarrier& carrier, const R& request) {
    BlockingCall call;
    const auto [timeout, max_message_bytes] = carrier.call_limits();
    call.info = call_info<R>(message_index<P, R>, CallOptions<R>{}, timeout);
    encode_request<P>(request, call.message, carrier.name(), max_message_bytes);
    carrier.post(call);
}

// A named class rather than a lambda, so that tokens that wrap others find the executor.
template <class P>
class InitiateCall {
public:
    using executor_type = asio::any_io_executor;

    InitiateCall(std::shared_ptr<CallCarrier> carrier, executor_type executor)
        : carrier_(std::move(carrier)), executor_(std::move(executor)) {}

    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

    template <class Handler, class R>
    void operator()(Handler&& handler, R request, CallOptions<R> options) const {
        using Op = TypedAsyncCall<P, R, std::decay_t<Handler>>;
        auto op = std::make_shared<Op>(carrier_, executor_, std::move(request),
                                       std::forward<Handler>(handler));
        const auto [timeout, max_message_bytes] = carrier_->call_limits();
        op->info = call_info<R>(message_index<P, R>, options, timeout);
        if (!op->enlist()) return;
        try {
            encode_request<P>(op->request(), op->message, carrier_->name(), max_message_bytes);
            note_time(op->info.encoded);
        } catch (ForcedUnwind&) {
            throw;
        } catch (...) {
            return op->fail(current_call_error(describe_call(R::name, carrier_->name())));
        }
        if constexpr (needs_feed<P, R>) {
            give_feed(*op, std::make_shared<AsyncFeed<P, R>>(options, carrier_->hub(), op),
                      options);
        }
        op->connect_cancellation(std::move(options.stop_token));
        carrier_->launch(std::move(op));
    }

private:
    std::shared_ptr<CallCarrier> carrier_;
    executor_type executor_;
};

template <class R>
struct CallSignature {
    using type = void(std::exception_ptr, typename R::Response);
};
template <class R>
requires std::is_void_v<typename R::Response>
struct CallSignature<R> {
    using type = void(std::exception_ptr);
};

#if defined(ASIO_HAS_CONCEPTS)
template <class Token, class Signature>
inline constexpr bool is_completion_token = asio::completion_token_for<Token, Signature>;
#else
template <class Token, class Signature>
inline constexpr bool is_completion_token = true;  // Asio finds out, in more words
#endif

template <class P, class R, class Token>
auto initiate_call(std::shared_ptr<CallCarrier> carrier, const asio::any_io_executor& executor,
                   R request, CallOptions<R> options, Token&& token) {
    using Signature = typename CallSignature<R>::type;
    static_assert(
        is_completion_token<Token, Signature>,
        "the last argument must be a completion token, such as asio::use_future, or a "
        "function that takes (std::exception_ptr, Response), or only (std::exception_ptr) "
        "where the response is void");
    if constexpr (is_completion_token<Token, Signature>) {
        return asio::async_initiate<Token, Signature>(InitiateCall<P>{std::move(carrier), executor},
                                                      token, std::move(request),
                                                      std::move(options));
    }
}

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/typed_call.ipp>
#endif
