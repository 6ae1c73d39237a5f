#include <tether/bytes.hpp>
#include <tether/detail/base/block_cache.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/resource.h>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace bytes_test {

using tether::Bytes;
using tether::detail::BlockCache;

static_assert(std::is_nothrow_default_constructible_v<Bytes>);
static_assert(std::is_copy_constructible_v<Bytes>);
static_assert(!std::is_nothrow_copy_constructible_v<Bytes>);
static_assert(std::is_nothrow_move_constructible_v<Bytes>);
static_assert(std::is_nothrow_move_assignable_v<Bytes>);
static_assert(std::is_copy_assignable_v<Bytes>);
static_assert(std::is_nothrow_destructible_v<Bytes>);
static_assert(std::is_nothrow_swappable_v<Bytes>);
static_assert(std::equality_comparable<Bytes>);
static_assert(!std::is_convertible_v<std::size_t, Bytes>);
static_assert(!std::is_convertible_v<std::string_view, Bytes>);
static_assert(noexcept(std::declval<const Bytes&>().data()));
static_assert(noexcept(std::declval<const Bytes&>().begin()));
static_assert(noexcept(std::declval<const Bytes&>()[0]));
static_assert(noexcept(std::declval<Bytes&>().view()));
static_assert(noexcept(std::declval<Bytes&>().clear()));
static_assert(!noexcept(std::declval<Bytes&>().data()));  // each may have to copy
static_assert(!noexcept(std::declval<Bytes&>().begin()));
static_assert(!noexcept(std::declval<Bytes&>().end()));
static_assert(!noexcept(std::declval<Bytes&>()[0]));
static_assert(sizeof(Bytes) == 2 * sizeof(void*));

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

/// Where the bytes are, without access that could be written through.
const std::byte* where_is(const Bytes& bytes) { return bytes.data(); }

TEST_CASE("bytes start empty") {
    const Bytes bytes;
    CHECK(bytes.empty());
    CHECK(bytes.size() == 0u);
    CHECK(bytes.capacity() == 0u);
    CHECK(bytes.view().empty());
    CHECK(bytes.begin() == bytes.end());
    CHECK(bytes == Bytes{std::string_view{}});
    CHECK(Bytes{std::size_t{0}}.empty());
}

TEST_CASE("bytes copy what they are made from") {
    std::string text{"a\0b\xff", 4};
    const Bytes from_text{std::string_view{text}};
    std::vector<std::byte> raw{std::byte{1}, std::byte{0}, std::byte{255}};
    const Bytes from_span{std::span<const std::byte>{raw}};
    text = "gone";
    raw[0] = std::byte{9};
    CHECK(from_text.view() == std::string_view{"a\0b\xff", 4});
    CHECK(from_span[0] == std::byte{1});
    CHECK(from_span[2] == std::byte{255});
    CHECK(from_span.size() == 3u);
    CHECK_FALSE(from_span == from_text);
}

TEST_CASE("copies are values of their own, moved-from bytes are empty") {
    Bytes first{std::string_view{"first"}};
    Bytes copy = first;
    copy[0] = std::byte{'F'};
    CHECK(first.view() == "first");
    CHECK(copy.view() == "First");

    const auto* where = first.data();
    Bytes moved = std::move(first);
    CHECK(moved.data() == where);
    CHECK(first.empty());  // NOLINT(bugprone-use-after-move): it is specified
    CHECK(first.data() == nullptr);

    first = moved;
    CHECK(first == moved);
    first = std::move(copy);
    CHECK(first.view() == "First");
    auto& alias = first;
    first = alias;
    CHECK(first.view() == "First");
    first.swap(moved);
    CHECK(moved.view() == "First");
    CHECK(first.view() == "first");
}

TEST_CASE("a copy shares the storage until one of the two is written to") {
    Bytes first{std::string_view{"first"}};
    Bytes copy = first;
    const Bytes third = copy;
    const auto* where = where_is(first);
    CHECK(where_is(copy) == where);
    CHECK(where_is(third) == where);

    first[0] = std::byte{'F'};
    CHECK(where_is(first) != where);
    *copy.begin() = std::byte{'c'};
    CHECK(where_is(copy) != where);
    CHECK(first.view() == "First");
    CHECK(copy.view() == "cirst");
    CHECK(third.view() == "first");
    CHECK(where_is(third) == where);
}

