#include <tether/detail/wire/line_splitter.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace line_splitter_test {

namespace {

using namespace tether::detail;
using tether::Severity;
using namespace std::string_literals;

struct Lines {
    std::vector<std::string> lines{};
    std::string unfinished{};
    std::size_t largest_piece = 0;
    bool open = false;

    void operator()(std::string_view text, bool terminated) {
        largest_piece = std::max(largest_piece, text.size());
        unfinished += text;
        open = !terminated;
        if (!terminated) return;
        lines.push_back(std::move(unfinished));
        unfinished.clear();
    }
};

}  // namespace

TEST_CASE("lines are the same however they are cut", "[F52]") {
    std::string text = "first\n\nthird\r\n\xe4\xb8\xad\xe6\x96\x87\n\0binary\xff\n"s;
    text += std::string(500, 'x') + "\nlast without end";
    const std::vector<std::string> expected{"first",           "",
                                            "third\r",         "\xe4\xb8\xad\xe6\x96\x87",
                                            "\0binary\xff"s,   std::string(500, 'x'),
                                            "last without end"};
    for (std::size_t first = 0; first <= text.size(); ++first) {
        for (std::size_t second = first; second <= text.size(); second += 41) {
            LineSplitter splitter;
            Lines lines;
            const std::string_view view{text};
            const auto visit = [&](std::string_view line, bool end) { lines(line, end); };
            splitter.feed(view.substr(0, first), visit);
            splitter.feed(view.substr(first, second - first), visit);
            splitter.feed(view.substr(second), visit);
            splitter.finish(visit);
            splitter.finish(visit);
            if (lines.lines != expected) FAIL("cut at " << first << " and " << second);
        }
    }
}

TEST_CASE("a line comes as soon as it is complete", "[F52]") {
    LineSplitter splitter;
    Lines lines;
    const auto visit = [&](std::string_view line, bool end) { lines(line, end); };
    splitter.feed("begin", visit);
    CHECK(lines.lines.empty());
    splitter.feed(" end\nnext", visit);
    CHECK(lines.lines == std::vector{"begin end"s});
    splitter.feed("\n", visit);
    CHECK(lines.lines == std::vector{"begin end"s, "next"s});
}

TEST_CASE("a line without end costs bounded memory and loses nothing", "[F47]") {
    LineSplitter splitter;
    Lines lines;
    const auto visit = [&](std::string_view line, bool end) { lines(line, end); };
    std::string sent;
    for (int i = 0; i < 1000; ++i) {
        const std::string piece(1000, static_cast<char>('a' + i % 26));
        splitter.feed(piece, visit);
        sent += piece;
    }
    CHECK(lines.lines.empty());
    CHECK(lines.largest_piece < LineSplitter::max_line + 1000);
    SECTION("until a newline") {
        splitter.feed("\nnext\n", visit);
        CHECK((lines.lines == std::vector{sent, "next"s}));
    }
    SECTION("until the end") {
        splitter.finish(visit);
        CHECK((lines.lines == std::vector{sent}));
    }
}

TEST_CASE("a line that ends with its stream is ended, at whatever length", "[F47]") {
    for (const auto size : {LineSplitter::max_line - 1, LineSplitter::max_line,
                            LineSplitter::max_line + 1, 2 * LineSplitter::max_line}) {
        LineSplitter splitter;
        Lines lines;
        const auto visit = [&](std::string_view line, bool end) { lines(line, end); };
        const std::string text(size, 'x');
        splitter.feed(text, visit);
        splitter.finish(visit);
        CHECK_FALSE(lines.open);
        CHECK((lines.lines == std::vector{text}));
    }
}

