// Why: nlohmann's reader takes some forty instructions for each byte, and most of a typed message
// is strings. This one takes a string as a whole. It accepts the same input and builds the same
// DOM; a fuzz target compares the two.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/codec/dom_reader.hpp>
#include <tether/detail/codec/message_pack_parser.hpp>

#include <nlohmann/json.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

class MessagePackReader {
    using Kind = MessagePackKind;

public:
    MessagePackReader(MessagePackParser& in, DomReader& dom) noexcept : in_(in), dom_(dom) {}

    // Reads one value. Throws std::runtime_error for anything else.
    void read() {
        const auto next = in_.head();
        switch (next.kind) {
            case Kind::nil:
                dom_.null();
                break;
            case Kind::boolean:
                dom_.boolean(next.number != 0);
                break;
            case Kind::unsigned_integer:
                dom_.number_unsigned(next.number);
                break;
            case Kind::signed_integer:
                dom_.number_integer(static_cast<std::int64_t>(next.number));
                break;
            case Kind::real:
                dom_.number_float(std::bit_cast<double>(next.number), {});
                break;
            case Kind::string:
                read_string(next.number);
                break;
            case Kind::binary:
                read_binary(next.number);
                break;
            case Kind::extension:
                read_extension(next.number);
                break;
            case Kind::array:
                read_array(next);
                break;
            case Kind::map:
                read_map(next);
                break;
            case Kind::unknown:
                in_.fail(describe(next.kind));
        }
    }

private:
    void read_string(std::uint64_t size) {
        std::string text{in_.take(size)};
        dom_.string(text);
    }

    void read_binary(std::uint64_t size) {
        auto bytes = binary(size);
        dom_.binary(bytes);
    }
    void read_extension(std::uint64_t size) {
        const auto type = static_cast<unsigned char>(in_.take(1).front());
        auto bytes = binary(size);
        bytes.set_subtype(type);
        dom_.binary(bytes);
    }
    nlohmann::json::binary_t binary(std::uint64_t size) {
        const auto bytes = in_.take(size);
        return nlohmann::json::binary_t{{bytes.begin(), bytes.end()}};
    }

    void read_array(MessagePackHead head) {
        auto left = in_.open(head);
        for (dom_.start_array(left); left > 0; --left) read();
        dom_.end_array();
        in_.close();
    }
    void read_map(MessagePackHead head) {
        auto left = in_.open(head);
        for (dom_.start_object(left); left > 0; --left) {
            std::string name{in_.string()};
            dom_.key(name);
            read();
        }
        dom_.end_object();
        in_.close();
    }

    MessagePackParser& in_;
    DomReader& dom_;
};

// Reads the next of several values.
inline nlohmann::json read_message_pack(MessagePackParser& in) {
    DomReader dom;
    MessagePackReader{in, dom}.read();
    return dom.take();
}

// Reads exactly one value.
inline nlohmann::json read_message_pack(std::string_view in) {
    MessagePackParser parser{in};
    auto document = read_message_pack(parser);
    parser.finish();
    return document;
}

}  // namespace detail
TETHER_NAMESPACE_END
