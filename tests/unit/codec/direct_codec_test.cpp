#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/direct_codec.hpp>
#include <tether/protocol.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <limits>
#include <list>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace direct_codec_test {

using nlohmann::json;
using tether::Bytes;
using tether::DirectCodec;
using tether::MessagePackCodec;
using namespace std::string_literals;

// --- Types that only their members describe

enum class Level : std::int8_t { low = -3, high = 100 };
enum class Answer : bool { no, yes };

struct Inner {
    int number{};
    Bytes blob{};
    friend bool operator==(const Inner&, const Inner&) = default;
};
TETHER_DEFINE_MESSAGE(Inner, number, blob)

struct Tree {
    std::string name{};
    std::vector<Tree> children{};
    friend bool operator==(const Tree&, const Tree&) = default;
};
TETHER_DEFINE_MESSAGE(Tree, name, children)

struct Lint {
    static constexpr std::string_view name = "lint";
    using Response = void;
    std::string file{};
    std::vector<std::string> flags{};
    std::optional<std::uint16_t> line{};
    std::string a_name_of_more_than_thirty_one_characters{};
    friend bool operator==(const Lint&, const Lint&) = default;
};
TETHER_DEFINE_MESSAGE(Lint, file, flags, line, a_name_of_more_than_thirty_one_characters)

struct Base {
    int inherited{};
    friend bool operator==(const Base&, const Base&) = default;
};
TETHER_DEFINE_MESSAGE(Base, inherited)
struct Derived : Base {
    int added{};
    friend bool operator==(const Derived&, const Derived&) = default;
};
TETHER_DEFINE_MESSAGE(Derived, inherited, added)

struct NoMembers {
    friend bool operator==(const NoMembers&, const NoMembers&) = default;
};
TETHER_DEFINE_MESSAGE(NoMembers)

struct Outer {
    struct Nested {
        std::list<NoMembers> list{};
        friend bool operator==(const Nested&, const Nested&) = default;
    };
};
TETHER_DEFINE_MESSAGE(Outer::Nested, list)

struct Many {
    int m00{}, m01{}, m02{}, m03{}, m04{}, m05{}, m06{}, m07{}, m08{}, m09{}, m10{}, m11{}, m12{},
        m13{}, m14{}, m15{}, m16{}, m17{}, m18{}, m19{}, m20{}, m21{}, m22{}, m23{}, m24{}, m25{},
        m26{}, m27{}, m28{}, m29{}, m30{}, m31{}, m32{}, m33{}, m34{}, m35{}, m36{}, m37{}, m38{},
        m39{}, m40{}, m41{}, m42{}, m43{}, m44{}, m45{}, m46{}, m47{}, m48{}, m49{}, m50{}, m51{},
        m52{}, m53{}, m54{}, m55{}, m56{}, m57{}, m58{}, m59{}, m60{}, m61{}, m62{}, m63{};
    friend bool operator==(const Many&, const Many&) = default;
};
TETHER_DEFINE_MESSAGE(Many, m00, m01, m02, m03, m04, m05, m06, m07, m08, m09, m10, m11, m12, m13,
                      m14, m15, m16, m17, m18, m19, m20, m21, m22, m23, m24, m25, m26, m27, m28,
                      m29, m30, m31, m32, m33, m34, m35, m36, m37, m38, m39, m40, m41, m42, m43,
                      m44, m45, m46, m47, m48, m49, m50, m51, m52, m53, m54, m55, m56, m57, m58,
                      m59, m60, m61, m62, m63)

// --- Types with conversions of their own

enum class Color { red, green };
NLOHMANN_JSON_SERIALIZE_ENUM(Color, {{Color::red, "red"}, {Color::green, "green"}})

// As those who enumerate enumerations do it: one function for all in a namespace.
namespace named {
enum class Shape { round, square };
template <class E>
requires std::is_enum_v<E>
void to_json(json& document, E value) { document = value == E::round ? "round" : "square"; }
template <class E>
requires std::is_enum_v<E>
void from_json(const json& document, E& value) {
    if (document != "round" && document != "square") throw std::invalid_argument("no such shape");
    value = document == "round" ? E::round : E::square;
}
}  // namespace named

