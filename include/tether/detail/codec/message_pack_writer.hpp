// Why: nlohmann's writer needs a document, an allocation and a virtual call for each byte of a
// head.
#pragma once

#include <tether/config.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Appends to a string, each value in its shortest form, as nlohmann's to_msgpack does. Values are
// collected in a buffer first, because an append costs more than the few bytes of a value.
class MessagePackWriter {
public:
    explicit MessagePackWriter(std::string& out) noexcept : out_(out) {}
    MessagePackWriter(const MessagePackWriter&) = delete;
    MessagePackWriter& operator=(const MessagePackWriter&) = delete;
    ~MessagePackWriter() = default;

    // Appends the buffer and returns the string; to be called at the end as well. Not inlined:
    // otherwise GCC 12 warns, wrongly, that the buffer may be uninitialized.
    [[gnu::noinline]] std::string& flush() {
        out_.append(buffer_, used_);
        used_ = 0;
        return out_;
    }

    void nil() { byte(0xc0); }
    void boolean(bool value) { byte(value ? 0xc3 : 0xc2); }

    template <std::integral Integer>
    void integer(Integer value) {
        if constexpr (std::is_signed_v<Integer>) {
            if (value < 0) return negative(value);
        }
        positive(static_cast<std::uint64_t>(value));
    }

    // In four bytes if that loses nothing.
    void real(double value) {
        using Float = std::numeric_limits<float>;
        if (value >= Float::lowest() && value <= Float::max()) {
            const auto shorter = static_cast<float>(value);
            if (shorter == value) return marked(0xca, std::bit_cast<std::uint32_t>(shorter));
        }
        marked(0xcb, std::bit_cast<std::uint64_t>(value));
    }

    void string(std::string_view text) {
        if (text.size() < 32) {
            char* to = room(1 + text.size());
            *to = character(0xa0 | text.size());
            text.copy(to + 1, text.size());
            return;
        }
        if (text.size() <= 0xff) {
            marked(0xd9, static_cast<std::uint8_t>(text.size()));
        } else {
            length(0xda, text.size());
        }
        raw(text);
    }

    void binary(std::string_view bytes) {
        if (bytes.size() <= 0xff) {
            marked(0xc4, static_cast<std::uint8_t>(bytes.size()));
        } else {
            length(0xc5, bytes.size());
        }
        raw(bytes);
    }

    // The head; `size` values must follow, or `size` pairs of key and value.
    void array(std::size_t size) { size < 16 ? byte(0x90 | size) : length(0xdc, size); }
    void map(std::size_t size) { size < 16 ? byte(0x80 | size) : length(0xde, size); }

private:
    static constexpr char character(std::uint64_t byte) noexcept {
        return static_cast<char>(static_cast<unsigned char>(byte));
    }

    char* room(std::size_t size) {
        if (size > sizeof buffer_ - used_) flush();
        return buffer_ + std::exchange(used_, used_ + size);
    }

    void byte(std::uint64_t value) { *room(1) = character(value); }

    template <std::unsigned_integral Integer>
    void marked(unsigned marker, Integer value) {
        char* to = room(1 + sizeof value);
        *to++ = character(marker);
        for (auto shift = 8 * sizeof value; shift != 0; *to++ = character(value >> shift))
            shift -= 8;
    }

    void raw(std::string_view bytes) {
        if (bytes.size() > sizeof buffer_) {
            flush().append(bytes);
        } else {
            bytes.copy(room(bytes.size()), bytes.size());
        }
    }

    void positive(std::uint64_t value) {
        if (value < 0x80) return byte(value);
        if (value <= 0xff) return marked(0xcc, static_cast<std::uint8_t>(value));
        if (value <= 0xffff) return marked(0xcd, static_cast<std::uint16_t>(value));
        if (value <= 0xffffffff) return marked(0xce, static_cast<std::uint32_t>(value));
        marked(0xcf, value);
    }

    void negative(std::int64_t value) {
        if (value >= -0x20) return byte(static_cast<std::uint64_t>(value));
        if (value >= -0x80) return marked(0xd0, static_cast<std::uint8_t>(value));
        if (value >= -0x8000) return marked(0xd1, static_cast<std::uint16_t>(value));
        if (value >= -0x80000000LL) return marked(0xd2, static_cast<std::uint32_t>(value));
        marked(0xd3, static_cast<std::uint64_t>(value));
    }

    // `marker` is that of a 16-bit length; the next one is that of a 32-bit length.
    void length(unsigned marker, std::uint64_t size) {
        if (size <= 0xffff) return marked(marker, static_cast<std::uint16_t>(size));
        if (size > 0xffffffff) throw std::runtime_error("too long for MessagePack: 4 GiB or more");
        marked(marker + 1, static_cast<std::uint32_t>(size));
    }

    std::string& out_;
    std::size_t used_ = 0;
    char buffer_[512];
};

}  // namespace detail
TETHER_NAMESPACE_END
