// Tether: what a protocol is.
#pragma once

#include <tether/codec.hpp>
#include <tether/config.hpp>
#include <tether/options.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

TETHER_NAMESPACE_BEGIN

/// An ordered list of message types. Their order is part of the wire contract: append new ones.
template <class... Types>
struct Messages {
    static constexpr std::size_t size = sizeof...(Types);
};

/// A request type: a plain struct with a `name` and a `Response`.
///
///     struct Lint {
///         static constexpr std::string_view name = "lint";
///         using Response = Diagnostics;                              // or void
///         static constexpr auto timeout = std::chrono::seconds{30};  // optional
///         static constexpr bool idempotent = true;                   // optional
///         std::string file{};
///     };
///     NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Lint, file)                 // not when it has no members
///
/// `timeout` is the default for this request. `idempotent` says that doing it twice is as good as
/// once: only then is it sent again when the worker dies before it answers.
template <class R>
concept Request = std::default_initializable<R> && requires {
    { R::name } -> std::convertible_to<std::string_view>;
    typename R::Response;
};

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

}  // namespace detail

/// The codec of a protocol: its member `Codec`, or `MessagePackCodec`.
template <class P>
using CodecOf = typename detail::SelectCodec<P>::type;

/// A protocol: the contract that the parent and the worker share, best in a header of its own.
///
///     struct LintProtocol {
///         static constexpr std::string_view name = "example.lint";
///         static constexpr std::uint32_t version = 1;
///         using Requests = tether::Messages<Lint>;
///         using Codec = tether::JsonCodec;                           // optional
///     };
///
/// Both sides compare name, version and a fingerprint of the names in `Requests` when they
/// connect; a difference is `errc::protocol_mismatch`.
template <class P>
concept Protocol = requires {
    { P::name } -> std::convertible_to<std::string_view>;
    { P::version } -> std::convertible_to<std::uint32_t>;
    typename P::Requests;
}
&&detail::are_requests<typename P::Requests>&& Codec<CodecOf<P>>;

namespace detail {

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
                      "the timeout of a request type must be a std::chrono duration with integral "
                      "ticks, such as 2500ms");
        return Duration{R::timeout};
    }
    return std::nullopt;
}

template <class R>
constexpr bool is_idempotent() noexcept {
    if constexpr (has_idempotent<R>) return R::idempotent;
    return false;
}

// FNV-1a over length-delimited parts, so that {"ab","c"} and {"a","bc"} differ.
class Fingerprint {
public:
    constexpr void add(std::string_view part) noexcept {
        add(part.size());
        for (const char c : part) mix(static_cast<unsigned char>(c));
    }
    constexpr void add(std::uint64_t number) noexcept {
        for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(number >> (8 * i)));
    }
    [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }

private:
    constexpr void mix(unsigned char byte) noexcept { value_ = (value_ ^ byte) * 0x100000001b3U; }
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

template <class... Rs>
constexpr void add_names(Fingerprint& fingerprint, Messages<Rs...>) noexcept {
    fingerprint.add(sizeof...(Rs));
    (fingerprint.add(std::string_view{Rs::name}), ...);
}

template <class P>
constexpr std::uint64_t fingerprint() noexcept {
    Fingerprint print;
    print.add(std::string_view{CodecOf<P>::name});
    add_names(print, typename P::Requests{});
    return print.value();
}

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

// Readable sentences for what a concept would only call unsatisfied.
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
