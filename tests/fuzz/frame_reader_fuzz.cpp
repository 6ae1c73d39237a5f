// Any bytes into a FrameReader.
//
// Holds: it never crashes; no allocation, no place to receive into, and no message is larger than
// the limit (and a constant) allows; FramingError is the only exception; and the same bytes give
// the same messages and the same error wherever they are cut.
//
// Input: u16 limit, u16 seed of the cuts, then the stream.

#include <cstddef>
#include <cstdint>

#include "fuzz/support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    tether_fuzz::ByteSource in{data, size};
    const auto limit = in.number<std::uint16_t>();
    const auto seed = in.number<std::uint16_t>();
    tether_fuzz::read_in_all_ways(in.rest(), limit, seed);
    return 0;
}
