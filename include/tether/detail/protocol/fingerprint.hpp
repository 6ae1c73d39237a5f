// Why: two programs that were built separately may list different requests under the same name and
// version. Both compute a number from their lists, and no request is handled unless the numbers are
// equal.
#pragma once

#include <tether/config.hpp>
#include <tether/protocol.hpp>

#include <cstdint>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// FNV-1a over length-delimited parts, so that {"ab","c"} and {"a","bc"} differ.
class Fingerprint {
public:
    constexpr void add(std::string_view part) noexcept {
        add(part.size());
        for (const char c : part) mix(static_cast<unsigned char>(c));
    }
    constexpr void add(std::uint64_t number) noexcept {
        for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(number >> (8 * i)));
    }
    [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }

private:
    constexpr void mix(unsigned char byte) noexcept { value_ = (value_ ^ byte) * 0x100000001b3U; }
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

template <class... Rs>
constexpr void add_names(Fingerprint& fingerprint, Messages<Rs...>) noexcept {
    fingerprint.add(sizeof...(Rs));
    (fingerprint.add(std::string_view{Rs::name}), ...);
}

// What calls of each request send beside their answers.
template <class... Rs>
constexpr void add_kinds(Fingerprint& fingerprint, Messages<Rs...>) noexcept {
    (fingerprint.add(std::uint64_t{(has_progress<Rs> ? 1U : 0U) | (has_items<Rs> ? 2U : 0U) |
                                   (has_upload<Rs> ? 4U : 0U)}),
     ...);
}

template <class P>
constexpr std::uint64_t fingerprint() noexcept {
    Fingerprint print;
    print.add(std::string_view{CodecOf<P>::name});
    add_names(print, typename P::Requests{});
    if constexpr (is_live_protocol<P>) {
        add_kinds(print, typename P::Requests{});
        add_names(print, CallbacksOf<P>{});
        add_names(print, NotificationsOf<P>{});
    }
    return print.value();
}

}  // namespace detail
TETHER_NAMESPACE_END
