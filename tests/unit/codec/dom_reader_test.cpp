#include <tether/codec.hpp>
#include <tether/detail/codec/dom_reader.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace dom_reader_test {

using nlohmann::json;
using tether::detail::deepest_nesting;
using tether::detail::read_dom;
using Format = json::input_format_t;
using namespace std::string_literals;

namespace {

std::string repeated(std::string_view part, std::size_t times, std::string_view rest) {
    std::string text;
    for (std::size_t i = 0; i < times; ++i) text += part;
    return text.append(rest);
}

bool is_refused(const std::string& bytes, Format format) {
    try {
        static_cast<void>(read_dom(bytes, format));
    } catch (const std::runtime_error&) {
        return true;
    }
    return false;
}

}  // namespace

TEST_CASE("values come back as they were") {
    const auto value = json::parse(R"({"a": [1, -2, 2.5, null, true, "x", {}, []], "b": {"c": [[]]},
                                       "long": "________________________________________"})");
    CHECK(read_dom(value.dump(), Format::json) == value);
    const auto pack = json::to_msgpack(value);
    CHECK(read_dom({reinterpret_cast<const char*>(pack.data()), pack.size()}, Format::msgpack) ==
          value);
    const auto cbor = json::to_cbor(value);
    CHECK(read_dom({reinterpret_cast<const char*>(cbor.data()), cbor.size()}, Format::cbor) ==
          value);
    CHECK(read_dom("7", Format::json) == json(7));
}

TEST_CASE("nesting is bounded, and no stack overflows", "[F13]") {
    const std::size_t many = 1'000'000;
    CHECK_FALSE(is_refused(repeated("\x91", deepest_nesting, "\xc0"), Format::msgpack));
    CHECK(is_refused(repeated("\x91", deepest_nesting + 1, "\xc0"), Format::msgpack));
    CHECK(is_refused(repeated("\x91", many, "\xc0"), Format::msgpack));
    CHECK(is_refused(repeated("\x81\xa0", many, "\xc0"), Format::msgpack));
    CHECK(is_refused(repeated("\x81", many, "\xf6"), Format::cbor));
    CHECK(is_refused(repeated("\xa1\x60", many, "\xf6"), Format::cbor));
    CHECK(is_refused(repeated("\x9f", many, ""), Format::cbor));
    CHECK(is_refused(repeated("[", many, ""), Format::json));
    CHECK(is_refused(repeated("{\"\":", many, ""), Format::json));
}

TEST_CASE("CBOR strings of unknown length hold strings, not each other", "[F13]") {
    CHECK(read_dom("\x7f\x61\x61\x62"
                   "bc\xff",
                   Format::cbor) == json("abc"));
    CHECK(read_dom("\x82\x7f\x61_\xff\x78\x02__", Format::cbor) == json({"_", "__"}));
    for (const char* part : {"\x5f", "\x7f", "\x5f\x41x", "\x7f\x61x"}) {
        CHECK(is_refused(repeated(part, 1'000'000, ""), Format::cbor));
    }
}

TEST_CASE("what is malformed is an error", "[F13]") {
    for (const auto& bytes : {""s, "\xc1"s, "\x92\x01"s, "\x01\x02"s, "\xdb\xff\xff\xff\xff"s}) {
        CHECK(is_refused(bytes, Format::msgpack));
    }
    for (const auto& bytes :
         {""s, "\x82\x01"s, "\x01\x02"s, "\x5b\xff\xff\xff\xff\xff\xff\xff\xff"s}) {
        CHECK(is_refused(bytes, Format::cbor));
    }
    CHECK(is_refused("{", Format::json));
    CHECK(is_refused("1 2", Format::json));
}

}  // namespace dom_reader_test
