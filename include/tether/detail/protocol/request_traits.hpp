// Why: what a protocol and its requests leave out has a default, and a request is known on the wire
// by its place in the list; both are settled while compiling.
#pragma once

#include <tether/codec.hpp>
#include <tether/config.hpp>
#include <tether/options.hpp>
#include <tether/request.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class List>
inline constexpr bool are_requests = false;
template <class... Rs>
inline constexpr bool are_requests<Messages<Rs...>> = (Request<Rs> && ...);

template <class P>
struct SelectCodec {
    using type = MessagePackCodec;
};
template <class P>
requires requires { typename P::Codec; }
struct SelectCodec<P> {
    using type = typename P::Codec;
};

template <class List, class T>
inline constexpr std::size_t index_in = std::size_t(-1);
template <class T, class... Rest>
inline constexpr std::size_t index_in<Messages<T, Rest...>, T> = 0;
template <class First, class... Rest, class T>
inline constexpr std::size_t index_in<Messages<First, Rest...>, T> =
    index_in<Messages<Rest...>, T> == std::size_t(-1) ? std::size_t(-1)
                                                      : 1 + index_in<Messages<Rest...>, T>;

template <class P, class R>
inline constexpr bool is_request_of = index_in<typename P::Requests, R> != std::size_t(-1);

template <class P, class R>
inline constexpr auto message_index = static_cast<std::uint16_t>(index_in<typename P::Requests, R>);

// Data members may have these names too: only static ones mean something.
template <class R>
inline constexpr bool has_timeout = requires {
    requires !std::is_member_pointer_v<decltype(&R::timeout)>;
};
template <class R>
inline constexpr bool has_idempotent = requires {
    requires !std::is_member_pointer_v<decltype(&R::idempotent)>;
};

template <class R>
constexpr std::optional<Duration> request_timeout() noexcept {
    if constexpr (has_timeout<R>) {
        static_assert(std::is_convertible_v<decltype(R::timeout), Duration>,
                      "the timeout of a request type must be a std::chrono duration, such as "
                      "2500ms or 2.5s");
        return Duration{R::timeout};
    }
    return std::nullopt;
}

template <class R>
constexpr bool is_idempotent() noexcept {
    if constexpr (has_idempotent<R>) return R::idempotent;
    return false;
}

}  // namespace detail
TETHER_NAMESPACE_END