struct Point {
    int x{};
    int y = 7;
    friend bool operator==(const Point&, const Point&) = default;
};
void to_json(json& document, const Point& point) { document = {point.x, point.y}; }
void from_json(const json& document, Point& point) {
    document.at(0).get_to(point.x);
    if (document.size() > 1) document.at(1).get_to(point.y);
}

struct Item {
    int id{};
    friend bool operator==(const Item&, const Item&) = default;
};
TETHER_DEFINE_MESSAGE(Item, id)
// Of the user's own for a container: it counts, as with nlohmann/json.
void to_json(json& document, const std::vector<Item>& items) { document = items.size(); }
void from_json(const json& document, std::vector<Item>& items) {
    items.resize(document.get<std::size_t>());
}

/// Cannot be changed, so it is made from the document at once.
class Fixed {
public:
    explicit Fixed(int value) : value_(value) {}
    [[nodiscard]] int value() const { return value_; }

private:
    int value_;
};

}  // namespace direct_codec_test

template <>
struct nlohmann::adl_serializer<direct_codec_test::Fixed> {
    static void to_json(json& document, const direct_codec_test::Fixed& fixed) {
        document = fixed.value();
    }
    static direct_codec_test::Fixed from_json(const json& document) {
        return direct_codec_test::Fixed{document.get<int>()};
    }
};
template <>
struct nlohmann::adl_serializer<std::set<direct_codec_test::Level>> {
    static void to_json(json& document, const std::set<direct_codec_test::Level>&) {
        document = "levels";
    }
    static void from_json(const json&, std::set<direct_codec_test::Level>& set) {
        set = {direct_codec_test::Level::high};
    }
};

