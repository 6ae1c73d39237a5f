// Why: a reader that knows the next type asks for it, and needs no document in between. An error
// says what was expected, what was found, in which member, and where.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/codec/nesting.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The formats are those of https://github.com/msgpack/msgpack/blob/master/spec.md.
enum class MessagePackKind : std::uint8_t {
    nil,
    boolean,
    unsigned_integer,
    signed_integer,
    real,
    string,
    binary,
    extension,
    array,
    map,
    unknown
};

constexpr std::string_view describe(MessagePackKind kind) noexcept {
    switch (kind) {
        case MessagePackKind::nil:
            return "nil";
        case MessagePackKind::boolean:
            return "a boolean";
        case MessagePackKind::unsigned_integer:
        case MessagePackKind::signed_integer:
            return "an integer";
        case MessagePackKind::real:
            return "a floating-point number";
        case MessagePackKind::string:
            return "a string";
        case MessagePackKind::binary:
            return "binary data";
        case MessagePackKind::extension:
            return "an extension";
        case MessagePackKind::array:
            return "an array";
        case MessagePackKind::map:
            return "a map";
        case MessagePackKind::unknown:
            break;
    }
    return "a value of no known type";
}

// The first bytes of a value. `number` is the number itself (of a real: the bits of a double), or
// how many bytes, elements or members follow.
struct MessagePackHead {
    MessagePackKind kind;
    std::uint64_t number;
};

// Takes one value after the other off the front. Each function throws std::runtime_error if the
// next value is another or incomplete; do not use the parser any more then.
class MessagePackParser {
    using Kind = MessagePackKind;
    using Head = MessagePackHead;

public:
    explicit MessagePackParser(std::string_view in) noexcept : in_(in) {}
    MessagePackParser(const MessagePackParser&) = delete;
    MessagePackParser& operator=(const MessagePackParser&) = delete;
    ~MessagePackParser() = default;

    // While this lives, errors name the member `name`.
    class InMember {
    public:
        InMember(MessagePackParser& parser, std::string_view name) noexcept
            : parser_(parser), name_(name), outer_(parser.member_) {
            parser_.member_ = this;
        }
        InMember(const InMember&) = delete;
        InMember& operator=(const InMember&) = delete;
        ~InMember() { parser_.member_ = outer_; }

    private:
        friend class MessagePackParser;
        MessagePackParser& parser_;
        std::string_view name_;
        const InMember* outer_;
    };

    // Throws an error that names the member and the place: by default, that of the value taken
    // last.
    [[noreturn]] void fail(std::string_view what) const { fail_at(start_, what); }
    [[noreturn, gnu::cold, gnu::noinline]] void fail_at(std::size_t at,
                                                        std::string_view what) const {
        std::string path;
        for (const auto* member = member_; member != nullptr; member = member->outer_) {
            path.insert(0, std::string{member->name_} + (path.empty() ? "" : "."));
        }
        if (!path.empty()) path = "member \"" + path + "\": ";
        throw std::runtime_error(path + std::string{what} + " at byte " + std::to_string(at));
    }

    [[nodiscard]] std::size_t position() const noexcept { return at_; }
    [[nodiscard]] std::size_t bytes_left() const noexcept { return in_.size() - at_; }

    // --- Values of one type

    // Takes nil if it comes next.
    bool nil() {
        if (at_ == in_.size() || in_[at_] != '\xc0') return false;
        head();
        return true;
    }

    bool boolean() {
        const auto next = head();
        if (next.kind != Kind::boolean) fail_expected("a boolean", next.kind);
        return next.number != 0;
    }

    template <std::integral Integer>
    Integer integer() {
        const auto next = head();
        using Limits = std::numeric_limits<Integer>;
        const bool negative = is_negative(next);
        if (!negative && next.kind != Kind::unsigned_integer && next.kind != Kind::signed_integer) {
            fail_expected("an integer", next.kind);
        }
        const bool fits =
            negative ? std::is_signed_v<Integer> &&
                           static_cast<std::int64_t>(next.number) >= std::int64_t{Limits::min()}
                     : next.number <= std::uint64_t{Limits::max()};
        if (!fits) fail_range(next);
        return static_cast<Integer>(next.number);
    }

    // Takes integers, too: in some languages, 1.0 is one.
    template <std::floating_point Real>
    Real real() {
        const auto next = head();
        if (next.kind == Kind::unsigned_integer) return static_cast<Real>(next.number);
        if (next.kind == Kind::signed_integer) {
            return static_cast<Real>(static_cast<std::int64_t>(next.number));
        }
        if (next.kind != Kind::real) fail_expected("a number", next.kind);
        const auto number = std::bit_cast<double>(next.number);
        using Limits = std::numeric_limits<Real>;
        const auto size = number < 0 ? -number : number;
        if (size > Limits::max() && size != std::numeric_limits<double>::infinity()) {
            fail("a number out of range");
        }
        return static_cast<Real>(number);
    }

    std::string_view string() {
        const auto next = head();
        if (next.kind != Kind::string) fail_expected("a string", next.kind);
        return take(next.number);
    }

    // The number of elements, or of pairs of key and value, that follow. Call close() after them.
    std::size_t open_array() {
        const auto next = head();
        if (next.kind != Kind::array) fail_expected("an array", next.kind);
        return open(next);
    }
    std::size_t open_map() {
        const auto next = head();
        if (next.kind != Kind::map) fail_expected("a map", next.kind);
        return open(next);
    }
    void close() noexcept { --depth_; }

    // --- Values of any type

