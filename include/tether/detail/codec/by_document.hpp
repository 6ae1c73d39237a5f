// Why: a type that DirectCodec has no form for is converted by nlohmann/json, which only the files
// that need it compile.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/codec/bytes_json.hpp>
#include <tether/detail/codec/direct_types.hpp>
#include <tether/detail/codec/dom_conversion.hpp>
#include <tether/detail/codec/message_pack_parser.hpp>
#include <tether/detail/codec/message_pack_reader.hpp>
#include <tether/detail/codec/message_pack_writer.hpp>

#include <nlohmann/json.hpp>

#include <exception>
#include <new>
#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class T>
struct ByDocument {
    static void write(MessagePackWriter& out, const T& value) {
        constexpr bool convertible = std::is_constructible_v<nlohmann::json, const T&>;
        static_assert(convertible,
                      "DirectCodec cannot write this type: list its members in "
                      "TETHER_DEFINE_MESSAGE(Type, member...), behind the type in its namespace, "
                      "or write a to_json for it");
        if constexpr (std::is_same_v<T, nlohmann::json>) {
            write_document(out, value);
        } else if constexpr (convertible) {
            write_document(out, nlohmann::json(value));
        }
    }

    static void read(MessagePackParser& in, T& value) {
        constexpr bool convertible = requires(const nlohmann::json& document) {
            document.get_to(value);
        };
        static_assert(convertible,
                      "DirectCodec cannot read this type: list its members in "
                      "TETHER_DEFINE_MESSAGE(Type, member...), behind the type in its namespace, "
                      "or write a from_json for it");
        if constexpr (std::is_same_v<T, nlohmann::json>) {
            value = read_message_pack(in);
        } else if constexpr (convertible) {
            convert(in, value);
        }
    }

    // Of a type without a default constructor.
    static T read_new(MessagePackParser& in) { return from_dom<T>(read_message_pack(in)); }

private:
    // Adds the position to the errors that user code throws; std::bad_alloc passes unchanged,
    // because it has a meaning of its own.
    static void convert(MessagePackParser& in, T& value) {
        const auto at = in.position();
        const auto document = read_message_pack(in);
        try {
            document.get_to(value);
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception& error) {
            in.fail_at(at, error.what());
        }
    }

    static void write_document(MessagePackWriter& out, const nlohmann::json& document) {
        nlohmann::json::to_msgpack(document, nlohmann::detail::output_adapter<char>(out.flush()));
    }
};

}  // namespace detail
TETHER_NAMESPACE_END
