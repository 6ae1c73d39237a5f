#include <tether/bytes.hpp>
#include <tether/detail/block_cache.hpp>

#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

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

TEST_CASE("copies are deep, moved-from bytes are empty") {
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

}  // namespace bytes_test
