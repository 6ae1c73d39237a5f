#include <tether/detail/codec/dom_reader.hpp>
#include <tether/detail/codec/message_pack_reader.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/text.hpp"

namespace message_pack_reader_test {

using nlohmann::json;
using tether::detail::read_message_pack;
using namespace std::string_literals;

namespace {

std::string packed(const json& value) {
    std::string bytes;
    json::to_msgpack(value, nlohmann::detail::output_adapter<char>(bytes));
    return bytes;
}

template <class Read>
std::optional<json> result_of(Read read) {
    try {
        return read();
    } catch (const std::runtime_error&) {
        return std::nullopt;
    }
}

/// Whether this reader and nlohmann's take the same, and find the same in it.
bool agree(const std::string& bytes) {
    const auto ours = result_of([&] { return read_message_pack(bytes); });
    const auto theirs =
        result_of([&] { return tether::detail::read_dom(bytes, json::input_format_t::msgpack); });
    if (!ours || !theirs) return !ours && !theirs;
    return packed(*ours) == packed(*theirs) && ours->type() == theirs->type();
}

std::string error_of(const std::string& bytes) {
    try {
        read_message_pack(bytes);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "none";
}

}  // namespace

TEST_CASE("numbers come back at every width") {
    for (int bits = 0; bits < 64; ++bits) {
        const auto power = std::uint64_t{1} << bits;
        for (const auto value : {power - 1, power, power + 1}) {
            CHECK(read_message_pack(packed(value)) == json(value));
            const auto negative = -static_cast<std::int64_t>(value / 2) - 1;
            CHECK(read_message_pack(packed(negative)) == json(negative));
        }
    }
    for (const double value : {0.0, -0.5, 1e300, 3.4e38, std::numeric_limits<double>::infinity()}) {
        CHECK(read_message_pack(packed(value)) == json(value));
    }
    CHECK(read_message_pack("\xca\x3f\x80\x00\x00"s) == json(1.0));
}

TEST_CASE("strings, binary values and containers come back at every width of their length") {
    for (const unsigned size : {0U, 1U, 15U, 16U, 31U, 32U, 255U, 256U, 65535U, 65536U}) {
        const json text = std::string(size, '\xff');
        CHECK(read_message_pack(packed(text)) == text);
        CHECK(read_message_pack(packed({{std::string(size, 'k'), size}})) ==
              json({{std::string(size, 'k'), size}}));
        for (const auto& binary : {json::binary(std::vector<std::uint8_t>(size, 7)),
                                   json::binary(std::vector<std::uint8_t>(size, 7), 200)}) {
            CHECK(read_message_pack(packed(binary)) == binary);
        }
        const json array = std::vector<int>(size, -3);
        CHECK(read_message_pack(packed(array)) == array);
        json object = json::object();
        for (unsigned i = 0; i < size; ++i) object[std::to_string(i)] = nullptr;
        CHECK(read_message_pack(packed(object)) == object);
    }
}

TEST_CASE("an error says where it is and what", "[F13]") {
    using tether_test::contains;
    CHECK(error_of("\x01") == "none");
    CHECK(error_of("") == "the input ends too early at byte 0");
    CHECK(contains(error_of("\xc1"), "no known type"));
    CHECK(error_of("\x81\x01\x02") == "expected a string, found an integer at byte 1");
    CHECK(error_of("\x01\x02") == "more bytes after the value at byte 1");
    CHECK(contains(error_of("\xdb\xff\xff\xff\xff"), "ends too early"));
    CHECK(contains(error_of("\xc6\xff\xff\xff\xff"), "ends too early"));
    CHECK(contains(error_of("\xdd\xff\xff\xff\xff"), "ends too early"));
    CHECK(contains(error_of("\xdf\xff\xff\xff\xff"), "ends too early"));
    CHECK(contains(error_of(std::string(1'000'000, '\x91')), "nested"));
}

TEST_CASE("any bytes are taken as nlohmann takes them", "[F13]") {
    // What throws costs twenty times as much under a sanitizer.
    constexpr unsigned thinned = tether_test::instrumented ? 16 : 1;
    std::mt19937 random{20240601};
    const auto one_of = [&](unsigned count) { return static_cast<unsigned>(random() % count); };
    for (unsigned first = 0; first < 256; ++first) {
        for (int attempt = 0; attempt < 200 / static_cast<int>(thinned); ++attempt) {
            std::string bytes(1, static_cast<char>(first));
            const auto size = one_of(24);
            for (unsigned i = 0; i < size; ++i) {
                // Mostly short lengths, so that something comes of it.
                bytes += static_cast<char>(one_of(4) == 0 ? one_of(256) : one_of(5));
            }
            CAPTURE(bytes);
            REQUIRE(agree(bytes));
        }
    }
    const auto document = packed(json::parse(
        R"({"a": [1, -2, 2.5, null, true, "x", {}, []], "b": {"c": [[-70000]], "c": "twice"}})"));
    for (std::size_t at = 0; at < document.size(); ++at) {
        for (unsigned value = 0; value < 256; value += thinned) {
            auto changed = document;
            changed[at] = static_cast<char>(value);
            REQUIRE(agree(changed));
        }
        REQUIRE(agree(document.substr(0, at)));
    }
}

}  // namespace message_pack_reader_test
