// The pure parts of examples/depscan, and its file scanner.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include "chaos.hpp"
#include "depscan_support.hpp"
#include "file_scanner.hpp"
#include "include_graph.hpp"
#include "include_lexer.hpp"
#include "options.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "sources.hpp"
#include "support/catch.hpp"
#include "work_queue.hpp"

namespace {

using namespace depscan;
using namespace std::string_literals;

using Names = std::vector<std::string>;

/// The names that are included, each in its delimiters; a computed one in brackets.
Names included(std::string_view text) {
    Names names;
    for (const auto& include : lex_includes(text)) {
        switch (include.form) {
            case IncludeForm::quoted:
                names.push_back('"' + include.name + '"');
                break;
            case IncludeForm::angled:
                names.push_back('<' + include.name + '>');
                break;
            case IncludeForm::computed:
                names.push_back('[' + include.name + ']');
                break;
        }
    }
    return names;
}

IncludeGraph graph_of(std::initializer_list<std::pair<std::string, Names>> files) {
    IncludeGraph graph;
    for (const auto& [file, includes] : files) graph.merge({.file = file, .includes = includes});
    return graph;
}

}  // namespace

// Lexer

TEST_CASE("depscan lexer: the forms of an include", "[depscan][lexer]") {
    const auto includes = lex_includes(
        "#include \"a.h\"\n"
        "int x;\n"
        "#include <b/c.h> // trailing\n"
        "#include_next <d.h>\n"
        "#import \"e.h\"\n"
        "#include CONFIG_HEADER(x) /* why */\n");
    const std::vector<Include> expected{
        {.form = IncludeForm::quoted, .line = 1, .name = "a.h"},
        {.form = IncludeForm::angled, .line = 3, .name = "b/c.h"},
        {.form = IncludeForm::angled, .next = true, .line = 4, .name = "d.h"},
        {.form = IncludeForm::quoted, .line = 5, .name = "e.h"},
        {.form = IncludeForm::computed, .line = 6, .name = "CONFIG_HEADER(x)"},
    };
    CHECK(includes == expected);
}

TEST_CASE("depscan lexer: space, comments and digraphs around a directive", "[depscan][lexer]") {
    CHECK(included("  #  include  \"a\"") == Names{"\"a\""});
    CHECK(included("\t#\tinclude<a>") == Names{"<a>"});
    CHECK(included("%:include <a>") == Names{"<a>"});
    CHECK(included("%: include <a>\n  %:include \"b\"") == Names{"<a>", "\"b\""});
    CHECK(included("/* x */ # /* y */ include /* z */ <a>") == Names{"<a>"});
    CHECK(included("/* two\nlines */ #include <a>") == Names{"<a>"});
    CHECK(included("#include /* two\nlines */ <a>\n#include <b>") == Names{"<a>", "<b>"});
    CHECK(included("\xEF\xBB\xBF#include <a>") == Names{"<a>"});
    CHECK(included("#include <a b.h>") == Names{"<a b.h>"});
    CHECK(included("#include \"a//b.h\"") == Names{"\"a//b.h\""});
    CHECK(included("#include <a/*b.h>") == Names{"<a/*b.h>"});
}

TEST_CASE("depscan lexer: what only looks like an include", "[depscan][lexer]") {
    CHECK(included("int a; #include <a>").empty());
    CHECK(included("/* x */ int a; /* \n */ #include <a>").empty());
    CHECK(included("?\?=include <a>").empty());  // trigraphs are gone
    CHECK(included("% :include <a>").empty());
    CHECK(included("#includes <a>").empty());
    CHECK(included("#define X #include <a>").empty());
    CHECK(included("#pragma include <a>").empty());
    CHECK(included("#if __has_include(<a>) && __has_include(\"b\")\n#endif").empty());
    CHECK(included("include <a>").empty());
    CHECK(included("#\ninclude <a>").empty());
}

TEST_CASE("depscan lexer: malformed directives", "[depscan][lexer]") {
    CHECK(included("#include").empty());
    CHECK(included("#include\n\"a\"").empty());
    CHECK(included("#include \"a\n#include <b>") == Names{"<b>"});
    CHECK(included("#include <a\n#include <b>") == Names{"<b>"});
    CHECK(included("#include \"\"\n#include <>").empty());
    CHECK(included("#include // nothing").empty());
    CHECK(included("#").empty());
    CHECK(included("#include <").empty());
    CHECK(included("").empty());
}

