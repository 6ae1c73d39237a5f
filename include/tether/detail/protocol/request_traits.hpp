// Why: what a protocol or a request leaves out has a default, and a request's place in the list
// identifies it on the wire. Both are settled at compile time.
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

template <class R>
inline constexpr bool has_progress = requires {
    typename R::Progress;
};
template <class R>
inline constexpr bool has_items = requires {
    typename R::Item;
};
template <class R>
inline constexpr bool has_upload = requires {
    typename R::Upload;
};

template <class P>
struct SelectCallbacks {
    using type = Messages<>;
};
template <class P>
requires requires { typename P::Callbacks; }
struct SelectCallbacks<P> {
    using type = typename P::Callbacks;
};
template <class P>
using CallbacksOf = typename SelectCallbacks<P>::type;

template <class P>
struct SelectNotifications {
    using type = Messages<>;
};
template <class P>
requires requires { typename P::Notifications; }
struct SelectNotifications<P> {
    using type = typename P::Notifications;
};
template <class P>
using NotificationsOf = typename SelectNotifications<P>::type;

template <class List>
inline constexpr bool any_is_live = false;
template <class... Rs>
inline constexpr bool any_is_live<Messages<Rs...>> =
    ((has_progress<Rs> || has_items<Rs> || has_upload<Rs>) || ...);

// Its calls are more than a request and an answer, which an older worker does not understand.
template <class P>
inline constexpr bool is_live_protocol =
    any_is_live<typename P::Requests> || CallbacksOf<P>::size != 0 || NotificationsOf<P>::size != 0;

// Data members may have these names, too; only static ones have a meaning.
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
