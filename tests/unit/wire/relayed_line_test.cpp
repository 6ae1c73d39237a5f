#include <tether/detail/wire/relayed_line.hpp>

#include <string>

#include "support/catch.hpp"

namespace relayed_line_test {

using namespace std::string_literals;
using tether::Severity;
using tether::detail::MarkedLine;
using tether::detail::RelayedLine;

TEST_CASE("a line is shown as it is, by default") {
    const RelayedLine relayed{{}, "lint"};
    CHECK(relayed.head({}).empty());
    CHECK(relayed.head({true, Severity::error, {}}).empty());
    CHECK(relayed.is_shown(Severity::trace));
    for (const auto& text : {""s, "text"s, "a\tb"s, "gr\xc3\xbc\xc3\x9f"s, "\xf0\x9f\x99\x82"s}) {
        CHECK(relayed.text(text, true) == text);
    }
}

TEST_CASE("prefix, name and severity come in this order") {
    const RelayedLine relayed{{.prefix = "> ", .show_name = true, .show_severity = true},
                              "li\x1bnt"};
    CHECK(relayed.head({}) == "> li\\x1bnt: ");
    CHECK(relayed.head({true, Severity::warning, {}}) == "> li\\x1bnt: warning: ");
    CHECK(relayed.head({false, Severity::info, {}}) == "> li\\x1bnt: ");
}

TEST_CASE("what would drive a terminal is spelled out") {
    const RelayedLine relayed{{}};
    CHECK(relayed.text("\x1b]0;title\x07", true) == "\\x1b]0;title\\x07");
    CHECK(relayed.text("a\0b"s, true) == "a\\x00b");
    CHECK(relayed.text("\x7f", true) == "\\x7f");
    CHECK(relayed.text("\xc2\x9b"
                       "31m",
                       true) == "\\xc2\\x9b31m");           // C1, in UTF-8
    CHECK(relayed.text("\x9b", true) == "\\x9b");           // and as a byte
    CHECK(relayed.text("caf\xe9", true) == "caf\\xe9");     // Latin-1
    CHECK(relayed.text("\xe2\x82", true) == "\\xe2\\x82");  // cut
    CHECK(relayed.text("\xed\xa0\x80", true) == "\\xed\\xa0\\x80");
    CHECK(relayed.text("\xe2\x80\xae", true) == "\\xe2\\x80\\xae");  // right to left
}

TEST_CASE("a carriage return matters only within a line") {
    const RelayedLine relayed{{}};
    CHECK(relayed.text("10%\r20%\r", true) == "10%\\x0d20%");
    CHECK(relayed.text("\r", true).empty());
    CHECK(relayed.text("\r\r", true) == "\\x0d");
    CHECK(relayed.text("10%\r", false) == "10%\\x0d");  // the line goes on
}

TEST_CASE("raw lines are any bytes") {
    const RelayedLine relayed{{.raw = true}};
    const auto text = "\x1b[1m\0\xff\r"s;
    CHECK(relayed.text(text, true) == text);
}

TEST_CASE("lines below the least severity are not shown") {
    const RelayedLine relayed{{.least_severity = Severity::warning}};
    CHECK_FALSE(relayed.is_shown(Severity::trace));
    CHECK_FALSE(relayed.is_shown(Severity::info));
    CHECK(relayed.is_shown(Severity::warning));
    CHECK(relayed.is_shown(Severity::error));
}

}  // namespace relayed_line_test