TEST_CASE("depscan lexer: comments", "[depscan][lexer]") {
    CHECK(included("// #include <a>\n#include <b>") == Names{"<b>"});
    CHECK(included("// goes on \\\n#include <a>\n#include <b>") == Names{"<b>"});
    CHECK(included("/*\n#include <a>\n*/\n#include <b>") == Names{"<b>"});
    CHECK(included("/* /* */ \n#include <b>") == Names{"<b>"});
    CHECK(included("/*/ still inside\n#include <a>\n*/\n#include <b>") == Names{"<b>"});
    CHECK(included("/\\\n* a comment\n#include <a>\n*\\\n/\n#include <b>") == Names{"<b>"});
    CHECK(included("/* never closed\n#include <a>").empty());
    CHECK(included("int a = 1 / 2; /\n#include <b>") == Names{"<b>"});
    CHECK(included("/") == Names{});
}

TEST_CASE("depscan lexer: string and character literals", "[depscan][lexer]") {
    CHECK(included("auto s = \"/*\";\n#include <a>") == Names{"<a>"});
    CHECK(included("auto s = \"\\\"/*\";\n#include <a>") == Names{"<a>"});
    CHECK(included("auto s = \"\\\\\"; /*\n#include <a>\n*/") == Names{});
    CHECK(included("char c = '\"';\n#include <a>") == Names{"<a>"});
    CHECK(included("char c = '\\''; /* '\n#include <a>\n*/") == Names{});
    CHECK(included("auto s = \"a\\\n#include <a>\\\n\";\n#include <b>") == Names{"<b>"});
}

TEST_CASE("depscan lexer: unterminated literals end with their line", "[depscan][lexer]") {
    CHECK(included("#error don't\n#include <a>") == Names{"<a>"});
    CHECK(included("\"open\n#include <a>") == Names{"<a>"});
    CHECK(included("\"open\\") == Names{});
    CHECK(included("'") == Names{});
    CHECK(included("#if 0\nit isn't \"code\n#endif\n#include <a>") == Names{"<a>"});
}

TEST_CASE("depscan lexer: digit separators open no character literal", "[depscan][lexer]") {
    CHECK(included("int a = 1'000; /*\n#include <a>\n*/ int b = 2'000;") == Names{});
    CHECK(included("int a = 0xFF'FFu; // '\n#include <a>") == Names{"<a>"});
    CHECK(included("f(1'0, '\"', 2);\n#include <a>") == Names{"<a>"});
    CHECK(included("double d = .5'5; /* '\n#include <a>\n*/") == Names{});
    CHECK(included("f(1,'/*');\n#include <a>") == Names{"<a>"});
}

TEST_CASE("depscan lexer: raw strings", "[depscan][lexer]") {
    CHECK(included("auto s = R\"(\n#include <a>\n)\";\n#include <b>") == Names{"<b>"});
    CHECK(included("auto s = u8R\"x(\n)\"\n#include <a>\n)x\";\n#include <b>") == Names{"<b>"});
    CHECK(included("auto s = LR\"(\\)\";\n#include <b>") == Names{"<b>"});
    // A continuation is two characters in there, so that this one does not end the string:
    CHECK(included("auto s = R\"ab(\n)a\\\nb\"\n#include <a>\n)ab\";\n#include <b>") ==
          Names{"<b>"});
    CHECK(included("auto s = R\"(never closed\n#include <a>").empty());
    CHECK(included("auto s = R\"bad delimiter(\n#include <a>") == Names{"<a>"});
    CHECK(included("auto s = R\"longer_than_sixteen_x(\n#include <a>") == Names{"<a>"});
    CHECK(included("auto s = FOUR\"(\";\n#include <a>\n//)\"") == Names{"<a>"});
    CHECK(included("R\"") == Names{});

    const auto includes = lex_includes("R\"(\n\n)\"\n#include <a>");
    REQUIRE(includes.size() == 1);
    CHECK(includes.front().line == 4);
}

TEST_CASE("depscan lexer: line continuations", "[depscan][lexer]") {
    CHECK(included("#inc\\\nlude <a>") == Names{"<a>"});
    CHECK(included("#\\\n include \\\n \"a\\\nb\"") == Names{"\"ab\""});
    CHECK(included("\\\n#include <a>") == Names{"<a>"});
    CHECK(included("%\\\n:include <a>") == Names{"<a>"});
    CHECK(included("#include <a> \\\n<b>\n#include <c>") == Names{"<a>", "<c>"});
    CHECK(included("int a; \\\n#include <a>").empty());
    CHECK(included("#inc\\  \nlude <a>") == Names{"<a>"});  // compilers forgive the blanks
    CHECK(included("#include <a>\\") == Names{"<a>"});

    const auto includes = lex_includes("#define A \\\n  1\n\\\n#include <a>");
    REQUIRE(includes.size() == 1);
    CHECK(includes.front().line == 4);
}

