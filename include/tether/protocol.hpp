// Tether: what a protocol is.
#pragma once

#include <tether/codec.hpp>
#include <tether/config.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/request.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// The codec of a protocol: its member `Codec`, or `MessagePackCodec`.
template <class P>
using CodecOf = typename detail::SelectCodec<P>::type;

/// A protocol: the contract that the parent and the worker share, best in a header of its own that
/// both include.
///
///     struct LintProtocol {
///         static constexpr std::string_view name = "example.lint";
///         static constexpr std::uint32_t version = 1;
///         using Requests = tether::Messages<Lint>;
///         using Codec = tether::JsonCodec;                           // optional
///         using Callbacks = tether::Messages<Overwrite>;             // optional
///         using Notifications = tether::Messages<FileChanged>;       // optional
///     };
///
/// - `name` tells protocols apart where a program serves several; put your own in front of it.
/// - `version` is yours: change it with the meaning of the messages.
/// - `Requests` has one request at least, and no two of the same name.
/// - `Codec` converts all messages.
/// - `Callbacks` are the questions that handlers ask by `CallContext::ask`; what is given to
///   `Worker::provide` answers them. Each has a `name` and a `Response`, like a request, which may
///   be `void`.
/// - `Notifications` are what the worker tells by `Handler::notify` or `CallContext::notify`, to
///   what is given to `Worker::on`. Each has a `name`, and no `Response`.
///
/// When they connect, both sides compare name, version, and a fingerprint. It is made of the
/// codec's name and the requests' names in their order. If the protocol has callbacks or
/// notifications, or one of its requests has a `Progress`, an `Item` or an `Upload`, then also of
/// which of these three each request has, of the callbacks' names and of the notifications' names.
/// A difference is `errc::protocol_mismatch`. The members of the messages are not compared: that is
/// what `version` is for.
///
/// Using a type that is no protocol is a compile error that says what is missing.
template <class P>
concept Protocol = requires {
    { P::name } -> std::convertible_to<std::string_view>;
    { P::version } -> std::convertible_to<std::uint32_t>;
    typename P::Requests;
}
&&detail::are_requests<typename P::Requests>&& Codec<CodecOf<P>>;

TETHER_NAMESPACE_END
