#include <tether/detail/wire/frame.hpp>

#include <cstdint>
#include <string>

#include "support/catch.hpp"
#include "support/wire.hpp"

namespace frame_test {

namespace {

using namespace tether::detail;
using namespace tether_test;
using namespace std::string_literals;

}  // namespace

TEST_CASE("the layout of a frame is what docs/wire-protocol.md says") {
    const Message message{FrameType::request, 0x0102,  0x1112131415161718, "pay",
                          {"blob"},           {0x2122}};
    const auto expected =
        "\x27\x00\x00\x00\x03\x00\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11"  // header
        "\x03\x00\x00\x00\x00\x00\x00\x00\x22\x21\x00\x00\x00\x00\x00\x00"  // head: sizes
        "\x01\x00\x00\x00\x00\x00\x00\x00"                                  // one blob
        "\x04\x00\x00\x00\x00\x00\x00\x00"                                  // its size
        "payblob"s;
    CHECK(encoded(message) == expected);

    const auto loaded = FrameHeader::load(expected.data());
    CHECK(loaded.body == 39u);
    CHECK(loaded.type == FrameType::request);
    CHECK(loaded.message == 0x0102);
    CHECK(loaded.number == 0x1112131415161718u);
}

TEST_CASE("headers are read as they were written") {
    char bytes[MessageHead::size];
    FrameHeader{1 << 20, FrameType::abort, 0xff, 0xfffe, ~std::uint64_t{0}}.store(bytes);
    const auto header = FrameHeader::load(bytes);
    CHECK(header.body == 1u << 20);
    CHECK(header.type == FrameType::abort);
    CHECK(header.flags == 0xff);
    CHECK(header.message == 0xfffe);
    CHECK(header.number == ~std::uint64_t{0});

    MessageHead{std::uint64_t{1} << 60, {12, 56}, 34}.store(bytes);
    const auto head = MessageHead::load(bytes);
    CHECK(head.payload == std::uint64_t{1} << 60);
    CHECK(head.timeouts.call_us == 12u);
    CHECK(head.timeouts.run_ms == 56u);
    CHECK(head.blobs == 34u);
}

}  // namespace frame_test
