// Why: a worker's output may contain any bytes, and goes into texts that people read in a terminal
// or a log file. It must not end or hide text there, nor control the terminal.
#pragma once

#include <tether/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline bool is_plain(char c) noexcept { return (c >= ' ' && c <= '~') || c == '\n' || c == '\t'; }

// Control characters beyond ASCII, and characters that reorder text or end a line.
inline bool is_invisible(std::uint32_t point) noexcept {
    return point < 0xa0 || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

// The size of the printable multi-byte character at the beginning of `text`; 0 if there is none.
inline std::size_t printable_sequence(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    const std::size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (size == 0 || first > 0xf4 || text.size() < size) return 0;
    std::uint32_t point = first & (0x7fU >> size);
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xc0U) != 0x80) return 0;
        point = (point << 6) | (byte(i) & 0x3fU);
    }
    const bool overlong = (size == 3 && point < 0x800) || (size == 4 && point < 0x10000);
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return overlong || surrogate || point > 0x10ffff || is_invisible(point) ? 0 : size;
}

inline void append_escaped(std::string& out, char c) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto value = static_cast<unsigned char>(c);
    out.append("\\x").append(1, digits[value >> 4]).append(1, digits[value & 0xf]);
}

// The text in UTF-8 without control characters except newline and tab; every other byte becomes
// text such as \x1b.
inline std::string printable(std::string text) {
    const auto first = std::find_if_not(text.begin(), text.end(), is_plain);
    if (first == text.end()) return text;
    const std::string_view all{text};
    std::string out{text.begin(), first};
    for (auto at = out.size(); at < all.size();) {
        const auto size = is_plain(all[at]) ? 1 : printable_sequence(all.substr(at));
        if (size == 0) append_escaped(out, all[at]);
        out.append(all.substr(at, size));
        at += std::max<std::size_t>(size, 1);
    }
    return out;
}

}  // namespace detail
TETHER_NAMESPACE_END
