#pragma once

#include <tether/direct_codec.hpp>
#include <tether/protocol.hpp>

#include <cstdint>
#include <string>
#include <string_view>

struct Counts {
    std::uint64_t lines{};
    std::uint64_t words{};
};
TETHER_DEFINE_MESSAGE(Counts, lines, words)

/// Counts the lines and words of a file, as the worker finds it.
struct Count {
    static constexpr std::string_view name = "count";
    using Response = Counts;
    std::string file{};
};
TETHER_DEFINE_MESSAGE(Count, file)

/// The contract of the two programs. Change `version` when the meaning of a message changes: a
/// parent and a worker of different versions refuse each other with `errc::protocol_mismatch`.
struct CountProtocol {
    static constexpr std::string_view name = "example.count";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Count>;
    using Codec = tether::DirectCodec;
};
