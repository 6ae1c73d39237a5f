// Conversations of well-formed frames, with hostile ones among them, into a FrameReader. The input
// is a script, so that the fuzzer does not have to find sizes that add up.
//
// Holds, beside what frame_reader_fuzz does: the messages before the first hostile frame arrive as
// they were sent, however they are interleaved, continued and aborted; without a hostile frame
// there is no error.
//
// Input: u16 seed of the cuts, then the script, see conversation.hpp.

#include <cstddef>
#include <cstdint>

#include "fuzz/conversation.hpp"
#include "fuzz/support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using tether_fuzz::require;
    constexpr std::uint64_t limit = 0x18000;  // some messages are too long for the reader's buffer
    constexpr std::size_t longest_stream = std::size_t{512} * 1024;  // so that a run stays short

    tether_fuzz::ByteSource in{data, size};
    const auto seed = in.number<std::uint16_t>();
    tether_fuzz::Conversation sent{in};
    while (!in.empty() && sent.bytes.size() < longest_stream) sent.step();

    auto got = tether_fuzz::read_in_all_ways(sent.bytes, limit, seed);
    if (sent.sane) {
        require(got.error.empty(), "well-formed frames are no error");
        require(got.idle == sent.idle(), "the reader is idle between messages");
    }
    require(got.messages.size() >= sent.expected.size(), "all messages arrive");
    if (!sent.sane) got.messages.resize(sent.expected.size());
    require(got.messages == sent.expected, "messages arrive as they were sent");
    return 0;
}
