// Tether: what turns typed messages into bytes.
#pragma once

#include <tether/config.hpp>

#include <concepts>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// What a codec is: a stateless type with a name and two static function templates.
///
///     struct MyCodec {
///         static constexpr std::string_view name = "mine";           // both sides must agree
///         template <class T>
///         static void encode(const T& value, std::string& out);      // appends to out
///         template <class T>
///         static T decode(std::string_view in);                      // all of in, or an exception
///     };
///
/// A protocol names its codec in its member `Codec`; the name is part of the fingerprint that both
/// sides compare when they connect.
///
/// `encode` must only append: the string holds other bytes already. Either may throw anything; the
/// call in question then fails with `errc::codec` and the exception's text, and no other. Only
/// `std::bad_alloc` in a worker counts as if the handler had thrown it. Both are called from many
/// threads at once, and never for a type without members, whose payload is empty, nor for a
/// response that is `Bytes` as a whole.
///
/// A `Bytes` member is handled for codecs that go through nlohmann's `to_json` and `from_json`:
/// inside a message these exchange the number of a blob, and the bytes travel beside the payload;
/// elsewhere they exchange a binary value of nlohmann/json. A codec that does not go through them
/// must write the bytes itself.
template <class C>
concept Codec = requires(std::string& out, std::string_view in, const int& value) {
    { C::name } -> std::convertible_to<std::string_view>;
    C::template encode<int>(value, out);
    { C::template decode<int>(in) } -> std::same_as<int>;
};

struct MessagePackCodec;  // the default

TETHER_NAMESPACE_END

#if !defined(TETHER_WITHOUT_JSON)
#include <tether/json_codec.hpp>
#endif
