// Why: the typed side of a call, the same for every kind of worker: encode, check, wait or
// initiate, decode.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/error.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
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
    const auto timeout = options.timeout.value_or(by_type.value_or(worker_timeout));
    const auto now = Clock::now();
    return {std::string_view{R::name},    index,
            is_idempotent<R>(),           now,
            deadline_after(now, timeout), options.run_timeout.value_or(no_timeout)};
}

template <class P, class R, class Where>
void encode_request(const R& request, OutgoingMessage& message, const Where& where,
                    std::uint64_t max_message_bytes) {
    try {
        encode_payload<CodecOf<P>>(request, message.payload(), message.blobs());
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        throw CallError(errc::codec,
                        where() + ": the request could not be encoded: " + describe_current());
    }
    if (message.content_size() > max_message_bytes ||
        message.blobs().size() > MessageHead::max_blobs) {
        throw CallError(errc::message_too_large,
                        where() + ": the request has " + std::to_string(message.content_size()) +
                            " bytes in " + std::to_string(message.blobs().size()) +
                            " blobs and a payload; the limit is max_message_bytes = " +
                            std::to_string(max_message_bytes) + " and " +
                            std::to_string(MessageHead::max_blobs) + " blobs");
    }
    message.seal();
}

// Blocks until it is settled.
template <class P, class R, class Carrier>
typename R::Response blocking_call(Carrier& carrier, const R& request,
                                   const CallOptions<R>& options) {
    BlockingCall call;
    const auto where = [&] { return describe_call(R::name, carrier.name()); };
    const auto [timeout, max_message_bytes] = carrier.call_limits();
    call.info = call_info<R>(message_index<P, R>, options, timeout);
    encode_request<P>(request, call.message, where, max_message_bytes);
    carrier.run(call, options.stop_token);
    return take_response<P, R>(call.outcome, where);
}

// A named class rather than a lambda, so that tokens that wrap others find the executor.
template <class P, class Carrier>
class InitiateCall {
public:
    using executor_type = asio::any_io_executor;

    InitiateCall(std::shared_ptr<Carrier> carrier, executor_type executor)
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
        const auto where = [&] { return describe_call(R::name, carrier_->name()); };
        try {
            encode_request<P>(op->request(), op->message, where, max_message_bytes);
        } catch (ForcedUnwind&) {
            throw;
        } catch (...) {
            return op->fail(current_call_error(where()));
        }
        op->connect_cancellation(std::move(options.stop_token));
        carrier_->launch(std::move(op));
    }

private:
    std::shared_ptr<Carrier> carrier_;
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

template <class P, class Carrier, class R, class Token>
auto initiate_call(const std::shared_ptr<Carrier>& carrier, const asio::any_io_executor& executor,
                   R request, CallOptions<R> options, Token&& token) {
    using Signature = typename CallSignature<R>::type;
    static_assert(
        is_completion_token<Token, Signature>,
        "the last argument must be a completion token, such as asio::use_future, or a "
        "function that takes (std::exception_ptr, Response), or only (std::exception_ptr) "
        "where the response is void");
    if constexpr (is_completion_token<Token, Signature>) {
        return asio::async_initiate<Token, Signature>(InitiateCall<P, Carrier>{carrier, executor},
                                                      token, std::move(request),
                                                      std::move(options));
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
