// Tether: a length of time, whatever the caller writes it in.
#pragma once

#include <tether/config.hpp>

#include <chrono>
#include <compare>
#include <concepts>
#include <cstdint>
#include <limits>
#include <numeric>
#include <ratio>
#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

#if defined(__SIZEOF_INT128__)
__extension__ typedef __int128 WideSigned;
__extension__ typedef unsigned __int128 WideUnsigned;
#else
using WideSigned = std::intmax_t;
using WideUnsigned = std::uintmax_t;
#endif

template <class T>
concept TickCount = std::integral<T> || std::floating_point<T> || std::same_as<T, WideSigned> ||
    std::same_as<T, WideUnsigned>;

inline constexpr std::int64_t longest_ticks = std::numeric_limits<std::int64_t>::max();

// How many nanoseconds one tick of a period has: num / den.
template <class Period>
struct TickLength {
    static constexpr std::intmax_t common = std::gcd(std::nano::den, Period::den);
    static constexpr std::intmax_t factor = std::nano::den / common;
    static constexpr std::intmax_t den = Period::den / common;
    // Where the numbers leave no room, floating point is exact enough.
    static constexpr bool exact = Period::num <= longest_ticks / factor / den;
    static constexpr std::intmax_t num = exact ? Period::num * factor : 0;
    static constexpr long double in_float = static_cast<long double>(Period::num) *
                                            static_cast<long double>(factor) /
                                            static_cast<long double>(den);
};

// Rounded to the nearest nanosecond, as 0.3 s is not exactly 300,000,000 of them.
template <class Period>
constexpr std::int64_t saturated(long double count) noexcept {
    constexpr long double end = 0x1p63L;
    constexpr auto last = end / TickLength<Period>::in_float;
    if (count != count) return 0;
    if (count >= last) return longest_ticks;
    if (count <= -last) return -longest_ticks - 1;
    const auto exact = count * TickLength<Period>::in_float;
    const auto rounded = exact < 0 ? exact - 0.5L : exact + 0.5L;
    if (rounded >= end) return longest_ticks;
    if (rounded <= -end) return -longest_ticks - 1;
    return static_cast<std::int64_t>(rounded);
}

template <class Period, class Unsigned>
constexpr std::int64_t saturated(bool negative, Unsigned magnitude) noexcept {
    using Length = TickLength<Period>;
    constexpr auto num = static_cast<Unsigned>(Length::num);
    constexpr auto den = static_cast<Unsigned>(Length::den);
    constexpr auto most = static_cast<Unsigned>(longest_ticks);
    const auto whole = magnitude / den;
    auto ticks = most + 1;
    if (whole <= most / num) ticks = whole * num + magnitude % den * num / den;
    if (ticks > most) return negative ? -longest_ticks - 1 : longest_ticks;
    return negative ? -static_cast<std::int64_t>(ticks) : static_cast<std::int64_t>(ticks);
}

// The nanoseconds of `count` ticks, or the nearest that there are.
template <class Period, class Count>
constexpr std::int64_t to_nanoseconds(Count count) noexcept {
    if constexpr (std::is_floating_point_v<Count> || !TickLength<Period>::exact) {
        return saturated<Period>(static_cast<long double>(count));
    } else {
        using Unsigned = std::conditional_t<(sizeof(Count) > sizeof(std::uintmax_t)), WideUnsigned,
                                            std::uintmax_t>;
        const bool negative = count < Count{};
        const auto bits = static_cast<Unsigned>(count);
        return saturated<Period, Unsigned>(negative, negative ? Unsigned{} - bits : bits);
    }
}

}  // namespace detail

/// A length of time: a `std::chrono::nanoseconds` that every other `std::chrono` duration converts
/// to, whatever its period and whether it has integral or floating ticks.
///
///     worker.call(Lint{"a.cpp"}, {.timeout = 0.5s});
///     worker.call(Lint{"a.cpp"}, {.timeout = std::chrono::milliseconds::max()});  // for ever
///
/// Nothing wraps: what is too long becomes `max()`, which is `tether::no_timeout`, and what is too
/// far below zero becomes `min()`. Floating ticks are rounded to the nearest nanosecond; NaN is
/// zero. Comparing it with another duration converts that one first. Arithmetic is that of
/// `std::chrono::nanoseconds`, and has its limits.
///
/// Time is measured by `std::chrono::steady_clock`.
class Duration : public std::chrono::nanoseconds {
public:
    /// Indeterminate, unless it is value-initialized: then zero.
    Duration() = default;

    /// From any duration.
    template <detail::TickCount Count, class Period>
    constexpr Duration(  // NOLINT(google-explicit-constructor): that is its purpose
        const std::chrono::duration<Count, Period>& other) noexcept
        : duration(detail::to_nanoseconds<typename Period::type>(other.count())) {}

    /// From a number of nanoseconds.
    template <std::integral Count>
    explicit constexpr Duration(Count count) noexcept
        : duration(detail::to_nanoseconds<std::nano>(count)) {}

    /// No time.
    [[nodiscard]] static constexpr Duration zero() noexcept { return duration::zero(); }

    /// The longest, some 292 years: for ever.
    [[nodiscard]] static constexpr Duration max() noexcept { return duration::max(); }

    /// The furthest below zero.
    [[nodiscard]] static constexpr Duration min() noexcept { return duration::min(); }

    /// By length.
    friend constexpr bool operator==(Duration a, Duration b) noexcept {
        return a.count() == b.count();
    }
    friend constexpr std::strong_ordering operator<=>(Duration a, Duration b) noexcept {
        return a.count() <=> b.count();
    }
    template <detail::TickCount Count, class Period>
    friend constexpr bool operator==(const Duration& a,
                                     const std::chrono::duration<Count, Period>& b) noexcept {
        return a == Duration{b};
    }
    template <detail::TickCount Count, class Period>
    friend constexpr std::strong_ordering operator<=>(
        const Duration& a, const std::chrono::duration<Count, Period>& b) noexcept {
        return a <=> Duration{b};
    }
};

/// Accepted wherever a timeout is: wait for ever. So is any other that is too long to ever end.
inline constexpr Duration no_timeout = Duration::max();

TETHER_NAMESPACE_END
