// Why: a failed concept only reports "unsatisfied". These assertions say what is missing.
#pragma once

#include <tether/codec.hpp>
#include <tether/config.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/protocol.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class... Rs>
constexpr bool have_distinct_names(Messages<Rs...>) noexcept {
    const std::string_view names[] = {std::string_view{}, std::string_view{Rs::name}...};
    for (std::size_t i = 1; i <= sizeof...(Rs); ++i) {
        for (std::size_t j = 1; j < i; ++j) {
            if (names[i] == names[j]) return false;
        }
    }
    return true;
}

template <class P, std::size_t Size>
inline constexpr bool serves_something = Size != 0;

template <class P>
inline constexpr bool has_its_codec = !std::is_same_v<CodecOf<P>, MessagePackCodec> || requires {
    sizeof(CodecOf<P>);
};

template <class P>
constexpr bool check_protocol() {
    static_assert(
        requires {
            { P::name } -> std::convertible_to<std::string_view>;
        },
        "a protocol needs `static constexpr std::string_view name`");
    static_assert(
        requires {
            { P::version } -> std::convertible_to<std::uint32_t>;
        },
        "a protocol needs `static constexpr std::uint32_t version`");
    static_assert(
        requires { typename P::Requests; },
        "a protocol needs `using Requests = tether::Messages<...>`");
    if constexpr (requires { typename P::Requests; }) {
        static_assert(are_requests<typename P::Requests>,
                      "each type in a protocol's Requests needs `static constexpr "
                      "std::string_view name`, `using Response = ...`, and a default constructor; "
                      "and Requests must be tether::Messages<...>");
        if constexpr (are_requests<typename P::Requests>) {
            static_assert(serves_something<P, P::Requests::size>,
                          "a protocol's Requests are empty: its worker would serve nothing");
            static_assert(have_distinct_names(typename P::Requests{}),
                          "two requests of a protocol have the same name");
        }
    }
    static_assert(has_its_codec<P>,
                  "without JSON (TETHER_WITHOUT_JSON) a protocol needs `using Codec = "
                  "tether::DirectCodec`, or <tether/json_codec.hpp> must be included");
    if constexpr (has_its_codec<P>) {
        static_assert(Codec<CodecOf<P>>, "the protocol's Codec does not meet tether::Codec");
    }
    return true;
}

template <class P, class R>
constexpr bool check_request() {
    static_assert(is_request_of<P, R>, "this type is not in the Requests of the worker's protocol");
    return true;
}

// Of a request that is given to notify().
template <class P, class R>
constexpr bool check_one_way() {
    static_assert(std::is_void_v<typename R::Response> && !has_items<R> && !has_upload<R>,
                  "only a request whose Response is void can be sent by notify()");
    return check_request<P, R>();
}

// Of a request that is given to call() or async_call().
template <class P, class R>
constexpr bool check_call() {
    static_assert(!has_items<R> && !has_upload<R>,
                  "a request with an Item or an Upload is a stream: use worker.stream(request)");
    return check_request<P, R>();
}

}  // namespace detail
TETHER_NAMESPACE_END
