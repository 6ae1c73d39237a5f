// Why: envelopes and records are little-endian and length-prefixed, whatever the host is, and a
// reader must survive any bytes.
#pragma once

#include <tether/config.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// GCC 12 compiles a memcpy to one instruction, and the loops to dozens.
inline constexpr bool host_is_little_endian = std::endian::native == std::endian::little;

template <std::unsigned_integral Integer>
void store_le(char* target, Integer value) noexcept {
    if constexpr (host_is_little_endian) {
        std::memcpy(target, &value, sizeof value);
        return;
    }
    for (std::size_t i = 0; i < sizeof(Integer); ++i) {
        target[i] = static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
    }
}

template <std::unsigned_integral Integer>
Integer load_le(const char* source) noexcept {
    Integer value = 0;
    if constexpr (host_is_little_endian) {
        std::memcpy(&value, source, sizeof value);
        return value;
    }
    for (std::size_t i = 0; i < sizeof(Integer); ++i) {
        value = static_cast<Integer>(
            value |
            static_cast<Integer>(Integer{static_cast<unsigned char>(source[i])} << (8 * i)));
    }
    return value;
}

class BinaryWriter {
public:
    explicit BinaryWriter(std::string& out) noexcept : out_(out) {}

    template <std::unsigned_integral Integer>
    BinaryWriter& number(Integer value) {
        char bytes[sizeof(Integer)];
        store_le(bytes, value);
        out_.append(bytes, sizeof bytes);
        return *this;
    }

    BinaryWriter& raw(std::string_view bytes) {
        out_.append(bytes);
        return *this;
    }

    BinaryWriter& text(std::string_view value) {
        return number(static_cast<std::uint32_t>(value.size())).raw(value);
    }

private:
    std::string& out_;
};

// After the first failure everything read is zero or empty; check ok() once at the end.
class BinaryReader {
public:
    explicit BinaryReader(std::string_view in) noexcept : in_(in) {}

    template <std::unsigned_integral Integer>
    Integer number() noexcept {
        const auto bytes = raw(sizeof(Integer));
        return bytes.empty() ? Integer{0} : load_le<Integer>(bytes.data());
    }

    std::string_view raw(std::size_t size) noexcept {
        if (size > in_.size()) ok_ = false;
        if (!ok_) return {};
        const auto bytes = in_.substr(0, size);
        in_.remove_prefix(size);
        return bytes;
    }

    std::string_view text() noexcept { return raw(number<std::uint32_t>()); }

    [[nodiscard]] bool ok() const noexcept { return ok_; }
    [[nodiscard]] bool at_end() const noexcept { return ok_ && in_.empty(); }

private:
    std::string_view in_;
    bool ok_ = true;
};

}  // namespace detail
TETHER_NAMESPACE_END
