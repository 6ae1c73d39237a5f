// Tether: typed messages to MessagePack and back, without a document in between.
#pragma once

#include <tether/codec.hpp>
#include <tether/config.hpp>
#include <tether/detail/codec/bytes_json.hpp>
#include <tether/detail/codec/direct_types.hpp>
#include <tether/detail/codec/members.hpp>
#include <tether/detail/codec/message_pack_parser.hpp>
#include <tether/detail/codec/message_pack_writer.hpp>

#include <string>
#include <string_view>

/// Lists the members of a message type, or of a type inside one, for `DirectCodec` and, with the
/// meaning of NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE, for every other codec:
///
///     struct Lint {
///         static constexpr std::string_view name = "lint";
///         using Response = Diagnostics;
///         std::string file{};
///         std::vector<std::string> flags{};
///     };
///     TETHER_DEFINE_MESSAGE(Lint, file, flags)
///
/// It stands at namespace scope, in the namespace of the type. The members are public, and neither
/// static, const nor references; inherited ones may be listed. There may be none, and up to 64.
/// They travel under their names: renaming one changes the wire, their order means nothing. A
/// member of type `std::optional` is null where it is empty.
#define TETHER_DEFINE_MESSAGE(Type, ...)                                                         \
    [[maybe_unused]] constexpr auto tether_members(::tether::detail::MembersOf<Type>) noexcept { \
        return TETHER_MEMBERS_OF_(Type, __VA_ARGS__);                                            \
    }                                                                                            \
    template <::tether::detail::AnyJson TetherJson>                                              \
    void to_json(TetherJson& tether_json, const Type& tether_value) {                            \
        ::tether::detail::members_to_json(tether_json, tether_value);                            \
    }                                                                                            \
    template <::tether::detail::AnyJson TetherJson>                                              \
    void from_json(const TetherJson& tether_json, Type& tether_value) {                          \
        ::tether::detail::members_from_json(tether_json, tether_value);                          \
    }

TETHER_NAMESPACE_BEGIN

/// MessagePack without nlohmann/json's documents in between: some ten times less work to encode,
/// some five times less to decode.
///
///     struct LintProtocol {
///         ...
///         using Codec = tether::DirectCodec;
///     };
///
/// It writes what `MessagePackCodec` writes and has the same name, so that either side may have
/// either. The bytes are the same, except for the order of an unordered container and the numbers
/// of several blobs in one message. Enumerators of 2^63 and more, which nlohmann/json makes
/// negative, and a `std::optional` inside a container, which it may not know, work with this codec
/// only.
///
/// | type | in MessagePack |
/// |---|---|
/// | `bool`, integers, floating-point numbers | the shortest form that loses nothing |
/// | enumerations | the number |
/// | `std::string`; `std::string_view`, which can only be encoded | a string, of any bytes |
/// | `std::vector`, `deque`, `list`, `set`, `unordered_set` | an array |
/// | `std::array`, `std::pair`, `std::tuple` | an array of just so many |
/// | `std::map`, `std::unordered_map` with keys of type `std::string` | a map |
/// | `std::optional` | nil where it is empty |
/// | with `TETHER_DEFINE_MESSAGE` | a map of names to values |
/// | `Bytes` | the number of the blob, which travels beside the message |
///
/// Anything else goes by way of a document, for that part alone and unless TETHER_WITHOUT_JSON is
/// defined: `nlohmann::json` itself, types
/// with a `to_json` and `from_json` by hand or by nlohmann's macros, enumerations with
/// NLOHMANN_JSON_SERIALIZE_ENUM, and whatever else nlohmann/json converts. A `to_json` or
/// `from_json` of yours, or an `adl_serializer`, counts also for an enumeration or container in the
/// table, unless it is a template that takes nothing but nlohmann's documents: then specialise
/// `nlohmann::adl_serializer`. A type with none of these does not compile.
///
/// Decoding is strict, where nlohmann/json casts. It takes the members in any order and ignores
/// others, takes integers of any width, also for floating-point members, and throws
/// `std::runtime_error` for everything else: a member that is missing, or there twice; a value of
/// another kind; a number that its type cannot hold (3.9 is no integer, -1 not unsigned); too few
/// or too many elements; bytes that are missing or left over; nesting of more than 256 levels. The
/// text names the member and the place:
///
///     member "flags": expected an array, found a string at byte 17
///
/// What a `from_json` throws becomes such an error, too, except for `std::bad_alloc`. A length that
/// the input cannot have is refused before anything of that size is allocated.
struct DirectCodec {
    static constexpr std::string_view name = "msgpack";  ///< that of `MessagePackCodec`

    /// Appends `value` to `out`. Throws what a `to_json` throws, and `std::runtime_error` for a
    /// string or container of 4 GiB.
    template <class T>
    static void encode(const T& value, std::string& out) {
        detail::MessagePackWriter writer{out};
        detail::Direct<T>::write(writer, value);
        writer.flush();
    }

    /// The value that `in` consists of. Members that are converted by way of a document keep what
    /// their `from_json` leaves alone.
    template <class T>
    static T decode(std::string_view in) {
        detail::MessagePackParser parser{in};
        auto value = detail::read_new<T>(parser);
        parser.finish();
        return value;
    }
};

TETHER_NAMESPACE_END
