// Tether: what a protocol is.
#pragma once

#include <tether/codec.hpp>
#include <tether/config.hpp>
#include <tether/detail/request_traits.hpp>
#include <tether/request.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>

TETHER_NAMESPACE_BEGIN

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

TETHER_NAMESPACE_END
