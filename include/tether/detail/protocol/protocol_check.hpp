// Why: of a protocol that is none a concept only says that it is unsatisfied. What is missing
// deserves a sentence.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/protocol.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

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
    static_assert(Codec<CodecOf<P>>, "the protocol's Codec does not meet tether::Codec");
    return true;
}

template <class P, class R>
constexpr bool check_request() {
    static_assert(is_request_of<P, R>, "this type is not in the Requests of the worker's protocol");
    return true;
}

}  // namespace detail
TETHER_NAMESPACE_END