TEST_CASE("each access to write through gives a copy storage of its own") {
    const Bytes original{std::string_view{"0123"}};
    const auto* where = where_is(original);
    Bytes by_data = original;
    Bytes by_begin = original;
    Bytes by_end = original;
    Bytes by_index = original;
    *by_data.data() = std::byte{'x'};
    *by_begin.begin() = std::byte{'x'};
    *(by_end.end() - 4) = std::byte{'x'};
    by_index[0] = std::byte{'x'};
    for (const auto* copy : {&by_data, &by_begin, &by_end, &by_index}) {
        CHECK(where_is(*copy) != where);
        CHECK(copy->view() == "x123");
    }
    CHECK(original.view() == "0123");
}

TEST_CASE("the last owner of shared storage writes in place") {
    Bytes last{std::string_view{"0123"}};
    const auto* where = where_is(last);
    {
        const Bytes other = last;
        CHECK(where_is(other) == where);
    }
    last[0] = std::byte{'x'};
    CHECK(where_is(last) == where);
}

TEST_CASE("storage that somebody may still write to is not shared") {
    for (const auto access : {0, 1, 2, 3}) {
        Bytes written{std::string_view{"0123"}};
        std::byte* at = access == 0   ? written.data()
                        : access == 1 ? written.begin()
                        : access == 2 ? written.end() - 4
                                      : &written[0];
        const Bytes copy = written;
        *at = std::byte{'x'};
        CHECK(written.view() == "x123");
        CHECK(copy.view() == "0123");

        const Bytes moved = std::move(written);  // the pointer stays valid
        const Bytes copy_of_moved = moved;
        *at = std::byte{'y'};
        CHECK(moved.view() == "y123");
        CHECK(copy_of_moved.view() == "x123");

        const Bytes copy_of_copy = copy;
        CHECK(where_is(copy_of_copy) == where_is(copy));
    }
}

TEST_CASE("new storage may be shared again") {
    Bytes bytes{std::string_view{"0123"}};
    bytes[0] = std::byte{'x'};
    bytes.append(bytes_of(std::string(1000, 'a')));
    const Bytes copy = bytes;
    CHECK(where_is(copy) == where_is(bytes));
}