TEST_CASE("depscan lexer: DOS and old line ends", "[depscan][lexer]") {
    CHECK(included("#include \"a\"\r\n#include <b>\r\n") == Names{"\"a\"", "<b>"});
    CHECK(included("#inc\\\r\nlude <a>\r\n") == Names{"<a>"});
    CHECK(included("#if 0\r\n#include <a>\r\n#endif\r\n#include MACRO\r\n") == Names{"[MACRO]"});
    CHECK(included("// \\\r\n#include <a>\r\n#include <b>") == Names{"<b>"});
}

TEST_CASE("depscan lexer: all branches count, except those of #if 0", "[depscan][lexer]") {
    CHECK(included("#ifdef A\n#include <a>\n#elif B\n#include <b>\n#else\n#include <c>\n#endif") ==
          Names{"<a>", "<b>", "<c>"});
    CHECK(included("#if 0\n#include <a>\n#else\n#include <b>\n#endif\n#include <c>") ==
          Names{"<b>", "<c>"});
    CHECK(included("#if 0\n#include <a>\n#elif X\n#include <b>\n#endif") == Names{"<b>"});
    CHECK(included("#if X\n#include <a>\n#elif 0\n#include <b>\n#else\n#include <c>\n#endif") ==
          Names{"<a>", "<c>"});
    CHECK(included("# if /* off */ 0 // off\n#include <a>\n# endif") == Names{});
    CHECK(included("#if 01\n#include <a>\n#endif") == Names{"<a>"});
    CHECK(included("#if 0 || X\n#include <a>\n#endif") == Names{"<a>"});
    CHECK(included("#if 0x1\n#include <a>\n#endif") == Names{"<a>"});
}

TEST_CASE("depscan lexer: nested conditionals", "[depscan][lexer]") {
    CHECK(included("#if 0\n#if X\n#include <a>\n#else\n#include <b>\n#endif\n#include <c>\n#endif\n"
                   "#include <d>") == Names{"<d>"});
    CHECK(included("#ifdef X\n#if 0\n#include <a>\n#endif\n#include <b>\n#endif") == Names{"<b>"});
    CHECK(included("#if 0\n#if 0\n#else\n#include <a>\n#endif\n#endif") == Names{});
    CHECK(included("#if 0\n#elifdef X\n#include <a>\n#endif") == Names{"<a>"});
    CHECK(included("#endif\n#else\n#elif 0\n#include <a>") == Names{"<a>"});
    CHECK(included("#if 0\n#include <a>") == Names{});
}

TEST_CASE("depscan lexer: any bytes", "[depscan][lexer]") {
    CHECK(included("#include \"\xff\xfe.h\"") == Names{"\"\xff\xfe.h\""});
    CHECK(included("// \xc3\x28\n\xff\xff\n#include <a>") == Names{"<a>"});
    CHECK(included("int a\0b;\n#include <a>"s) == Names{"<a>"});
    CHECK(included("\0#include <a>"s) == Names{"<a>"});
    CHECK(included("int gr\xc3\xb6\xc3\x9f"
                   "eR\"(\";\n#include <a>") == Names{"<a>"});
    std::string every_byte;
    for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
    CHECK(included(every_byte + "\n#include <a>") == Names{"<a>"});
}

TEST_CASE("depscan lexer: time is linear", "[depscan][lexer]") {
    const auto repeat = [](std::string_view piece, std::size_t bytes) {
        std::string text;
        while (text.size() < bytes) text += piece;
        return text;
    };
    constexpr std::size_t bytes = 2'000'000;
    for (const auto* piece :
         {"\\\n", "R\"(", "/*", "\"", "#if 0\n", "1'", "%", "#include <", "'\\"}) {
        const auto start = std::chrono::steady_clock::now();
        lex_includes(repeat(piece, bytes));
        CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds{20});
    }
}

// Graph