TEST_CASE("pieces of a long line are whole characters", "[F47]") {
    for (const auto* character : {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x99\x82"}) {
        for (std::size_t shift = 0; shift < 4; ++shift) {
            LineSplitter splitter;
            std::string text(shift, 'x');
            while (text.size() < 2 * LineSplitter::max_line) text += character;
            std::string received;
            const auto visit = [&](std::string_view piece, bool) {
                if (cut_character(piece) != 0) FAIL("a character is cut");
                received += piece;
            };
            std::string_view rest{text};
            for (; rest.size() > 1000; rest.remove_prefix(1000)) {
                splitter.feed(rest.substr(0, 1000), visit);
            }
            splitter.feed(rest, visit);
            splitter.finish(visit);
            CHECK((received == text));
        }
    }
}

TEST_CASE("only the begin of a character counts as cut") {
    CHECK(cut_character("") == 0);
    CHECK(cut_character("a") == 0);
    CHECK(cut_character("a\xc3") == 1);
    CHECK(cut_character("\xe2") == 1);
    CHECK(cut_character("\xe2\x82") == 2);
    CHECK(cut_character("\xf0\x9f\x99") == 3);
    CHECK(cut_character("\xf0\x9f\x99\x82") == 0);
    CHECK(cut_character("\xc3\xa9") == 0);
    for (const auto* none : {"\x82", "\x82\x82\x82\x82", "\xff", "\xc0", "\xf5", "\xe2\x82\xac"}) {
        CHECK(cut_character(none) == 0);
    }
}

TEST_CASE("random lines, random cuts") {
    std::minstd_rand random{99};
    for (int round = 0; round < 200; ++round) {
        std::vector<std::string> sent;
        std::string text;
        for (unsigned i = 0; i < random() % 30; ++i) {
            std::string line(random() % 50 == 0 ? random() % 200'000 : random() % 200, '\0');
            for (auto& c : line) {
                c = static_cast<char>(random());
                if (c == '\n') c = ' ';
            }
            text += line + '\n';
            sent.push_back(std::move(line));
        }
        LineSplitter splitter;
        Lines lines;
        std::string_view rest{text};
        while (!rest.empty()) {
            const auto size = std::min<std::size_t>(rest.size(), 1 + random() % 20'000);
            splitter.feed(rest.substr(0, size),
                          [&](std::string_view line, bool end) { lines(line, end); });
            rest.remove_prefix(size);
        }
        if (lines.lines != sent) FAIL("round " << round);
    }
}

TEST_CASE("a log line carries its severity, a plain one does not") {
    for (const auto severity :
         {Severity::trace, Severity::debug, Severity::info, Severity::warning, Severity::error}) {
        const auto marked = with_mark(severity, "text");
        REQUIRE(marked.back() == '\n');
        const auto line = read_mark(std::string_view{marked}.substr(0, marked.size() - 1));
        CHECK(line.is_log);
        CHECK(line.severity == severity);
        CHECK(line.text == "text");
    }
    for (const auto& plain : {""s, "text"s, "\x01"s, "\x01x"s,
                              "\x01"
                              "5out of range"s,
                              "1\x01"s}) {
        const auto line = read_mark(plain);
        CHECK_FALSE(line.is_log);
        CHECK(line.severity == Severity::info);
        CHECK(line.text == plain);
    }
}

TEST_CASE("newlines in a log text make several lines") {
    const auto lines_of = [](std::string_view text) {
        Lines lines;
        LineSplitter splitter;
        splitter.feed(with_mark(Severity::error, text), [&](std::string_view line, bool end) {
            const auto marked = read_mark(line);
            CHECK(marked.is_log);
            CHECK(marked.severity == Severity::error);
            lines(marked.text, end);
        });
        CHECK(lines.unfinished.empty());
        return lines.lines;
    };
    CHECK(lines_of("") == std::vector{""s});
    CHECK(lines_of("one") == std::vector{"one"s});
    CHECK(lines_of("one\n") == std::vector{"one"s});
    CHECK(lines_of("one\ntwo") == std::vector{"one"s, "two"s});
    CHECK(lines_of("\n") == std::vector{""s});
    CHECK(lines_of("\n\n") == std::vector{""s, ""s});
    CHECK(lines_of("a\n\nb\n") == std::vector{"a"s, ""s, "b"s});
}

TEST_CASE("the tail keeps the last whole lines", "[F82]") {
    Tail tail;
    CHECK(tail.text().empty());
    tail.add("one", true);
    tail.add("two", false);
    CHECK(tail.text() == "one\ntwo");
    tail.add(" more", true);
    CHECK(tail.text() == "one\ntwo more\n");

    for (int i = 0; i < 10'000; ++i) tail.add("line " + std::to_string(i), true);
    const auto text = tail.text();
    CHECK(text.size() <= Tail::capacity);
    CHECK(text.size() > Tail::capacity - 20);
    CHECK(text.substr(0, 5) == "line ");
    CHECK(text.substr(text.size() - 11) == "\nline 9999\n");
}

TEST_CASE("the tail of one endless line is its end") {
    Tail tail;
    for (int i = 0; i < 100; ++i)
        tail.add(std::string(1000, static_cast<char>('a' + i % 26)), false);
    tail.add("the very end", true);
    const auto text = tail.text();
    CHECK(text.size() <= Tail::capacity);
    CHECK(text.size() > Tail::capacity / 2);
    CHECK(text.substr(text.size() - 13) == "the very end\n");

    Tail large;
    large.add(std::string(100'000, 'x') + "!", true);
    CHECK(large.text().size() <= Tail::capacity);
    CHECK(large.text().substr(large.text().size() - 3) == "x!\n");
}

}  // namespace line_splitter_test
