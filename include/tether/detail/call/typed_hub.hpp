// Why: the typed side of subscriptions and of answers to questions.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/hub.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>

#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class P, class N>
inline constexpr bool is_notification_of = index_in<NotificationsOf<P>, N> != std::size_t(-1);
template <class P, class Q>
inline constexpr bool is_callback_of = index_in<CallbacksOf<P>, Q> != std::size_t(-1);

template <class P, class N, class Function>
std::shared_ptr<Subscriber> make_subscriber(const asio::any_io_executor& executor,
                                            Function function) {
    // It may not be copyable.
    const auto kept = std::make_shared<Function>(std::move(function));
    return std::make_shared<Subscriber>(static_cast<std::uint16_t>(index_in<NotificationsOf<P>, N>),
                                        executor, [kept](StoredMessage& notification) {
                                            const auto value = decode_payload<CodecOf<P>, N>(
                                                notification.bytes(), notification.blobs);
                                            (*kept)(value);
                                        });
}

// An asio::awaitable, known without its header.
template <class T>
concept Awaitable = requires {
    typename T::value_type;
    typename T::executor_type;
};

template <class P, class Response>
void send_reply(const Response& response, Reply& reply) {
    auto& message = reply.message();
    encode_payload<CodecOf<P>>(response, message.payload(), message.blobs());
    reply.send();  // while the response lives, which it may refer to
}

// Runs a coroutine of the user's, whose program includes what that takes. `kept` lives as long.
template <class P, class Q, class Coroutine, class Kept>
void reply_later(const asio::any_io_executor& executor, Coroutine coroutine, Kept kept,
                 Reply& reply) {
    using Response = typename Q::Response;
    const auto later = std::make_shared<Reply>(std::move(reply));
    const auto finish = [later, kept](const std::exception_ptr& error, auto&& send) {
        try {
            if (error) std::rethrow_exception(error);
            send();
        } catch (...) {
            later->fail();
        }
    };
    if constexpr (std::is_void_v<Response>) {
        co_spawn(executor, std::move(coroutine), [finish, later](std::exception_ptr error) {
            finish(error, [&] { later->send(); });
        });
    } else {
        co_spawn(executor, std::move(coroutine),
                 [finish, later](std::exception_ptr error, const Response& response) {
                     finish(error, [&] { send_reply<P>(response, *later); });
                 });
    }
}

// `fallback`: the executor of a coroutine that was given without one.
template <class P, class Q, class Function>
std::shared_ptr<const Provider> make_provider(std::optional<asio::any_io_executor> executor,
                                              const asio::any_io_executor& fallback,
                                              Function function) {
    using Result = std::invoke_result_t<Function&, const Q&>;
    using Response = typename Q::Response;
    constexpr bool is_coroutine = Awaitable<Result> && !std::is_convertible_v<Result, Response>;
    static_assert(
        is_coroutine || std::is_void_v<Response> || std::is_convertible_v<Result, Response>,
        "what answers a question must take `const Question&` and return its Response, or "
        "an asio::awaitable of it");
    auto provider = std::make_shared<Provider>();
    if (is_coroutine && !executor) executor = fallback;
    provider->executor = executor;
    // It may not be copyable.
    const auto kept = std::make_shared<Function>(std::move(function));
    provider->answer = [kept, executor = executor.value_or(fallback)](StoredMessage& message,
                                                                      Reply& reply) {
        const auto question = std::make_shared<const Q>(
            decode_payload<CodecOf<P>, Q>(message.bytes(), message.blobs));
        if constexpr (is_coroutine) {
            reply_later<P, Q>(executor, (*kept)(*question), std::pair{kept, question}, reply);
        } else if constexpr (std::is_void_v<Response>) {
            (*kept)(*question);
            reply.send();
        } else {
            const Response response = (*kept)(*question);
            send_reply<P>(response, reply);
        }
    };
    return provider;
}

}  // namespace detail
TETHER_NAMESPACE_END