TEST_CASE("what changes one copy is not seen by another") {
    const Bytes original{std::string_view{"0123456789"}};
    const auto* where = where_is(original);

    Bytes shorter = original;
    shorter.resize(4);
    CHECK(where_is(shorter) == where);  // nothing was copied
    shorter.append(bytes_of("x"));
    CHECK(shorter.view() == "0123x");

    Bytes cleared = original;
    cleared.clear();
    CHECK(cleared.empty());
    CHECK(where_is(cleared) == where);
    CHECK(Bytes{cleared}.capacity() == 0u);
    cleared.append(bytes_of("y"));
    CHECK(cleared.view() == "y");

    Bytes regrown = original;
    regrown.resize(2);
    regrown.resize(10);
    regrown[9] = std::byte{'z'};
    CHECK(regrown.view().substr(0, 2) == "01");

    Bytes longer = original;
    longer.resize(100'000);
    CHECK(longer.view().substr(0, 10) == "0123456789");
    longer[0] = std::byte{'w'};

    Bytes reserved = original;
    reserved.reserve(1);
    CHECK(where_is(reserved) != where);
    CHECK(reserved.view() == "0123456789");

    CHECK(original.view() == "0123456789");
    CHECK(where_is(original) == where);
}

TEST_CASE("appending to a copy within its capacity does not reach the others") {
    Bytes first{std::string_view{"01"}};
    first.reserve(100);
    Bytes second = first;
    CHECK(where_is(second) == where_is(first));
    first.append(bytes_of("a"));
    second.append(bytes_of("b"));
    CHECK(first.view() == "01a");
    CHECK(second.view() == "01b");
}

TEST_CASE("shared storage can be swapped, moved and assigned") {
    Bytes first{std::string_view{"first"}};
    Bytes second = first;
    const auto* where = where_is(first);
    first.swap(second);
    CHECK(where_is(first) == where);
    auto& alias = first;
    first = alias;
    CHECK(where_is(first) == where);
    Bytes third = std::move(first);
    CHECK(where_is(third) == where);
    CHECK(first.empty());  // NOLINT(bugprone-use-after-move): it is specified
    second = Bytes{std::string_view{"else"}};
    third[0] = std::byte{'F'};  // alone by now
    CHECK(where_is(third) == where);
    CHECK(third.view() == "First");
    CHECK(second.view() == "else");
}

TEST_CASE("copies in several threads share storage without a race") {
    const Bytes original{std::string(100, 'a')};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&original, mine = original, i]() mutable {
            for (int round = 0; round < 2000; ++round) {
                Bytes from_original = original;
                Bytes from_mine = mine;
                from_mine[50] = static_cast<std::byte>(i);
                from_original.append(from_mine);
                if (from_original[150] != static_cast<std::byte>(i)) std::abort();
                if (round == 1000) mine[0] = std::byte{'b'};
                mine = std::move(from_original);
                mine.resize(100);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(original.view() == std::string(100, 'a'));
}

TEST_CASE("the last of several threads that let go frees the storage or writes to it") {
    for (int round = 0; round < 300; ++round) {
        Bytes first{std::string(100, 'a')};
        std::thread other{[second = first]() mutable {
            if (second.view().back() != 'a') std::abort();
            second[99] = std::byte{'b'};
        }};
        first[99] = std::byte{'c'};  // in place, if the other one is done
        other.join();
        CHECK(first.view().back() == 'c');
    }
}

TEST_CASE("resizing keeps the first bytes, and the storage when it shrinks") {
    Bytes bytes{std::string_view{"0123456789"}};
    const auto* where = bytes.data();
    bytes.resize(4);
    CHECK(bytes.view() == "0123");
    CHECK(bytes.data() == where);
    bytes.resize(10);
    CHECK(bytes.data() == where);
    bytes.resize(100'000);
    CHECK(bytes.view().substr(0, 4) == "0123");
    bytes.clear();
    CHECK(bytes.empty());
    CHECK(bytes.capacity() >= 100'000u);
    bytes.reserve(300'000);
    CHECK(bytes.empty());
    CHECK(bytes.capacity() >= 300'000u);
}

TEST_CASE("appending many pieces allocates seldom") {
    Bytes bytes;
    std::string expected;
    std::size_t moves = 0;
    const std::byte* where = nullptr;
    for (int i = 0; i < 5000; ++i) {
        const auto piece = std::to_string(i);
        bytes.append(std::as_bytes(std::span{piece}));
        expected += piece;
        if (bytes.data() != where) ++moves;
        where = bytes.data();
    }
    bytes.append({});
    CHECK((bytes.view() == expected));
    CHECK(moves < 60u);
}

#if !defined(TETHER_TEST_SANITIZED)
TEST_CASE("an allocation that cannot be had throws and changes nothing") {
    Bytes bytes{std::string_view{"kept"}};
    const auto too_much = std::size_t(-1) / 4;
    CHECK_THROWS_AS(bytes.reserve(too_much), std::bad_alloc);
    CHECK_THROWS_AS(bytes.resize(too_much), std::bad_alloc);
    CHECK_THROWS_AS(Bytes{std::size_t(-1)}, std::bad_alloc);
    CHECK(bytes.view() == "kept");

    const Bytes copy = bytes;  // shared
    CHECK_THROWS_AS(bytes.reserve(too_much), std::bad_alloc);
    CHECK_THROWS_AS(bytes.resize(too_much), std::bad_alloc);
    CHECK(bytes.view() == "kept");
    CHECK(where_is(bytes) == where_is(copy));
}

TEST_CASE("a copy that cannot be had throws at the first access to write through") {
    Bytes large{std::size_t{1} << 30};  // never touched
    Bytes copy = large;
    ::rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
    auto limited = before;
    limited.rlim_cur = 1 << 20;  // nothing further can be mapped
    int failures = 0;
    const auto attempt = [&](auto access) {
        try {
            access();
        } catch (const std::bad_alloc&) {
            ++failures;
        }
    };
    REQUIRE(::setrlimit(RLIMIT_AS, &limited) == 0);
    attempt([&] { *copy.data() = {}; });
    attempt([&] { *copy.begin() = {}; });
    attempt([&] { *(copy.end() - 1) = {}; });
    attempt([&] { copy[0] = {}; });
    attempt([&] { copy.append(bytes_of("x")); });
    attempt([&] { copy.reserve(1); });
    REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);
    CHECK(failures == 6);
    CHECK(copy.size() == large.size());
    CHECK(where_is(copy) == where_is(large));
}
#endif

TEST_CASE("large storage is recycled, but not wasted on small requests") {
    auto& cache = BlockCache::instance();
    cache.trim();
    const auto size = BlockCache::smallest * 5;
    const std::byte* where = nullptr;
    {
        const Bytes bytes{size};
        where = bytes.data();
    }
    {
        const Bytes small{BlockCache::smallest};  // more than four times would be wasted
        CHECK(small.data() != where);
        const Bytes again{size - 1000};
        CHECK(again.data() == where);
        CHECK(again.capacity() >= size);
        const Bytes other{size};
        CHECK(other.data() != where);
    }
    cache.trim();
}

TEST_CASE("shared storage is recycled when its last owner lets go") {
    auto& cache = BlockCache::instance();
    cache.trim();
    const std::byte* where = nullptr;
    {
        Bytes first{BlockCache::smallest};
        where = where_is(first);
        const Bytes second = first;
        first = Bytes{};
        const Bytes other{BlockCache::smallest};
        CHECK(where_is(other) != where);
        CHECK(where_is(second) == where);
    }
    const Bytes again{BlockCache::smallest};
    const Bytes another{BlockCache::smallest};
    CHECK((where_is(again) == where || where_is(another) == where));
    const Bytes copy = again;  // nothing is left of former owners
    CHECK(where_is(copy) == where_is(again));
    cache.trim();
}

TEST_CASE("recycled storage may be shared though its former owner wrote to it") {
    auto& cache = BlockCache::instance();
    cache.trim();
    const std::byte* where = nullptr;
    {
        Bytes written{BlockCache::smallest};
        where = written.data();
    }
    const Bytes again{BlockCache::smallest};
    CHECK(where_is(again) == where);
    const Bytes copy = again;
    CHECK(where_is(copy) == where);
    cache.trim();
}

TEST_CASE("storage is aligned, large storage to cache lines") {
    const auto misaligned = [](std::size_t size, std::size_t alignment) {
        const Bytes bytes{size};
        return reinterpret_cast<std::uintptr_t>(where_is(bytes)) % alignment;
    };
    for (const auto size : {1u, 64u, 1000u, 100'000u}) CHECK(misaligned(size, 16) == 0u);
    // Around each size from which on storage is made in another way.
    for (const std::size_t size : {std::size_t{1} << 20, std::size_t{32} << 20}) {
        for (const std::size_t more :
             {std::size_t(-1), std::size_t{0}, std::size_t{1}, std::size_t{100'000}}) {
            CHECK(misaligned(size + more, size + more < BlockCache::smallest ? 16 : 64) == 0u);
        }
    }
}

TEST_CASE("a large block holds all its bytes") {
    auto& cache = BlockCache::instance();
    for (const std::size_t mebibytes : {32u, 33u, 64u}) {
        cache.trim();
        Bytes bytes{mebibytes << 20};
        CHECK(bytes.capacity() < (mebibytes + 3) << 20);
        bytes.resize(bytes.capacity());
        bytes[0] = std::byte{'a'};
        bytes[bytes.size() - 1] = std::byte{'z'};
        CHECK(bytes.view().front() == 'a');
        CHECK(bytes.view().back() == 'z');
    }
    cache.trim();
}

TEST_CASE("the cache is bounded") {
    auto& cache = BlockCache::instance();
    cache.trim();
    {
        std::vector<Bytes> many;
        for (int i = 0; i < 40; ++i) many.emplace_back(BlockCache::smallest);
    }
    // At most eight blocks were kept; all of them are found again, then fresh ones are made.
    std::vector<Bytes> again;
    for (int i = 0; i < 40; ++i) {
        again.emplace_back(BlockCache::smallest);
        std::memset(again.back().data(), i, again.back().size());
    }
    for (int i = 0; i < 40; ++i) {
        CHECK(again[static_cast<std::size_t>(i)][BlockCache::smallest - 1] ==
              static_cast<std::byte>(i));
    }
    again.clear();
    cache.trim();
}

int reminders = 0;

TEST_CASE("the memory of a kept block is given back when it was not used for a while", "[F106]") {
    auto& cache = BlockCache::instance();
    cache.trim();
    reminders = 0;
    cache.set_reminder([]() noexcept {
        ++reminders;
        return true;
    });
    constexpr auto size = BlockCache::smallest * 4;
    const auto use = [&](bool expected_zero) {
        Bytes bytes{size};
        const std::byte seen = std::as_const(bytes)[size / 2];
        if (expected_zero) CHECK(seen == std::byte{0});
        std::memset(bytes.data(), 7, size);
        return seen;
    };
    use(false);
    use(false);
    CHECK(reminders == 1);
    CHECK(cache.give_back());  // fresh: once more
    CHECK(use(false) == std::byte{7});
    CHECK(cache.give_back());  // used since
    CHECK_FALSE(cache.give_back());
    CHECK(reminders == 1);
#if defined(__linux__)
    use(true);
#else
    use(false);
#endif
    CHECK(reminders == 2);
    CHECK(cache.give_back());
    CHECK_FALSE(cache.give_back());
    CHECK_FALSE(cache.give_back());

    // One that cannot remind is asked each time.
    cache.set_reminder([]() noexcept {
        ++reminders;
        return false;
    });
    use(false);
    use(false);
    CHECK(reminders == 4);
    cache.set_reminder(nullptr);
    cache.trim();
}

}  // namespace bytes_test