namespace direct_codec_test {

// --- Encoding and decoding

template <class C, class T>
std::string packed(const T& value) {
    std::string payload = "kept:";
    std::vector<const Bytes*> blobs;
    tether::detail::encode_payload<C>(value, payload, blobs);
    REQUIRE(payload.substr(0, 5) == "kept:");
    return payload.substr(5);
}

template <class T>
T unpacked(std::string_view payload, std::vector<Bytes> blobs = {}) {
    return tether::detail::decode_payload<DirectCodec, T>(payload, blobs);
}

template <class T>
std::string error_of(std::string_view payload, std::vector<Bytes> blobs = {}) {
    try {
        unpacked<T>(payload, std::move(blobs));
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "none";
}

/// MessagePack of a document, for what no type of ours would write.
std::string pack(const json& document) {
    std::string bytes;
    json::to_msgpack(document, nlohmann::detail::output_adapter<char>(bytes));
    return bytes;
}

/// Both codecs write the same bytes, and each reads them.
template <class T>
bool same_as_by_document(const T& value) {
    const auto bytes = packed<DirectCodec>(value);
    CHECK((bytes == packed<MessagePackCodec>(value)));
    CHECK(MessagePackCodec::decode<T>(bytes) == value);
    return unpacked<T>(bytes) == value;
}

/// For types that not every release of nlohmann/json converts.
template <class T>
bool comes_back(const T& value) {
    return unpacked<T>(packed<DirectCodec>(value)) == value;
}

static_assert(tether::Codec<DirectCodec>);

template <class C>
struct ProtocolWith {
    static constexpr std::string_view name = "test.direct";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Lint>;
    using Codec = C;
};
static_assert(tether::detail::fingerprint<ProtocolWith<DirectCodec>>() ==
              tether::detail::fingerprint<ProtocolWith<MessagePackCodec>>());

// --- Tests

TEMPLATE_TEST_CASE("integers are written and read as by way of the document", "", std::int8_t,
                   std::uint8_t, std::int16_t, std::uint16_t, std::int32_t, std::uint32_t,
                   std::int64_t, std::uint64_t, char) {
    using Limits = std::numeric_limits<TestType>;
    for (const auto edge : {Limits::min(), Limits::max(), TestType{0}}) {
        CHECK(same_as_by_document(edge));
        CHECK(same_as_by_document(static_cast<TestType>(static_cast<std::uint64_t>(edge) + 1)));
        CHECK(same_as_by_document(static_cast<TestType>(static_cast<std::uint64_t>(edge) - 1)));
    }
    for (int bits = 0; bits < Limits::digits; ++bits) {
        const auto power = static_cast<TestType>(std::uint64_t{1} << bits);
        CHECK(same_as_by_document(power));
        CHECK(same_as_by_document(static_cast<TestType>(power - 1)));
        CHECK(same_as_by_document(static_cast<TestType>(-power)));
        CHECK(same_as_by_document(static_cast<TestType>(-power - 1)));
    }
}

TEST_CASE("other single values are written and read as by way of the document") {
    CHECK(same_as_by_document(true));
    CHECK(same_as_by_document(false));
    for (const double value : {0.0, -0.0, 0.5, 0.1, 1e300, 3.4028234663852886e38, 3.5e38, -1e-300,
                               std::numeric_limits<double>::infinity()}) {
        CHECK(same_as_by_document(value));
    }
    CHECK(same_as_by_document(0.1F));
    const auto nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(packed<DirectCodec>(nan) == packed<MessagePackCodec>(nan));
    CHECK(std::isnan(unpacked<float>(packed<DirectCodec>(nan))));
    CHECK(same_as_by_document(Level::low));
    CHECK(same_as_by_document(Level::high));
    CHECK(same_as_by_document(std::byte{200}));
    CHECK(packed<DirectCodec>(Answer::yes) == packed<MessagePackCodec>(Answer::yes));
    CHECK(unpacked<Answer>("\x01") == Answer::yes);
}

TEST_CASE("strings of every width are written and read as by way of the document", "[F11]") {
    std::string all(256, '\0');
    std::iota(all.begin(), all.end(), '\0');
    CHECK(same_as_by_document(all));
    for (const unsigned size :
         {0U, 1U, 31U, 32U, 255U, 256U, 510U, 511U, 512U, 513U, 65535U, 65536U, 1'000'000U}) {
        CAPTURE(size);
        CHECK(same_as_by_document(std::string(size, '\xff')));
        CHECK(same_as_by_document(std::vector<std::string>(3, std::string(size, 's'))));
    }
    CHECK(packed<DirectCodec>(std::string_view{"view"}) == packed<DirectCodec>("view"s));
}

TEST_CASE("containers are written and read as by way of the document") {
    for (const unsigned size : {0U, 1U, 15U, 16U, 65535U, 65536U}) {
        CAPTURE(size);
        CHECK(same_as_by_document(std::vector<int>(size, -3)));
        std::map<std::string, unsigned> table;
        for (unsigned i = 0; i < size; ++i) table[std::to_string(i)] = i;
        CHECK(same_as_by_document(table));
    }
    CHECK(same_as_by_document(std::vector<bool>{true, false, true}));
    CHECK(same_as_by_document(std::deque<double>{0.5, 1e300}));
    CHECK(same_as_by_document(std::list<std::string>{"one", "two"}));
    CHECK(same_as_by_document(std::set<std::string>{"b", "a"}));
    CHECK(same_as_by_document(std::unordered_set<int>{1, 2, 3}));
    CHECK(same_as_by_document(std::array<int, 3>{1, 2, 3}));
    CHECK(same_as_by_document(std::pair<int, std::string>{1, "one"}));
    CHECK(same_as_by_document(std::tuple<bool, float, std::string>{true, 1.5F, "three"}));
    CHECK(same_as_by_document(
        std::map<std::string, std::vector<std::map<std::string, int>>>{{"k", {{{"l", 1}}, {}}}}));
    CHECK(comes_back(std::unordered_map<std::string, int>{{"a", 1}, {"b", 2}}));
    CHECK(comes_back(std::optional<int>{}));
    CHECK(comes_back(std::optional<std::string>{"here"}));
    CHECK(comes_back(std::vector<std::optional<int>>{1, std::nullopt, 3}));
    CHECK(packed<DirectCodec>(std::optional<int>{}) == "\xc0");
}

TEST_CASE("members are written and read as by way of the document") {
    CHECK(same_as_by_document(Lint{"a.cpp", {"-O2", "-g"}, 17, "long"}));
    CHECK(same_as_by_document(Lint{}));
    CHECK(same_as_by_document(Tree{"root", {{"left", {}}, {"right", {{"leaf", {}}}}}}));
    CHECK(same_as_by_document(Derived{{1}, 2}));
    CHECK(same_as_by_document(NoMembers{} == NoMembers{}));
    CHECK(same_as_by_document(std::vector<NoMembers>(2)));
    CHECK(same_as_by_document(Outer::Nested{{{}, {}}}));
    CHECK(json(NoMembers{}) == json::object());
}

TEST_CASE("sixty-four members") {
    Many many;
    many.m00 = -1;
    many.m31 = 31;
    many.m63 = 1 << 20;
    CHECK(same_as_by_document(many));
    CHECK(json(many).size() == 64u);
    auto document = json(many);
    document.erase("m40");
    CHECK(error_of<Many>(pack(document)) == "member \"m40\": missing from the map at byte 0");
}

TEST_CASE("listed members are those of every other codec too") {
    const Lint lint{"a.cpp", {"-O2"}, std::nullopt, ""};
    const json expected{{"file", "a.cpp"},
                        {"flags", {"-O2"}},
                        {"line", nullptr},
                        {"a_name_of_more_than_thirty_one_characters", ""}};
    CHECK(json(lint) == expected);
    CHECK(expected.get<Lint>() == lint);
    const nlohmann::ordered_json ordered = lint;
    CHECK(ordered.begin().key() == "file");  // as listed
    CHECK(ordered.get<Lint>() == lint);
    std::string text;
    tether::JsonCodec::encode(lint, text);
    CHECK(tether::JsonCodec::decode<Lint>(text) == lint);
    // They join what is there already.
    json joined{{"more", 1}};
    to_json(joined, Base{5});
    CHECK(joined == json{{"more", 1}, {"inherited", 5}});
    CHECK_THROWS_AS(json::object().get<Lint>(), json::out_of_range);
}

TEST_CASE("members may come in any order, and others beside them") {
    const Lint expected{"f", {"x"}, 70, "n"};
    const auto name = "\xd9\x29" + "a_name_of_more_than_thirty_one_characters"s + "\xa1n";
    const auto bytes = "\x87\xa5"s + "flags\x91\xa1x" + "\xa4line\xcc\x46" +
                       "\xa6"
                       "before\x82\xa1k\x93\xc0\xc2\xca"
                       "abcd"
                       "\xa1l\xc7\x02\x01zz" +
                       "\xa4"
                       "file\xa1"
                       "f" +
                       "\xa1z\xc4\x01z" + name + "\xa1y\xd8" + std::string(17, 'e');
    CHECK(unpacked<Lint>(bytes) == expected);
    CHECK(MessagePackCodec::decode<Lint>(bytes) == expected);
}

TEST_CASE("integers of any width are taken, where they fit") {
    for (const auto& bytes :
         {"\x05"s, "\xcc\x05"s, "\xcd\0\x05"s, "\xce\0\0\0\x05"s, "\xcf\0\0\0\0\0\0\0\x05"s,
          "\xd0\x05"s, "\xd1\0\x05"s, "\xd2\0\0\0\x05"s, "\xd3\0\0\0\0\0\0\0\x05"s}) {
        CHECK(unpacked<std::uint8_t>(bytes) == 5);
        CHECK(unpacked<std::int64_t>(bytes) == 5);
        CHECK(unpacked<float>(bytes) == 5.0F);
    }
    CHECK(unpacked<std::int8_t>("\xd3\xff\xff\xff\xff\xff\xff\xff\x80") == -128);
    CHECK(unpacked<double>("\xff") == -1.0);

    CHECK(error_of<Answer>("\x02") == "2 is out of range at byte 0");
    CHECK(error_of<std::int8_t>("\xd1\xff\x7f") == "-129 is out of range at byte 0");
    CHECK(error_of<std::int8_t>("\xcc\x80") == "128 is out of range at byte 0");
    CHECK(error_of<std::uint8_t>("\xcd\x01\0"s) == "256 is out of range at byte 0");
    CHECK(error_of<std::uint64_t>("\xff") == "-1 is out of range at byte 0");
    CHECK(error_of<std::int64_t>("\xcf" + std::string(8, '\xff')) ==
          "18446744073709551615 is out of range at byte 0");
    CHECK(error_of<std::int64_t>("\xd3\x80" + std::string(7, '\0')) == "none");
    CHECK(error_of<Level>("\xcc\x80") == "128 is out of range at byte 0");
    CHECK(error_of<float>(packed<DirectCodec>(1e300)) == "a number out of range at byte 0");
    CHECK(std::isinf(unpacked<float>(packed<DirectCodec>(-INFINITY))));
    CHECK(error_of<std::vector<int>>("\x92\x01\xce\xff\xff\xff\xff") ==
          "4294967295 is out of range at byte 2");
}

TEST_CASE("what is of another kind is refused with its name") {
    CHECK(error_of<bool>("\x01") == "expected a boolean, found an integer at byte 0");
    CHECK(error_of<int>("\xc3") == "expected an integer, found a boolean at byte 0");
    CHECK(error_of<int>(packed<DirectCodec>(3.5)) ==
          "expected an integer, found a floating-point number at byte 0");
    CHECK(error_of<double>("\xa0") == "expected a number, found a string at byte 0");
    CHECK(error_of<std::string>("\xc4\x01x") == "expected a string, found binary data at byte 0");
    CHECK(error_of<std::string>("\xd4\x01x") == "expected a string, found an extension at byte 0");
    CHECK(error_of<std::vector<int>>("\x80") == "expected an array, found a map at byte 0");
    CHECK(error_of<std::vector<int>>("\x92\x01\xc0") == "expected an integer, found nil at byte 2");
    CHECK(error_of<std::map<std::string, int>>("\x90") ==
          "expected a map, found an array at byte 0");
    CHECK(error_of<std::map<std::string, int>>("\x81\x01\x01") ==
          "expected a string, found an integer at byte 1");
    CHECK(error_of<Lint>("\xc1") == "expected a map, found a value of no known type at byte 0");
    CHECK(error_of<json>("\xc1") == "a value of no known type at byte 0");
    CHECK(error_of<std::array<int, 3>>("\x92\x01\x02") ==
          "expected an array of 3, found one of 2 at byte 0");
    CHECK(error_of<std::pair<int, int>>("\x93\x01\x02\x03") ==
          "expected an array of 2, found one of 3 at byte 0");
    CHECK(error_of<std::optional<int>>("\xa0") == "expected an integer, found a string at byte 0");
}

TEST_CASE("errors name the member") {
    CHECK(error_of<Lint>("\x81\xa5"
                         "flags\xa1x") ==
          "member \"flags\": expected an array, found a string at byte 7");
    CHECK(error_of<Lint>("\x81\xa5"
                         "flags\x92\xa1x\x07") ==
          "member \"flags\": expected a string, found an integer at byte 10");
    CHECK(error_of<Tree>("\x81\xa8"
                         "children\x91\x81\xa8"
                         "children\x91\x81\xa4name\xc0") ==
          "member \"children.children.name\": expected a string, found nil at byte 28");
    // After an inner one, the outer one again.
    CHECK(error_of<Tree>("\x81\xa8"
                         "children\x92\x82\xa8"
                         "children\x90\xa4name\xa0\x05") ==
          "member \"children\": expected a map, found an integer at byte 28");
    CHECK(error_of<Tree>("\x81\xa4name\xa0") ==
          "member \"children\": missing from the map at byte 0");
    CHECK(error_of<Tree>("\x82\xa4name\xa0\xa4name\xa0") ==
          "member \"name\": there a second time at byte 7");
    CHECK(error_of<Tree>("\x82\xa4name\xa0") == "the input ends too early at byte 7");
    CHECK(error_of<Tree>("\x81\x01\x02") == "expected a string, found an integer at byte 1");
}

TEST_CASE("truncated, prolonged and hostile payloads are refused", "[F13]") {
    const auto whole =
        packed<DirectCodec>(Tree{"root", {{std::string(300, 'n'), {}}, {"right", {{"leaf", {}}}}}});
    REQUIRE(error_of<Tree>(whole) == "none");
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CHECK(error_of<Tree>(std::string_view{whole}.substr(0, size)) != "none");
    }
    CHECK(error_of<Tree>(whole + '\0') ==
          "more bytes after the value at byte " + std::to_string(whole.size()));

    // Lengths that nothing could hold, everywhere a length may stand.
    for (const auto* length : {"\xdb", "\xc6", "\xc9", "\xdd", "\xdf"}) {
        const auto bytes = length + "\xff\xff\xff\xff....."s;
        CHECK(error_of<json>(bytes) == "the input ends too early at byte 0");
        CHECK(error_of<Tree>("\x81\xa1?" + bytes) == "the input ends too early at byte 3");
        CHECK(error_of<std::string>(bytes) != "none");
        CHECK(error_of<std::vector<std::array<char, 4096>>>(bytes) != "none");
        CHECK(error_of<std::map<std::string, int>>(bytes) != "none");
    }
    // As many as the input has bytes, each of which would need a page.
    CHECK(error_of<std::vector<std::array<double, 512>>>("\xdd\0\x10\0\0"s +
                                                         std::string(1 << 20, '\xc0')) ==
          "expected an array, found nil at byte 5");
}

TEST_CASE("nesting has its limit, wherever it is", "[F13]") {
    const auto arrays = [](std::size_t depth) { return std::string(depth - 1, '\x91') + '\x90'; };
    CHECK(error_of<json>(arrays(256)) == "none");
    CHECK(error_of<json>(arrays(257)) == "nested more than 256 levels deep at byte 256");
    const auto unknown = [&](std::size_t depth) {
        return "\x83\xa4name\xa0\xa8"
               "children\x90\xa1?" +
               arrays(depth);
    };
    CHECK(error_of<Tree>(unknown(255)) == "none");
    CHECK(error_of<Tree>(unknown(256)) == "nested more than 256 levels deep at byte 274");
    const auto tree = [](std::size_t depth) {
        Tree made;
        while (--depth > 0) made = {"", {std::move(made)}};
        return packed<DirectCodec>(made);
    };
    CHECK(error_of<Tree>(tree(128)) == "none");  // a map and an array each
    CHECK(error_of<Tree>(tree(129)).find("nested more than 256 levels deep") != std::string::npos);
    CHECK(error_of<Tree>(std::string(1'000'000, '\x91')) != "none");
    CHECK(error_of<json>(std::string(1'000'000, '\x91')) != "none");
    // Of siblings, any number.
    CHECK(error_of<json>("\xdd\0\0\x10\0"s + std::string(4096, '\x90')) == "none");
}

TEST_CASE("what has conversions of its own is converted by them") {
    CHECK(same_as_by_document(Color::green));
    CHECK(packed<DirectCodec>(Color::green) == "\xa5green");
    CHECK(same_as_by_document(named::Shape::square));
    CHECK(error_of<std::vector<named::Shape>>("\x92\xa5round\xa3"
                                              "odd") == "no such shape at byte 7");
    CHECK(same_as_by_document(Point{1, 2}));
    CHECK(unpacked<Point>("\x91\x01") == Point{1, 7});
    CHECK(same_as_by_document(std::vector<Point>{{1, 2}, {3, 4}}));
    CHECK(packed<DirectCodec>(std::vector<Item>(3)) == "\x03");
    CHECK(unpacked<std::vector<Item>>("\x03").size() == 3u);
    CHECK(packed<DirectCodec>(std::set<Level>{}) == "\xa6levels");
    CHECK(unpacked<std::set<Level>>("\xc0") == std::set<Level>{Level::high});
    CHECK(unpacked<Fixed>(packed<DirectCodec>(Fixed{9})).value() == 9);
    const auto fixed =
        unpacked<std::vector<Fixed>>(packed<DirectCodec>(std::vector<Fixed>{Fixed{1}, Fixed{2}}));
    REQUIRE(fixed.size() == 2u);
    CHECK(fixed[1].value() == 2);
    CHECK(same_as_by_document(std::map<int, int>{{1, 2}}));  // no string as its key
    CHECK(same_as_by_document(std::filesystem::path{"/usr/include"}));
}

struct Mixed {
    Point point{};
    json any{};
    std::optional<Point> maybe{};
    std::vector<json> list{};
    friend bool operator==(const Mixed&, const Mixed&) = default;
};
TETHER_DEFINE_MESSAGE(Mixed, point, any, maybe, list)

TEST_CASE("a part by way of the document") {
    const Mixed mixed{{1, 2}, {{"k", {1, nullptr, "x"}}}, Point{3, 4}, {nullptr, 1.5}};
    CHECK(same_as_by_document(mixed));
    CHECK(same_as_by_document(mixed.any));
    CHECK(error_of<Mixed>("\x81\xa5point\xa1x").find("member \"point\": ") == 0);
    CHECK(error_of<Mixed>("\x81\xa5maybe\x92\xc0\x01").find(" at byte 7") != std::string::npos);
    CHECK(error_of<Mixed>("\x81\xa3"
                          "any\x81\x01\x02") ==
          "member \"any\": expected a string, found an integer at byte 6");
}

struct Album {
    std::vector<Inner> inner{};
    Bytes cover{};
    std::map<std::string, Bytes> others{};
    friend bool operator==(const Album&, const Album&) = default;
};
TETHER_DEFINE_MESSAGE(Album, inner, cover, others)

TEST_CASE("blobs travel beside a message of listed members") {
    const Album album{{{1, Bytes{"one"}}, {2, {}}}, Bytes{"cover"}, {{"k", Bytes{"in a map"}}}};
    std::string payload;
    std::vector<const Bytes*> pointers;
    tether::detail::encode_payload<DirectCodec>(album, payload, pointers);
    REQUIRE(pointers.size() == 4u);
    CHECK(pointers[0] == &album.cover);  // in the order of their names
    std::vector<Bytes> blobs;
    for (const auto* pointer : pointers) blobs.push_back(*pointer);
    auto again = blobs;
    const auto* where = blobs[0].data();
    const auto received = tether::detail::decode_payload<DirectCodec, Album>(payload, blobs);
    CHECK(received == album);
    CHECK(received.cover.data() == where);
    CHECK((tether::detail::decode_payload<MessagePackCodec, Album>(payload, again) == album));

    // With one blob, both codecs write the same.
    const Inner one{1, Bytes{"blob"}};
    CHECK(packed<DirectCodec>(one) == packed<MessagePackCodec>(one));
    CHECK(packed<DirectCodec>(one) ==
          "\x82\xa4"
          "blob\0\xa6number\x01"s);

    const auto inner = [](const std::string& blob) {
        return "\x82\xa4"
               "blob" +
               blob + "\xa6number\x01";
    };
    CHECK(error_of<Inner>(inner("\x01"), {Bytes{"0"}}) ==
          "member \"blob\": no blob number 1 at byte 6");
    CHECK(error_of<Inner>(inner("\xa0"), {Bytes{"0"}}) ==
          "member \"blob\": not the number of a blob at byte 6");
    CHECK(error_of<std::vector<Bytes>>("\x92\0\0"s, {Bytes{"0"}}) ==
          "blob number 0 is used twice at byte 2");
    CHECK(unpacked<Inner>(inner("\xc4\x02hi")).blob.view() == "hi");
}

TEST_CASE("outside of a message, blobs are binary data") {
    std::string payload;
    DirectCodec::encode(Inner{1, Bytes{"raw"}}, payload);
    CHECK(payload ==
          "\x82\xa4"
          "blob\xc4\x03raw\xa6number\x01");
    CHECK(DirectCodec::decode<Inner>(payload).blob.view() == "raw");
}

}  // namespace direct_codec_test
