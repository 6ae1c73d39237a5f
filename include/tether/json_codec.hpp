// Tether: the codecs that go through nlohmann/json.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/codec/by_document.hpp>
#include <tether/detail/codec/bytes_json.hpp>
#include <tether/detail/codec/dom_conversion.hpp>
#include <tether/detail/codec/dom_reader.hpp>
#include <tether/detail/codec/message_pack_reader.hpp>

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// MessagePack by way of nlohmann/json's `to_json` and `from_json`. The default: compact, and
/// strings carry any bytes, so that a path need not be UTF-8. The format:
/// https://github.com/msgpack/msgpack/blob/master/spec.md
///
/// This codec and the next two refuse to decode what is nested more than 256 levels deep, and what
/// has bytes left over. A number is converted to its member's type by a cast, as nlohmann/json does
/// it: 3.9 becomes 3, and a floating-point number out of range is undefined behaviour. Where the
/// other side is not trusted, check in `from_json`. A member that `to_json` does not write is lost,
/// and one that `from_json` misses fails the call, unless the type was declared by one of
/// nlohmann's macros with defaults (`..._WITH_DEFAULT`).
struct MessagePackCodec {
    static constexpr std::string_view name = "msgpack";  ///< as a `Codec` has it

    /// Appends `value` to `out`.
    template <class T>
    static void encode(const T& value, std::string& out) {
        nlohmann::json::to_msgpack(detail::to_dom(value),
                                   nlohmann::detail::output_adapter<char>(out));
    }

    /// The value that `in` consists of. Throws a `std::exception` that says what is wrong with it.
    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_message_pack(in));
    }
};

/// JSON text (RFC 8259), for a worker in a language without MessagePack or for reading along.
/// Strings must be UTF-8; others fail the call with `errc::codec`.
struct JsonCodec {
    static constexpr std::string_view name = "json";  ///< as a `Codec` has it

    /// Appends `value` to `out`, in one line.
    template <class T>
    static void encode(const T& value, std::string& out) {
        out += detail::to_dom(value).dump();
    }

    /// The value that `in` consists of. Throws a `std::exception` that says what is wrong with it.
    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_dom(in, nlohmann::json::input_format_t::json));
    }
};

/// CBOR (RFC 8949). Strings carry any bytes.
struct CborCodec {
    static constexpr std::string_view name = "cbor";  ///< as a `Codec` has it

    /// Appends `value` to `out`.
    template <class T>
    static void encode(const T& value, std::string& out) {
        nlohmann::json::to_cbor(detail::to_dom(value), nlohmann::detail::output_adapter<char>(out));
    }

    /// The value that `in` consists of. Throws a `std::exception` that says what is wrong with it.
    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_dom(in, nlohmann::json::input_format_t::cbor));
    }
};

TETHER_NAMESPACE_END
