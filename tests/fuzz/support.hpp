#pragma once

// What the fuzz targets share: values taken off the input, invariants, a watch over the heap, and
// a FrameReader that is fed in several ways.

#include <tether/detail/wire/frame_reader.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sanitizer/allocator_interface.h>

#include "support/wire.hpp"

namespace tether_fuzz {

/// Ends the process where an invariant does not hold; libFuzzer then keeps the input.
inline void require(bool holds, const char* invariant) {
    if (holds) return;
    std::fprintf(stderr, "broken invariant: %s\n", invariant);
    std::abort();
}

/// Takes values off the front of the input. When it is used up: zeros and empty texts.
class ByteSource {
public:
    ByteSource(const std::uint8_t* data, std::size_t size) noexcept
        : left_(size == 0 ? std::string_view{}
                          : std::string_view{reinterpret_cast<const char*>(data), size}) {}

    [[nodiscard]] bool empty() const noexcept { return left_.empty(); }

    std::string_view text(std::size_t size) noexcept {
        const auto taken = left_.substr(0, size);
        left_.remove_prefix(taken.size());
        return taken;
    }
    std::string_view rest() noexcept { return text(left_.size()); }

    template <std::unsigned_integral Integer>
    Integer number() noexcept {
        std::array<char, sizeof(Integer)> bytes{};
        text(bytes.size()).copy(bytes.data(), bytes.size());
        return tether::detail::load_le<Integer>(bytes.data());
    }
    std::uint8_t byte() noexcept { return number<std::uint8_t>(); }

    /// Small ones and those at which arithmetic goes wrong.
    std::uint64_t hostile_number() noexcept {
        static constexpr std::array<std::uint64_t, 8> edges{
            0xffff, 0x10000,   0x100000, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff,
            ~0ULL,  1ULL << 63};
        const auto choice = byte();
        if (choice < 192) return choice % 64;
        return edges[choice % edges.size()] - byte();
    }

private:
    std::string_view left_;
};

/// Where it ends, no block larger than `most` has been taken from the heap since it began.
class HeapWatch {
public:
    explicit HeapWatch(std::size_t most) noexcept : most_(most) {
        [[maybe_unused]] static const int installed = __sanitizer_install_malloc_and_free_hooks(
            [](const volatile void*, std::size_t size) {
                if (size > largest) largest = size;
            },
            [](const volatile void*) {});
        largest = 0;
    }
    HeapWatch(const HeapWatch&) = delete;
    HeapWatch& operator=(const HeapWatch&) = delete;
    ~HeapWatch() { require(largest <= most_, "no allocation is larger than the limit allows"); }

private:
    // Atomic since libFuzzer has a thread of its own.
    inline static std::atomic<std::size_t> largest{0};
    std::size_t most_;
};

/// What a FrameReader made of a stream.
struct Reading {
    std::vector<tether_test::Message> messages{};
    std::string error{};  // without the bytes that happened to have arrived
    bool idle = false;
    std::uint64_t oldest_open = 0;

    friend bool operator==(const Reading&, const Reading&) = default;
};

/// Gives the reader as much of `part` as it has room for; returns how much that was.
inline std::size_t hand_over(tether::detail::FrameReader& reader, std::string_view part,
                             std::uint64_t limit) {
    const auto space = reader.space();
    require(space[0].size <= limit, "no more is received in place than a message may have");
    require(space[1].size != 0, "there is room for more");
    std::size_t taken = 0;
    for (const auto& target : space) {
        const auto size = std::min(target.size, part.size() - taken);
        if (size != 0) std::memcpy(target.data, part.data() + taken, size);
        taken += size;
    }
    reader.received(taken);
    return taken;
}

/// Reads `bytes` in pieces of what `next_size()` returns.
template <class NextSize>
Reading read(std::string_view bytes, std::uint64_t limit, NextSize next_size) {
    // The reader's own: 4096 empty blobs, twice while a vector grows, and its table of messages.
    constexpr std::size_t constant = std::size_t{256} * 1024;
    tether::detail::FrameReader reader{limit};
    Reading result;
    const auto next = [&] {
        const HeapWatch watch{static_cast<std::size_t>(limit) + constant};
        return reader.next();
    };
    try {
        while (!bytes.empty()) {
            bytes.remove_prefix(hand_over(reader, bytes.substr(0, next_size()), limit));
            while (const auto message = next()) {
                const auto& copy = result.messages.emplace_back(tether_test::copy_of(*message));
                std::uint64_t content = copy.payload.size();
                for (const auto& blob : copy.blobs) content += blob.size();
                require(content <= limit, "no message is larger than the limit");
                // As a session does: what is large is not copied.
                if (message->storage != nullptr) auto taken = std::move(*message->storage);
            }
        }
        result.idle = reader.idle();
        result.oldest_open = reader.oldest_open(~std::uint64_t{0});
    } catch (const tether::detail::FramingError& error) {
        const std::string_view text{error.what()};
        result.error = text.substr(0, text.rfind(':'));
    }
    return result;
}

/// Reads `bytes` whole, in pieces of sizes that follow from `seed`, and byte by byte: the same must
/// come out.
inline Reading read_in_all_ways(std::string_view bytes, std::uint64_t limit, unsigned seed) {
    constexpr std::size_t byte_by_byte_up_to = 2048;  // so that long inputs stay fast
    auto whole = read(bytes, limit, [] { return std::size_t(-1); });
    std::minstd_rand random{seed + 1};
    const auto pieces = read(bytes, limit, [&] {
        const auto most = std::size_t{1} << random() % 16;  // of every magnitude equally many
        return 1 + random() % most;
    });
    require(pieces == whole, "where a stream is cut makes no difference");
    if (bytes.size() <= byte_by_byte_up_to) {
        const auto single = read(bytes, limit, [] { return std::size_t{1}; });
        require(single == whole, "a stream may come byte by byte");
    }
    return whole;
}

}  // namespace tether_fuzz