TEST_CASE("depscan graph: totals", "[depscan][graph]") {
    auto graph = graph_of({{"/a.cpp", {"/a.h", "/b.h"}}, {"/a.h", {"/b.h", "/b.h"}}, {"/b.h", {}}});
    graph.merge({.file = "/b.h", .external = {"vector"}, .computed = {{.line = 3, .name = "X"}}});
    graph.merge({.file = "/c.cpp", .failure = "no such file"});
    const auto summary = graph.summary();
    CHECK(summary.files == 4);
    CHECK(summary.sources == 2);
    CHECK(summary.headers == 2);
    CHECK(summary.includes == 3);
    CHECK(summary.external == Names{"vector"});
    CHECK(summary.computed ==
          std::vector<LocatedMention>{{.file = "/b.h", .mention = {.line = 3, .name = "X"}}});
    CHECK(summary.failures == std::vector<Failure>{{.file = "/c.cpp", .reason = "no such file"}});
    CHECK(summary.deepest_chain == Names{"/a.cpp", "/a.h", "/b.h"});
    CHECK(summary.most_included == std::vector<IncludeCount>{{.file = "/b.h", .includers = 2},
                                                             {.file = "/a.h", .includers = 1}});
    CHECK(summary.cycles.empty());
}

TEST_CASE("depscan graph: nothing at all", "[depscan][graph]") {
    const auto summary = IncludeGraph{}.summary();
    CHECK(summary == GraphSummary{});
}

TEST_CASE("depscan graph: the order of merging does not matter", "[depscan][graph]") {
    std::vector<FileIncludes> files{
        {.file = "a", .includes = {"b", "c"}},
        {.file = "b", .includes = {"c", "a"}},
        {.file = "c", .includes = {"d"}, .unresolved = {{.line = 1, .name = "x"}}},
        {.file = "c", .includes = {"a"}, .external = {"y"}},
        {.file = "d", .failure = "one"},
        {.file = "d", .failure = "two"},
    };
    std::optional<GraphSummary> expected;
    std::ranges::sort(files);
    do {
        IncludeGraph graph;
        for (const auto& file : files) graph.merge(file);
        if (!expected) expected = graph.summary();
        REQUIRE(graph.summary() == *expected);
    } while (std::ranges::next_permutation(files).found);
}

TEST_CASE("depscan graph: cycles", "[depscan][graph]") {
    SECTION("two files, entered from outside") {
        const auto summary = graph_of({{"a", {"b"}}, {"b", {"a"}}, {"main", {"b"}}}).summary();
        CHECK(summary.cycles == std::vector<Cycle>{{.files = 2, .loop = {"a", "b"}}});
        CHECK(summary.deepest_chain == Names{"main", "b", "a"});
    }
    SECTION("a file that includes itself") {
        const auto summary = graph_of({{"a", {"a"}}}).summary();
        CHECK(summary.cycles == std::vector<Cycle>{{.files = 1, .loop = {"a"}}});
        CHECK(summary.deepest_chain == Names{"a"});
    }
    SECTION("the loop that is shown is a shortest one") {
        const auto summary =
            graph_of({{"a", {"b"}}, {"b", {"c", "d"}}, {"c", {"d"}}, {"d", {"a"}}}).summary();
        CHECK(summary.cycles == std::vector<Cycle>{{.files = 4, .loop = {"a", "b", "d"}}});
    }
    SECTION("two cycles, one below the other") {
        const auto summary =
            graph_of({{"a", {"b"}}, {"b", {"a", "x"}}, {"x", {"y"}}, {"y", {"x"}}}).summary();
        CHECK(summary.cycles == std::vector<Cycle>{{.files = 2, .loop = {"a", "b"}},
                                                   {.files = 2, .loop = {"x", "y"}}});
        CHECK(summary.deepest_chain == Names{"a", "b", "x", "y"});
    }
}

TEST_CASE("depscan graph: most included, the limit and ties", "[depscan][graph]") {
    const auto graph =
        graph_of({{"p", {"z", "y", "x"}}, {"q", {"z", "y", "x"}}, {"r", {"z", "w"}}});
    CHECK(graph.summary(3).most_included ==
          std::vector<IncludeCount>{{.file = "z", .includers = 3},
                                    {.file = "x", .includers = 2},
                                    {.file = "y", .includers = 2}});
}

