// Why: nlohmann's reader takes a payload byte by byte, with some forty instructions for each, and
// most of a typed message is strings. This one takes a string as a whole. It accepts what that
// accepts, and builds the same DOM: a fuzz target holds the two together.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/dom_reader.hpp>

#include <nlohmann/json.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The formats are those of https://github.com/msgpack/msgpack/blob/master/spec.md.
class MessagePackReader {
public:
    MessagePackReader(std::string_view in, DomReader& dom) noexcept : in_(in), dom_(dom) {}

    // Exactly one value; throws std::runtime_error for all else.
    void read() {
        read_value();
        while (!open_.empty()) {
            auto& container = open_.back();
            if (container.left == 0) {
                if (container.is_map) {
                    dom_.end_object();
                } else {
                    dom_.end_array();
                }
                open_.pop_back();
                continue;
            }
            --container.left;
            if (container.is_map) read_key();
            read_value();
        }
        if (at_ != in_.size()) fail("more bytes after the value");
    }

private:
    struct Container {
        std::uint64_t left;  // values, each with its key in a map
        bool is_map;
    };

    [[noreturn]] void fail(const std::string& what) const {
        throw std::runtime_error("MessagePack, at byte " + std::to_string(at_) + ": " + what);
    }

    std::string_view take(std::uint64_t size) {
        if (size > in_.size() - at_) fail("the input ends too early");
        const auto bytes = in_.substr(at_, static_cast<std::size_t>(size));
        at_ += bytes.size();
        return bytes;
    }
    unsigned byte() { return static_cast<unsigned char>(take(1).front()); }

    // Big-endian, of 1, 2, 4 or 8 bytes.
    std::uint64_t number(unsigned width) {
        std::uint64_t value = 0;
        for (const char part : take(width)) value = value << 8 | static_cast<unsigned char>(part);
        return value;
    }
    std::int64_t signed_number(unsigned width) {
        const unsigned unused = 64 - 8 * width;
        return static_cast<std::int64_t>(number(width) << unused) >> unused;
    }

    void read_value() {
        const auto type = byte();
        if (type < 0x80) {
            dom_.number_unsigned(type);
        } else if (type < 0x90) {
            open_map(type & 0x0f);
        } else if (type < 0xa0) {
            open_array(type & 0x0f);
        } else if (type < 0xc0) {
            read_string(type & 0x1f);
        } else if (type < 0xe0) {
            read_marked(type);
        } else {
            dom_.number_integer(static_cast<std::int8_t>(type));
        }
    }

    // The width of a number, or of a length, doubles from one type to the next.
    static constexpr unsigned width(unsigned type, unsigned first) noexcept {
        return 1U << (type - first);
    }

    void read_marked(unsigned type) {
        switch (type) {
            case 0xc0:
                dom_.null();
                break;
            case 0xc2:
            case 0xc3:
                dom_.boolean(type == 0xc3);
                break;
            case 0xc4:
            case 0xc5:
            case 0xc6:
                read_binary(number(width(type, 0xc4)));
                break;
            case 0xc7:
            case 0xc8:
            case 0xc9:
                read_extension(number(width(type, 0xc7)));
                break;
            case 0xca:
                dom_.number_float(std::bit_cast<float>(static_cast<std::uint32_t>(number(4))), {});
                break;
            case 0xcb:
                dom_.number_float(std::bit_cast<double>(number(8)), {});
                break;
            case 0xcc:
            case 0xcd:
            case 0xce:
            case 0xcf:
                dom_.number_unsigned(number(width(type, 0xcc)));
                break;
            case 0xd0:
            case 0xd1:
            case 0xd2:
            case 0xd3:
                dom_.number_integer(signed_number(width(type, 0xd0)));
                break;
            case 0xd4:
            case 0xd5:
            case 0xd6:
            case 0xd7:
            case 0xd8:
                read_extension(width(type, 0xd4));
                break;
            case 0xd9:
            case 0xda:
            case 0xdb:
                read_string(number(width(type, 0xd9)));
                break;
            case 0xdc:
            case 0xdd:
                open_array(number(width(type, 0xdb)));
                break;
            case 0xde:
            case 0xdf:
                open_map(number(width(type, 0xdd)));
                break;
            default:
                fail("a value of no known type");
        }
    }

    void read_key() {
        const auto type = byte();
        auto size = std::uint64_t{type & 0x1f};
        if (type >= 0xd9 && type <= 0xdb) {
            size = number(width(type, 0xd9));
        } else if (type < 0xa0 || type >= 0xc0) {
            fail("a key that is no string");
        }
        std::string name{take(size)};
        dom_.key(name);
    }

    void read_string(std::uint64_t size) {
        std::string text{take(size)};
        dom_.string(text);
    }

    void read_binary(std::uint64_t size) {
        auto bytes = binary(size);
        dom_.binary(bytes);
    }
    void read_extension(std::uint64_t size) {
        const auto type = byte();
        auto bytes = binary(size);
        bytes.set_subtype(type);
        dom_.binary(bytes);
    }
    nlohmann::json::binary_t binary(std::uint64_t size) {
        const auto bytes = take(size);
        return nlohmann::json::binary_t{{bytes.begin(), bytes.end()}};
    }

    void open_array(std::uint64_t size) {
        dom_.start_array(static_cast<std::size_t>(size));
        open_.push_back({size, false});
    }
    void open_map(std::uint64_t size) {
        dom_.start_object(static_cast<std::size_t>(size));
        open_.push_back({size, true});
    }

    std::string_view in_;
    std::size_t at_ = 0;
    DomReader& dom_;
    std::vector<Container> open_;  // those that are not complete, outermost first
};

inline nlohmann::json read_message_pack(std::string_view in) {
    DomReader dom;
    MessagePackReader{in, dom}.read();
    return dom.take();
}

}  // namespace detail
TETHER_NAMESPACE_END
