#include <tether/detail/base/binary.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace binary_test {

using namespace tether::detail;
using namespace std::string_literals;

TEST_CASE("numbers are little-endian, whatever the host is") {
    char bytes[8];
    store_le(bytes, std::uint64_t{0x0102030405060788});
    CHECK(std::string_view(bytes, 8) == "\x88\x07\x06\x05\x04\x03\x02\x01"s);
    CHECK(load_le<std::uint64_t>(bytes) == 0x0102030405060788u);
    CHECK(load_le<std::uint32_t>(bytes) == 0x05060788u);
    CHECK(load_le<std::uint16_t>(bytes) == 0x0788u);
    CHECK(load_le<std::uint8_t>(bytes) == 0x88u);
    store_le(bytes, ~std::uint64_t{0});
    CHECK(load_le<std::uint64_t>(bytes) == ~std::uint64_t{0});
    CHECK(load_le<std::uint16_t>(bytes) == 0xffffu);
}

TEST_CASE("what was written is read back") {
    std::string bytes = "before";
    BinaryWriter{bytes}
        .number(std::uint8_t{7})
        .text("text\0\xff"s)
        .number(std::uint64_t{1} << 63)
        .raw("raw")
        .text("");
    REQUIRE(bytes.substr(0, 6) == "before");
    BinaryReader in{std::string_view{bytes}.substr(6)};
    CHECK(in.number<std::uint8_t>() == 7u);
    CHECK(in.text() == "text\0\xff"s);
    CHECK(in.number<std::uint64_t>() == std::uint64_t{1} << 63);
    CHECK(in.raw(3) == "raw");
    CHECK_FALSE(in.at_end());
    CHECK(in.text().empty());
    CHECK(in.ok());
    CHECK(in.at_end());
}

TEST_CASE("after the first failure everything is empty") {
    BinaryReader in{
        "\xff\xff\xff\xff"
        "abcdefgh"};
    CHECK(in.text().empty());
    CHECK_FALSE(in.ok());
    CHECK_FALSE(in.at_end());
    CHECK(in.number<std::uint8_t>() == 0u);
    CHECK(in.raw(1).empty());
    CHECK(in.raw(0).empty());
    CHECK_FALSE(in.ok());

    BinaryReader empty{""};
    CHECK(empty.at_end());
    CHECK(empty.number<std::uint16_t>() == 0u);
    CHECK_FALSE(empty.ok());
}

}  // namespace binary_test