TEST_CASE("depscan graph: linear where there are exponentially many chains", "[depscan][graph]") {
    IncludeGraph graph;
    constexpr int levels = 20'000;  // also deeper than a recursive walk could go
    const auto name = [](int level, char side) { return std::to_string(100'000 + level) + side; };
    for (int level = 0; level < levels; ++level) {
        const Names next{name(level + 1, 'a'), name(level + 1, 'b')};
        graph.merge({.file = name(level, 'a'), .includes = next});
        graph.merge({.file = name(level, 'b'), .includes = next});
    }
    CHECK(graph.summary().deepest_chain.size() == levels + 1);
}

TEST_CASE("depscan graph: one large cycle with chords", "[depscan][graph]") {
    IncludeGraph graph;
    constexpr int files = 20'000;
    for (int file = 0; file < files; ++file) {
        graph.merge({.file = std::to_string(file),
                     .includes = {std::to_string((file + 1) % files),
                                  std::to_string((file * 7 + 3) % files)}});
    }
    const auto summary = graph.summary();
    REQUIRE(summary.cycles.size() == 1);
    CHECK(summary.cycles.front().files == files);
    auto chain = summary.deepest_chain;
    for (std::size_t at = 1; at < chain.size(); ++at) {
        REQUIRE(graph.nodes().at(chain[at - 1]).includes.contains(chain[at]));
    }
    std::ranges::sort(chain);
    CHECK(std::ranges::adjacent_find(chain) == chain.end());
}

// Sources

TEST_CASE("depscan sources: splitting a command", "[depscan][sources]") {
    CHECK(split_command("g++  -c\ta.cpp \n") == Names{"g++", "-c", "a.cpp"});
    CHECK(split_command("") == Names{});
    CHECK(split_command("-I'a b' -I\"c d\" -Ie\\ f") == Names{"-Ia b", "-Ic d", "-Ie f"});
    CHECK(split_command(R"(-DX="\"y\"" '\n' "\n" "\\" '')") ==
          Names{"-DX=\"y\"", "\\n", "\\n", "\\", ""});
    CHECK(split_command("'open end") == Names{"open end"});
    CHECK(split_command("end\\") == Names{"end\\"});
}

TEST_CASE("depscan sources: a compilation database", "[depscan][sources]") {
    const auto commands = parse_compile_commands(R"([
        {"directory": "/nowhere/build", "file": "../a.cpp",
         "command": "g++ -I../include -isystem /sys -iquote q -idirafter after -I /i -c ../a.cpp"},
        {"directory": "/nowhere/build", "file": "/nowhere/b.c",
         "arguments": ["cc", "-I", "x y", "-isystem/joined", "-c", "/nowhere/b.c"], "output": "b.o"}
    ])");
    REQUIRE(commands.size() == 2);
    CHECK(commands[0].file == "/nowhere/a.cpp");
    CHECK(commands[0].search_path == SearchPath{.quoted = {"/nowhere/build/q"},
                                                .normal = {"/nowhere/include", "/i"},
                                                .system = {"/sys", "/nowhere/build/after"}});
    CHECK(commands[1].file == "/nowhere/b.c");
    CHECK(commands[1].search_path ==
          SearchPath{.normal = {"/nowhere/build/x y"}, .system = {"/joined"}});
}

TEST_CASE("depscan sources: a bad compilation database says what is wrong", "[depscan][sources]") {
    const auto error_of = [](std::string_view text) -> std::string {
        try {
            parse_compile_commands(text);
        } catch (const SourcesError& error) {
            return error.what();
        }
        return "no error";
    };
    CHECK(error_of("[") == "not valid JSON");
    CHECK(error_of("") == "not valid JSON");
    CHECK(error_of("\xff") == "not valid JSON");
    CHECK(error_of("{}") == "not a compilation database (a JSON array)");
    CHECK(error_of("[]") == "no error");
    CHECK(error_of("[1]").starts_with("entry 1: "));
    CHECK(error_of(R"([{"file": "a"}])").starts_with("entry 1: "));
    CHECK(error_of(R"([{"file": "a", "command": "cc"}, {"command": "cc"}])")
              .starts_with("entry 2: "));
    CHECK(error_of(R"([{"file": 3, "command": "cc"}])").starts_with("entry 1: "));
    CHECK(error_of(R"([{"file": "a", "arguments": ["cc", "-I"]}])") ==
          "entry 1: no folder after -I");
}

TEST_CASE("depscan sources: a folder", "[depscan][sources]") {
    const TemporaryFolder folder;
    folder.write("p/include/lib/a.hpp", "");
    folder.write("p/include/lib/detail/b.hpp", "");
    folder.write("p/include/lib/notes.txt", "");
    folder.write("p/include/lib/.hidden/c.hpp", "");
    folder.write("p/src/a.cpp", "");
    std::filesystem::create_symlink(folder / "p", folder / "p/include/lib/loop");

    const auto names = [](const SourceSet& set) {
        Names files;
        for (const auto& source : set.sources()) files.push_back(source.file);
        std::ranges::sort(files);
        return files;
    };
    const auto library = read_sources({folder / "p/include/lib/"}, {.system = {"/sys"}});
    CHECK(names(library) ==
          Names{folder / "p/include/lib/a.hpp", folder / "p/include/lib/detail/b.hpp"});
    CHECK(library.search_paths() ==
          std::vector<SearchPath>{
              {.normal = {folder / "p/include/lib", folder / "p/include"}, .system = {"/sys"}}});

    const auto project = read_sources({folder / "p"}, {});
    CHECK(project.sources().size() == 3);
    CHECK(project.search_paths().front().normal ==
          Names{folder / "p", folder / "p/include", folder / "p/src"});
}

TEST_CASE("depscan sources: each search path is kept once", "[depscan][sources]") {
    SourceSet set;
    set.add("a", {.normal = {"x"}});
    set.add("b", {.normal = {"y"}});
    set.add("c", {.normal = {"x"}});
    CHECK(set.search_paths().size() == 2);
    CHECK(set.sources() == std::vector<Source>{{.file = "a", .search_path = 0},
                                               {.file = "b", .search_path = 1},
                                               {.file = "c", .search_path = 0}});
}

TEST_CASE("depscan sources: paths that give nothing to scan", "[depscan][sources]") {
    const TemporaryFolder folder;
    folder.write("notes.txt", "");
    folder.write("bad.json", "nonsense");
    folder.write("empty.json", "[]");
    CHECK_THROWS_AS(read_sources({folder / "missing"}, {}), SourcesError);
    CHECK_THROWS_AS(read_sources({folder.path()}, {}), SourcesError);
    CHECK_THROWS_AS(read_sources({folder / "notes.txt"}, {}), SourcesError);
    CHECK_THROWS_AS(read_sources({folder / "bad.json"}, {}), SourcesError);
    CHECK_THROWS_AS(read_sources({folder / "empty.json"}, {}), SourcesError);
}

// File scanner

TEST_CASE("depscan scanner: where a header is found", "[depscan][scanner]") {
    const TemporaryFolder folder;
    const auto source = folder.write("src/a.cpp",
                                     "#include \"own.h\"\n"
                                     "#include <own.h>\n"
                                     "#include \"both.h\"\n"
                                     "#include <both.h>\n"
                                     "#include \"quoted.h\"\n"
                                     "#include <quoted.h>\n"
                                     "#include \"../src/../src/own.h\"\n"
                                     "#include \"missing.h\"\n"
                                     "#include <sys/missing.h>\n"
                                     "#include MACRO\n"
                                     "#include <folder.h>\n");
    const auto own = folder.write("src/own.h", "");
    const auto both_own = folder.write("src/both.h", "");
    const auto both_i = folder.write("i/both.h", "");
    folder.write("sys/both.h", "");
    const auto quoted = folder.write("q/quoted.h", "");
    std::filesystem::create_directories(folder / "i/folder.h");
    const auto in_system = folder.write("sys/folder.h", "");

    FileScanner scanner;
    const auto result = scanner.scan(source, {.quoted = {folder / "q"},
                                              .normal = {folder / "none", folder / "i"},
                                              .system = {folder / "sys"}});
    CHECK(result.failure.empty());
    CHECK(result.includes == Names{own, both_own, both_i, quoted, own, in_system});
    CHECK(result.external == Names{"own.h", "quoted.h", "sys/missing.h"});
    CHECK(result.unresolved == std::vector<Mention>{{.line = 8, .name = "missing.h"}});
    CHECK(result.computed == std::vector<Mention>{{.line = 10, .name = "MACRO"}});
}

TEST_CASE("depscan scanner: include_next goes on behind the file's own folder",
          "[depscan][scanner]") {
    const TemporaryFolder folder;
    const auto first = folder.write("1/x.h", "#include_next <x.h>\n#include_next \"x.h\"\n");
    const auto second = folder.write("2/x.h", "#include_next <x.h>\n");
    folder.write("0/x.h", "");
    const SearchPath search_path{.normal = {folder / "0", folder / "1", folder / "2"}};
    FileScanner scanner;
    CHECK(scanner.scan(first, search_path).includes == Names{second, second});
    CHECK(scanner.scan(second, search_path).external == Names{"x.h"});
}

TEST_CASE("depscan scanner: one file, one name", "[depscan][scanner]") {
    const TemporaryFolder folder;
    const auto real = folder.write("real/a.h", "");
    std::filesystem::create_directory_symlink(folder / "real", folder / "link");
    const auto source = folder.write("a.cpp", "#include <a.h>\n#include \"link/a.h\"\n");
    FileScanner scanner;
    CHECK(scanner.scan(source, {.normal = {folder / "link"}}).includes == Names{real, real});
}

TEST_CASE("depscan scanner: what cannot be read is a failure", "[depscan][scanner]") {
    const TemporaryFolder folder;
    FileScanner scanner;
    CHECK(scanner.scan(folder / "missing.h", {}).failure == "No such file or directory");
    CHECK(scanner.scan(folder.path(), {}).failure == "not a file");
    const auto secret = folder.write("secret.h", "#include <a>\n");
    std::filesystem::permissions(secret, std::filesystem::perms::none);
    if (geteuid() != 0) CHECK(scanner.scan(secret, {}).failure == "Permission denied");
}

TEST_CASE("depscan scanner: files and look-ups are remembered", "[depscan][scanner]") {
    const TemporaryFolder folder;
    const auto source = folder.write("a.cpp", "#include <b.h>\n");
    const auto header = folder.write("i/b.h", "");
    FileScanner scanner;
    scanner.scan(source, {.normal = {folder / "i"}});
    const auto first = scanner.take_cache_use();
    CHECK(first.files_read == 1);
    CHECK(first.lookups_made == 1);
    CHECK(scanner.scan(source, {.normal = {folder / "none", folder / "i"}}).includes ==
          Names{header});
    const auto second = scanner.take_cache_use();
    CHECK(second.files_read == 0);
    CHECK(second.files_reused == 1);
    CHECK(second.lookups_made == 1);
    CHECK(second.lookups_reused == 1);
}

// Work queue, chaos, options, progress, report

TEST_CASE("depscan queue: each file once for each search path", "[depscan][queue]") {
    WorkQueue queue;
    CHECK(queue.all_finished());
    queue.add("a", 0);
    queue.add("a", 0);
    queue.add("a", 3);
    CHECK(queue.known() == 2);
    const auto first = queue.take(1);
    const auto second = queue.take(1);
    REQUIRE(first);
    REQUIRE(second);
    CHECK(first->search_path == 0);
    CHECK(second->search_path == 3);
    CHECK_FALSE(queue.take(1));
    queue.finish(*first);
    CHECK_FALSE(queue.all_finished());
    queue.finish(*second);
    CHECK(queue.all_finished());
}

TEST_CASE("depscan queue: a batch has one search path and a bounded size", "[depscan][queue]") {
    WorkQueue queue;
    for (int file = 0; file < 1000; ++file) queue.add(std::to_string(file), file % 2 == 0 ? 0 : 1);
    std::size_t files = 0;
    while (const auto batch = queue.take(4)) {
        CHECK(batch->files.size() <= 32);
        files += batch->files.size();
    }
    CHECK(files == 1000);
}

TEST_CASE("depscan queue: a suspect that fails again is split", "[depscan][queue]") {
    WorkQueue queue;
    for (const auto* file : {"a", "b", "c", "d"}) queue.add(file, 0);
    auto batch = queue.take(1);
    REQUIRE(batch);
    REQUIRE(batch->files == Names{"a", "b"});
    CHECK_FALSE(queue.has_suspects());
    CHECK_FALSE(queue.take_suspect());

    batch->failed_attempts = 1;
    queue.put_back(*batch);
    CHECK(queue.has_suspects());
    CHECK(queue.take(1)->files == Names{"c"});
    batch = queue.take_suspect();
    REQUIRE(batch);
    REQUIRE(batch->files == Names{"a", "b"});

    batch->failed_attempts = 2;
    queue.put_back(*batch);
    const auto first = queue.take_suspect();
    const auto second = queue.take_suspect();
    REQUIRE(first);
    REQUIRE(second);
    CHECK(first->files == Names{"a"});
    CHECK(first->failed_attempts == 2);
    CHECK(second->files == Names{"b"});
    CHECK_FALSE(queue.has_suspects());
    CHECK(queue.known() == 4);
}

TEST_CASE("depscan chaos: seeded and bounded", "[depscan][chaos]") {
    const auto victims = [](std::optional<std::uint32_t> seed, std::size_t workers) {
        Chaos chaos{seed, workers};
        std::vector<std::optional<std::size_t>> drawn;
        for (int answer = 0; answer < 200; ++answer) drawn.push_back(chaos.victim());
        return drawn;
    };
    CHECK(victims(7, 3) == victims(7, 3));
    CHECK(victims(7, 3) != victims(8, 3));
    const auto some = victims(0, 3);
    for (std::size_t worker = 0; worker < 3; ++worker) {
        CHECK(std::ranges::count(some, std::optional{worker}) == 2);
    }
    CHECK(victims({}, 3) == std::vector<std::optional<std::size_t>>(200));
}

TEST_CASE("depscan options", "[depscan][options]") {
    const auto options = parse_options({"--json", "-I", "/a", "-I/b", "-isystem", "/c", "--workers",
                                        "3", "--chaos=9", "x", "--", "-y"});
    CHECK(options.json);
    CHECK(options.workers == 3);
    CHECK(options.chaos_seed == 9U);
    CHECK(options.search_path == SearchPath{.normal = {"/a", "/b"}, .system = {"/c"}});
    CHECK(options.paths == Names{"x", "-y"});
    CHECK(parse_options({"--workers=2", "x"}).workers == 2);
    CHECK(parse_options({"--chaos", "x"}).chaos_seed == 1U);
    CHECK_FALSE(parse_options({"x"}).chaos_seed);
    CHECK(parse_options({"--help"}).help);
}

TEST_CASE("depscan options: wrong usage", "[depscan][options]") {
    const std::vector<Names> wrong{
        {},          {"--jsn", "x"},    {"--workers=0", "x"},  {"--workers=-1", "x"},
        {"-I"},      {"--workers"},     {"--workers=65", "x"}, {"--workers=2x", "x"},
        {"-q", "x"}, {"--chaos=", "x"}, {"--chaos=many", "x"}, {"--workers", "", "x"},
    };
    for (const auto& arguments : wrong) CHECK_THROWS_AS(parse_options(arguments), UsageError);
}

TEST_CASE("depscan progress: a few plain lines", "[depscan][progress]") {
    std::ostringstream out;
    {
        Progress progress{out, Progress::Style::lines};
        progress.update(0, 0);
        for (std::size_t finished = 1; finished <= 1000; ++finished) {
            progress.update(finished, std::min<std::size_t>(1000, 100 + finished));
        }
    }
    const auto text = out.str();
    CHECK(std::ranges::count(text, '\n') <= 10);
    CHECK(text.ends_with("depscan: scanned 1000 of 1000\n"));
    CHECK(text.find('\r') == std::string::npos);
}

TEST_CASE("depscan progress: one line on a terminal, none when silent", "[depscan][progress]") {
    std::ostringstream out;
    { Progress{out, Progress::Style::silent}.update(1, 2); }
    CHECK(out.str().empty());
    { Progress{out, Progress::Style::terminal}.update(1, 2); }
    CHECK(out.str() == "\rdepscan: scanned 1 of 2\x1b[K\r\x1b[K");
}

TEST_CASE("depscan report: JSON", "[depscan][report]") {
    auto graph = graph_of({{"/a.cpp", {"/\xff.h"}}, {"/\xff.h", {"/\xff.h"}}});
    graph.merge({.file = "/a.cpp", .unresolved = {{.line = 2, .name = "x.h"}}});
    std::ostringstream out;
    print_json(out, graph, graph.summary(), {.workers = 2, .seconds = 0.5});
    const auto report = nlohmann::json::parse(out.str());
    const std::string odd = "/\xEF\xBF\xBD.h";
    CHECK(report.size() == 2);
    CHECK(report["run"]["workers"] == 2);
    CHECK(report["scan"]["files"] == 2);
    CHECK(report["scan"]["includes"]["/a.cpp"] == nlohmann::json::array({odd}));
    CHECK(report["scan"]["cycles"][0]["loop"] == nlohmann::json::array({odd}));
    CHECK(report["scan"]["unresolved"][0] ==
          nlohmann::json{{"file", "/a.cpp"}, {"line", 2}, {"name", "x.h"}});
}

TEST_CASE("depscan report: text", "[depscan][report]") {
    auto graph = graph_of({{"/a.cpp", {"/b.h"}}, {"/b.h", {"/c.h"}}, {"/c.h", {"/b.h"}}});
    graph.merge({.file = "/c.h", .external = {"vector"}, .computed = {{.line = 4, .name = "X"}}});
    std::ostringstream out;
    print_summary(out, graph.summary(), {.workers = 1, .batches = 3, .seconds = 0.125});
    CHECK(out.str() ==
          "3 files (1 sources, 2 headers), 3 includes, 1 external headers\n"
          "\n"
          "deepest chain: 3 files\n"
          "  /a.cpp\n"
          "  /b.h\n"
          "  /c.h\n"
          "\n"
          "most included headers\n"
          "     2  /b.h\n"
          "     1  /c.h\n"
          "\n"
          "cycles: 1\n"
          "  /b.h -> /c.h -> /b.h\n"
          "\n"
          "computed includes, not followed: 1\n"
          "  /c.h:4: X\n"
          "\n"
          "1 worker, 3 batches, 0.12 s\n");
}
