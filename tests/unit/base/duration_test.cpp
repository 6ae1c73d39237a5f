#include <tether/duration.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>

#include "support/catch.hpp"

namespace duration_test {

namespace {

using namespace std::chrono_literals;
using std::chrono::duration;
using tether::Duration;
using tether::no_timeout;

static_assert(sizeof(Duration) == sizeof(std::chrono::nanoseconds));
static_assert(std::is_trivially_copyable_v<Duration>);
static_assert(std::is_convertible_v<Duration, std::chrono::nanoseconds>);
static_assert(std::is_convertible_v<duration<float, std::milli>, Duration>);
static_assert(!std::is_convertible_v<int, Duration>);
static_assert(!std::is_constructible_v<Duration, double>);
static_assert(noexcept(Duration{std::chrono::hours::max()}));

constexpr auto infinite = std::numeric_limits<double>::infinity();
constexpr Duration shortest = Duration::min();
using Wide = tether::detail::WideSigned;
using Frames = duration<std::int64_t, std::ratio<1001, 30000>>;
using Thirds = duration<std::int64_t, std::ratio<1, 3>>;
using Odd = duration<std::int64_t, std::ratio<(std::int64_t{1} << 61) - 1, 1'000'000'007>>;

// All of it while compiling: an overflow would be an error.
template <class Any>
constexpr bool saturates = Duration{Any::max()} == no_timeout&& Duration{Any::zero()} == 0s &&
                           (!std::numeric_limits<typename Any::rep>::is_signed ||
                            Duration{Any::min()} == shortest);

static_assert(saturates<std::chrono::microseconds>);
static_assert(saturates<std::chrono::milliseconds>);
static_assert(saturates<std::chrono::seconds>);
static_assert(saturates<std::chrono::hours>);
static_assert(saturates<duration<std::int64_t, std::exa>>);
static_assert(saturates<duration<std::int8_t, std::exa>>);
static_assert(saturates<duration<std::int32_t, std::giga>>);
static_assert(saturates<duration<std::uint64_t, std::nano>>);
static_assert(saturates<duration<std::uint64_t>>);
static_assert(saturates<duration<std::uint32_t, std::tera>>);
static_assert(saturates<duration<Wide, std::pico>> || sizeof(Wide) == sizeof(std::int64_t));
static_assert(saturates<duration<float>>);
static_assert(saturates<duration<double, std::atto>>);
static_assert(saturates<duration<double, std::exa>>);
static_assert(saturates<duration<long double, std::exa>>);
static_assert(saturates<Frames>);
static_assert(saturates<Thirds>);
static_assert(saturates<Odd>);

constexpr Duration from_a_number{std::uint64_t{1} << 63};

}  // namespace

TEST_CASE("every duration becomes nanoseconds, or the nearest that there are", "[F95]") {
    CHECK((Duration{5s} == 5s));
    CHECK((Duration{-5s} == -5s));
    CHECK((Duration{std::chrono::hours{24L * 365 * 292}} == 24h * 365 * 292));
    CHECK((Duration{std::chrono::hours{24L * 365 * 300}} == no_timeout));
    CHECK((Duration{std::chrono::hours{-24L * 365 * 300}} == shortest));
    CHECK((Duration{no_timeout - 1ns}.count() == no_timeout.count() - 1));
    CHECK((from_a_number == no_timeout));
    CHECK((Duration{-7} == -7ns));
    CHECK((Duration{} == 0s));
    CHECK((Duration{duration<int, std::pico>{-1999}} == -1ns));
    CHECK((Duration{duration<std::int64_t, std::atto>::max()} == 9'223'372'036ns));
    CHECK((Duration{Thirds{-7}} == -2'333'333'333ns));
    CHECK((Duration{Frames{270'000'000'000}}.count() == 9'009'000'000'000'000'000));
    CHECK((Duration{Odd{1}} > 2'305'842'992s && Duration{Odd{1}} < 2'305'842'994s));
    CHECK((Duration{duration<bool>{true}} == 1s));
}

TEST_CASE("floating durations are rounded, and have no undefined end", "[F95]") {
    CHECK((Duration{0.5s} == 500ms));
    CHECK((Duration{duration<double>{0.3}} == 300ms));
    CHECK((Duration{duration<float, std::milli>{-0.25F}} == -250us));
    CHECK((Duration{duration<double, std::nano>{0.4}} == 0s));
    CHECK((Duration{duration<double>{infinite}} == no_timeout));
    CHECK((Duration{duration<double>{-infinite}} == shortest));
    CHECK((Duration{duration<float>{std::numeric_limits<float>::quiet_NaN()}} == 0s));
    CHECK((Duration{duration<double>{9.3e9}} == no_timeout));
    CHECK((Duration{duration<double, std::nano>{0x1p63}} == no_timeout));
    CHECK((Duration{duration<double, std::nano>{-0x1p63}} == shortest));
    CHECK((Duration{duration<double, std::nano>{0x1p62}}.count() == std::int64_t{1} << 62));
}

TEST_CASE("a comparison with another duration does not wrap", "[F95]") {
    CHECK((no_timeout == std::chrono::milliseconds::max()));
    CHECK((std::chrono::hours::max() == no_timeout));
    CHECK((no_timeout > 5s));
    CHECK((5s < no_timeout));
    CHECK((Duration{1s} < std::chrono::seconds::max()));
    CHECK((Duration{1s} > std::chrono::seconds::min()));
    CHECK((std::chrono::seconds::max() >= Duration{1s}));
    CHECK((Duration{1s} != 1001ms));
    CHECK((Duration{1s} <= Duration{1s}));
    CHECK((Duration{1s} == std::chrono::nanoseconds{1s}));
}

TEST_CASE("it goes wherever nanoseconds go", "[F95]") {
    const Duration second = 1s;
    const std::chrono::nanoseconds plain = second;
    CHECK((std::chrono::duration_cast<std::chrono::milliseconds>(second) == 1000ms));
    CHECK((std::chrono::steady_clock::time_point{} + second).time_since_epoch() == plain);
    Duration sum = second + 500ms;
    sum += 500ms;
    CHECK((sum == 2 * second));
    CHECK((second.count() == 1'000'000'000));
}

}  // namespace duration_test