    Head head() {
        start_ = at_;
        const unsigned type = number<std::uint8_t>();
        if (type < 0x80) return {Kind::unsigned_integer, type};
        if (type < 0x90) return {Kind::map, type & 0x0f};
        if (type < 0xa0) return {Kind::array, type & 0x0f};
        if (type < 0xc0) return {Kind::string, type & 0x1f};
        if (type < 0xe0) return marked_head(type);
        return signed_integer(static_cast<std::int8_t>(type));
    }

    // The number of values after the head of an array or a map; never more than the bytes left can
    // hold.
    std::size_t open(Head container) {
        if (++depth_ > deepest_nesting) {
            fail("nested more than " + std::to_string(deepest_nesting) + " levels deep");
        }
        const auto least_bytes = container.number * (container.kind == Kind::map ? 2 : 1);
        if (least_bytes > bytes_left()) fail("the input ends too early");
        return static_cast<std::size_t>(container.number);
    }

    // The bytes after the head of any other value.
    std::string_view take(std::uint64_t size) {
        if (size > bytes_left()) fail("the input ends too early");
        const std::string_view bytes{in_.data() + at_, static_cast<std::size_t>(size)};
        at_ += bytes.size();
        return bytes;
    }

    void skip() {
        const auto next = head();
        switch (next.kind) {
            case Kind::string:
            case Kind::binary:
                take(next.number);
                break;
            case Kind::extension:
                take(1 + next.number);  // its type, and its bytes
                break;
            case Kind::array:
                for (auto left = open(next); left > 0; --left) skip();
                close();
                break;
            case Kind::map:
                for (auto left = open(next); left > 0; --left) {
                    string();
                    skip();
                }
                close();
                break;
            case Kind::unknown:
                fail(describe(next.kind));
            default:
                break;
        }
    }

    void finish() {
        start_ = at_;
        if (at_ != in_.size()) fail("more bytes after the value");
    }

private:
    [[noreturn, gnu::cold, gnu::noinline]] void fail_expected(std::string_view what,
                                                              Kind found) const {
        fail("expected " + std::string{what} + ", found " + std::string{describe(found)});
    }
    [[noreturn, gnu::cold, gnu::noinline]] void fail_range(Head number) const {
        fail((is_negative(number) ? std::to_string(static_cast<std::int64_t>(number.number))
                                  : std::to_string(number.number)) +
             " is out of range");
    }

    static bool is_negative(Head head) noexcept {
        return head.kind == Kind::signed_integer && static_cast<std::int64_t>(head.number) < 0;
    }

    // Big-endian.
    template <std::unsigned_integral Integer>
    Integer number() {
        std::uint64_t value = 0;
        for (const char part : take(sizeof(Integer))) {
            value = value << 8 | static_cast<unsigned char>(part);
        }
        return static_cast<Integer>(value);
    }
    static Head signed_integer(std::int64_t value) noexcept {
        return {Kind::signed_integer, static_cast<std::uint64_t>(value)};
    }
    static Head real_number(double value) noexcept {
        return {Kind::real, std::bit_cast<std::uint64_t>(value)};
    }

    Head marked_head(unsigned type) {
        switch (type) {
            case 0xc0:
                return {Kind::nil, 0};
            case 0xc2:
            case 0xc3:
                return {Kind::boolean, type & 1};
            case 0xc4:
                return {Kind::binary, number<std::uint8_t>()};
            case 0xc5:
                return {Kind::binary, number<std::uint16_t>()};
            case 0xc6:
                return {Kind::binary, number<std::uint32_t>()};
            case 0xc7:
                return {Kind::extension, number<std::uint8_t>()};
            case 0xc8:
                return {Kind::extension, number<std::uint16_t>()};
            case 0xc9:
                return {Kind::extension, number<std::uint32_t>()};
            case 0xca:
                return real_number(std::bit_cast<float>(number<std::uint32_t>()));
            case 0xcb:
                return {Kind::real, number<std::uint64_t>()};
            case 0xcc:
                return {Kind::unsigned_integer, number<std::uint8_t>()};
            case 0xcd:
                return {Kind::unsigned_integer, number<std::uint16_t>()};
            case 0xce:
                return {Kind::unsigned_integer, number<std::uint32_t>()};
            case 0xcf:
                return {Kind::unsigned_integer, number<std::uint64_t>()};
            case 0xd0:
                return signed_integer(static_cast<std::int8_t>(number<std::uint8_t>()));
            case 0xd1:
                return signed_integer(static_cast<std::int16_t>(number<std::uint16_t>()));
            case 0xd2:
                return signed_integer(static_cast<std::int32_t>(number<std::uint32_t>()));
            case 0xd3:
                return signed_integer(static_cast<std::int64_t>(number<std::uint64_t>()));
            case 0xd4:
            case 0xd5:
            case 0xd6:
            case 0xd7:
            case 0xd8:
                return {Kind::extension, std::uint64_t{1} << (type - 0xd4)};
            case 0xd9:
                return {Kind::string, number<std::uint8_t>()};
            case 0xda:
                return {Kind::string, number<std::uint16_t>()};
            case 0xdb:
                return {Kind::string, number<std::uint32_t>()};
            case 0xdc:
                return {Kind::array, number<std::uint16_t>()};
            case 0xdd:
                return {Kind::array, number<std::uint32_t>()};
            case 0xde:
                return {Kind::map, number<std::uint16_t>()};
            case 0xdf:
                return {Kind::map, number<std::uint32_t>()};
            default:
                return {Kind::unknown, 0};
        }
    }

    std::string_view in_;
    std::size_t at_ = 0;
    std::size_t start_ = 0;  // of the value that was taken last
    std::size_t depth_ = 0;
    const InMember* member_ = nullptr;
};

}  // namespace detail
TETHER_NAMESPACE_END
