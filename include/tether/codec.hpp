// Tether: how typed messages become bytes.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/bytes_json.hpp>
#include <tether/detail/dom_conversion.hpp>
#include <tether/detail/dom_reader.hpp>
#include <tether/detail/message_pack_reader.hpp>

#include <nlohmann/json.hpp>

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
/// `encode` must only append: the string holds other bytes already. Either may throw anything; the
/// call in question then fails with `errc::codec` and the exception's text, and no other. Both are
/// called from many threads at once. A `Bytes` member is handled for codecs that go through
/// nlohmann's `to_json` and `from_json`; a codec that does not must write the bytes itself.
template <class C>
concept Codec = requires(std::string& out, std::string_view in, const int& value) {
    { C::name } -> std::convertible_to<std::string_view>;
    C::template encode<int>(value, out);
    { C::template decode<int>(in) } -> std::same_as<int>;
};

/// MessagePack by way of nlohmann/json's `to_json` and `from_json`. The default: compact, and
/// strings carry any bytes, so that a path need not be UTF-8.
///
/// This codec and the next two refuse to decode what is nested more than 256 levels deep. A number
/// is converted to its member's type by a cast, as nlohmann/json does it: 3.9 becomes 3, and a
/// floating-point number out of range is undefined behaviour. Where the other side is not trusted,
/// check in `from_json`.
struct MessagePackCodec {
    static constexpr std::string_view name = "msgpack";

    template <class T>
    static void encode(const T& value, std::string& out) {
        nlohmann::json::to_msgpack(detail::to_dom(value),
                                   nlohmann::detail::output_adapter<char>(out));
    }

    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_message_pack(in));
    }
};

/// JSON text, for a worker in a language without MessagePack or for reading along. Strings must be
/// UTF-8; others fail the call with `errc::codec`.
struct JsonCodec {
    static constexpr std::string_view name = "json";

    template <class T>
    static void encode(const T& value, std::string& out) {
        out += detail::to_dom(value).dump();
    }

    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_dom(in, nlohmann::json::input_format_t::json));
    }
};

/// CBOR (RFC 8949). Strings carry any bytes.
struct CborCodec {
    static constexpr std::string_view name = "cbor";

    template <class T>
    static void encode(const T& value, std::string& out) {
        nlohmann::json::to_cbor(detail::to_dom(value), nlohmann::detail::output_adapter<char>(out));
    }

    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_dom(in, nlohmann::json::input_format_t::cbor));
    }
};

TETHER_NAMESPACE_END
