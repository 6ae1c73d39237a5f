#include <tether/codec.hpp>
#include <tether/detail/codec/payload.hpp>

#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"

namespace codec_test {

namespace {

using tether::Bytes;
using namespace tether::detail;
using namespace std::string_literals;

struct Inner {
    int number{};
    Bytes blob{};
    friend bool operator==(const Inner&, const Inner&) = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Inner, number, blob)

struct Everything {
    bool yes{};
    std::int64_t small{};
    std::uint64_t large{};
    double real{};
    std::string text{};
    std::vector<std::string> list{};
    std::map<std::string, int> table{};
    Bytes blob{};
    std::vector<Inner> inner{};
    std::map<std::string, Bytes> blobs{};
    friend bool operator==(const Everything&, const Everything&) = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Everything, yes, small, large, real, text, list, table, blob,
                                   inner, blobs)

Everything everything() {
    return {.yes = true,
            .small = std::numeric_limits<std::int64_t>::min(),
            .large = std::numeric_limits<std::uint64_t>::max(),
            .real = 0.1,
            .text = "\xe4\xb8\xad\xe6\x96\x87 \"quoted\"\n",
            .list = {"", "one", "two"},
            .table = {{"a", -1}, {"b", 300}},
            .blob = Bytes{std::string_view{"\0\xff raw"s}},
            .inner = {{1, Bytes{std::string_view{"first"}}}, {2, Bytes{}}},
            .blobs = {{"k", Bytes{std::string_view{"in a map"}}}}};
}

struct Empty {};

/// A codec of a user's own, with a type that no other codec knows.
struct Celsius {
    int degrees{};
};
struct PlainCodec {
    static constexpr std::string_view name = "plain";
    template <class T>
    static void encode(const T& value, std::string& out) {
        if constexpr (std::is_same_v<T, Celsius>) {
            out += std::to_string(value.degrees) + "C";
        } else {
            out += std::to_string(value);
        }
    }
    template <class T>
    static T decode(std::string_view in) {
        if constexpr (std::is_same_v<T, Celsius>) {
            if (in.empty() || in.back() != 'C') throw std::runtime_error("no degrees");
            return {std::stoi(std::string{in})};
        } else {
            return static_cast<T>(std::stoi(std::string{in}));
        }
    }
};

struct NoName {
    template <class T>
    static void encode(const T&, std::string&);
    template <class T>
    static T decode(std::string_view);
};
struct NoDecode {
    static constexpr std::string_view name = "half";
    template <class T>
    static void encode(const T&, std::string&);
};

static_assert(tether::Codec<tether::MessagePackCodec>);
static_assert(tether::Codec<tether::JsonCodec>);
static_assert(tether::Codec<tether::CborCodec>);
static_assert(tether::Codec<PlainCodec>);
static_assert(!tether::Codec<NoName>);
static_assert(!tether::Codec<NoDecode>);
static_assert(!tether::Codec<int>);

template <class C, class T>
T round_trip(const T& value, std::size_t expected_blobs = 0) {
    std::string payload = "kept:";
    std::vector<const Bytes*> pointers;
    encode_payload<C>(value, payload, pointers);
    REQUIRE(payload.substr(0, 5) == "kept:");
    CHECK(pointers.size() == expected_blobs);
    std::vector<Bytes> blobs;
    for (const auto* pointer : pointers) blobs.push_back(*pointer);
    return decode_payload<C, T>(std::string_view{payload}.substr(5), blobs);
}

}  // namespace

TEMPLATE_TEST_CASE("a codec returns what it was given", "", tether::MessagePackCodec,
                   tether::JsonCodec, tether::CborCodec) {
    CHECK(round_trip<TestType>(everything(), 4) == everything());
    CHECK(round_trip<TestType>(Everything{}, 1) == Everything{});
    CHECK(round_trip<TestType>(42) == 42);
    CHECK(round_trip<TestType>("text"s) == "text");
    CHECK(round_trip<TestType>(std::vector<bool>{true, false}) == std::vector<bool>{true, false});
    CHECK(round_trip<TestType>(std::string(100'000, 'x')) == std::string(100'000, 'x'));
    CHECK(round_trip<TestType>(nlohmann::json{{"any", {1, nullptr, "thing"}}}) ==
          nlohmann::json{{"any", {1, nullptr, "thing"}}});
}

TEMPLATE_TEST_CASE("binary codecs carry any bytes in strings", "[F11]", tether::MessagePackCodec,
                   tether::CborCodec) {
    std::string all(256, '\0');
    std::iota(all.begin(), all.end(), '\0');
    CHECK((round_trip<TestType>(all) == all));
    CHECK((round_trip<TestType>("/tmp/na\xefve"s) == "/tmp/na\xefve"s));
}

TEST_CASE("JSON refuses strings that are not UTF-8", "[F17]") {
    std::string out;
    CHECK_THROWS_AS(tether::JsonCodec::encode("\xff"s, out), std::exception);
    CHECK((round_trip<tether::JsonCodec>("\xe4\xb8\xad"s) == "\xe4\xb8\xad"s));
}

TEMPLATE_TEST_CASE("truncated, prolonged and foreign payloads are refused", "",
                   tether::MessagePackCodec, tether::JsonCodec, tether::CborCodec) {
    std::string payload;
    std::vector<const Bytes*> pointers;
    Inner value{7, Bytes{std::string_view{"blob"}}};
    encode_payload<TestType>(value, payload, pointers);
    const auto decode = [&](std::string_view bytes) {
        std::vector<Bytes> blobs{value.blob};
        return decode_payload<TestType, Inner>(bytes, blobs);
    };
    CHECK(decode(payload) == value);
    for (std::size_t size = 0; size < payload.size(); ++size) {
        CHECK_THROWS_AS(decode(std::string_view{payload}.substr(0, size)), std::exception);
    }
    CHECK_THROWS_AS(decode(payload + payload), std::exception);
    CHECK_THROWS_AS(decode("\xc1 nonsense"), std::exception);
    std::string other;
    TestType::encode("a string"s, other);
    CHECK_THROWS_AS(decode(other), std::exception);
}

TEST_CASE("bytes as a whole message need no codec at all") {
    const Bytes sent{std::string_view{"\0\x01 blob"s}};
    std::string payload;
    std::vector<const Bytes*> pointers;
    encode_payload<PlainCodec>(sent, payload, pointers);
    CHECK(payload.empty());
    REQUIRE(pointers.size() == 1);
    CHECK(pointers[0] == &sent);  // sent from where it is

    std::vector<Bytes> blobs{sent};
    const auto* where = blobs[0].data();
    const auto received = decode_payload<PlainCodec, Bytes>("", blobs);
    CHECK(received == sent);
    CHECK(received.data() == where);  // and received into its own storage

    CHECK_THROWS(decode_payload<PlainCodec, Bytes>("", {}));
    std::vector<Bytes> two(2);
    CHECK_THROWS(decode_payload<PlainCodec, Bytes>("", two));
    CHECK_THROWS(decode_payload<PlainCodec, Bytes>("x", std::span{two}.first(1)));
}

TEST_CASE("bytes inside a message travel beside it") {
    const Inner sent{1, Bytes{std::string_view{std::string(50'000, 'b')}}};
    std::string payload;
    std::vector<const Bytes*> pointers;
    encode_payload<tether::MessagePackCodec>(sent, payload, pointers);
    CHECK(payload.size() < 50u);
    REQUIRE(pointers.size() == 1);
    CHECK(pointers[0] == &sent.blob);

    std::vector<Bytes> blobs{sent.blob};
    const auto* where = blobs[0].data();
    const auto received = decode_payload<tether::MessagePackCodec, Inner>(payload, blobs);
    CHECK(received.blob.data() == where);
}

TEST_CASE("a blob that is missing or named twice is an error") {
    using List = std::vector<Bytes>;
    const auto decode = [](const std::string& json, std::size_t count) {
        std::vector<Bytes> blobs(count, Bytes{std::string_view{"b"}});
        return decode_payload<tether::JsonCodec, List>(json, blobs);
    };
    CHECK(decode("[1,0]", 2).size() == 2u);
    CHECK(decode("[]", 2).empty());
    CHECK_THROWS(decode("[2]", 2));
    CHECK_THROWS(decode("[0,0]", 2));
    CHECK_THROWS(decode("[0]", 0));
    CHECK_THROWS(decode("[-1]", 2));
    CHECK_THROWS(decode("[18446744073709551615]", 2));
    CHECK_THROWS(decode("[\"0\"]", 2));
}

TEST_CASE("outside a message bytes become a binary value") {
    const Inner sent{1, Bytes{std::string_view{"\0\xff"s}}};
    const nlohmann::json json = sent;
    REQUIRE(json["blob"].is_binary());
    CHECK(json.get<Inner>() == sent);
    CHECK(nlohmann::json::from_msgpack(nlohmann::json::to_msgpack(json)).get<Inner>() == sent);
    CHECK_THROWS(nlohmann::json{{"number", 1}, {"blob", 0}}.get<Inner>());
    const nlohmann::ordered_json ordered = Bytes{std::string_view{"o"}};
    CHECK(ordered.get<Bytes>().view() == "o");
}

TEST_CASE("types without members need no codec and no payload") {
    std::string payload;
    std::vector<const Bytes*> pointers;
    encode_payload<PlainCodec>(Empty{}, payload, pointers);
    CHECK(payload.empty());
    CHECK(pointers.empty());
    CHECK_NOTHROW(decode_payload<PlainCodec, Empty>("", {}));
    CHECK_THROWS(decode_payload<PlainCodec, Empty>("x", {}));
}

TEST_CASE("a codec of one's own") {
    CHECK(round_trip<PlainCodec>(Celsius{-40}).degrees == -40);
    CHECK_THROWS(decode_payload<PlainCodec, Celsius>("40F", {}));
}

namespace {

/// Its to_json encodes a message of its own: the scopes must not mix.
struct Nested {
    Bytes blob{};
};
void to_json(nlohmann::json& json, const Nested& value) {
    std::string payload;
    std::vector<const Bytes*> pointers;
    encode_payload<tether::JsonCodec>(Inner{5, Bytes{std::string_view{"inside"}}}, payload,
                                      pointers);
    json = {{"own", payload}, {"count", pointers.size()}, {"blob", value.blob}};
}
void from_json(const nlohmann::json& json, Nested& value) {
    std::vector<Bytes> blobs{Bytes{std::string_view{"inside"}}};
    const auto inner =
        decode_payload<tether::JsonCodec, Inner>(json.at("own").get<std::string>(), blobs);
    if (inner.blob.view() != "inside") throw std::runtime_error("mixed up");
    json.at("blob").get_to(value.blob);
}

struct Thrower {
    int member{};
};
void to_json(nlohmann::json&, const Thrower&) { throw std::runtime_error("to_json threw"); }
void from_json(const nlohmann::json&, Thrower&) { throw std::runtime_error("from_json threw"); }

}  // namespace

TEST_CASE("encoding inside of encoding") {
    const Nested sent{Bytes{std::string_view{"outside"}}};
    CHECK(round_trip<tether::JsonCodec>(sent, 1).blob.view() == "outside");
}

TEST_CASE("a to_json that throws leaves nothing behind", "[F17]") {
    std::string payload;
    std::vector<const Bytes*> pointers;
    CHECK_THROWS(encode_payload<tether::JsonCodec>(Thrower{}, payload, pointers));
    CHECK_THROWS(decode_payload<tether::JsonCodec, Thrower>("{}", {}));
    CHECK(BlobScope::current() == nullptr);
    const nlohmann::json json = Bytes{std::string_view{"x"}};
    CHECK(json.is_binary());
}

}  // namespace codec_test
