// plugin_host as its users run it; the program and its plugins are in TETHER_EXAMPLES_DIR.
#include <nlohmann/json.hpp>

#include <string>

#include "depscan_support.hpp"
#include "run_program.hpp"
#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace {

ProgramRun run_plugin_host(const std::string& arguments) {
    // A crash shall be one, also where a sanitizer would catch it.
    return run_program(
        "ASAN_OPTIONS=\"$ASAN_OPTIONS:handle_segv=0\" TSAN_OPTIONS=\"$TSAN_OPTIONS:handle_segv=0\" "
        "'" TETHER_EXAMPLES_DIR "/plugin_host' " +
        arguments);
}

std::string plugin(const std::string& name) {
    return " '" TETHER_EXAMPLES_DIR "/plugins/" + name + ".so'";
}

constexpr auto expected = R"json({
    "plugins": [
        {"plugin": "aborts", "fate": "crashed", "detail": "was killed by signal 6 (SIGABRT)",
         "last_words": ["aborts: internal error: table is empty"]},
        {"plugin": "endless", "fate": "timed out", "detail": "no answer within 4000 ms",
         "last_words": ["endless: this may take a while"]},
        {"plugin": "noisy", "fate": "ok",
         "findings": [{"line": 1, "message": "the first line is a bit quiet"}]},
        {"plugin": "null_pointer", "fate": "crashed", "detail": "was killed by signal 11 (SIGSEGV)",
         "last_words": ["null_pointer: opening the word list"]},
        {"plugin": "quits", "fate": "exited", "detail": "exited with code 0", "last_words": []},
        {"plugin": "throws", "fate": "failed", "detail": "no dictionary for this language",
         "last_words": []},
        {"plugin": "trailing_space", "fate": "ok",
         "findings": [{"line": 2, "message": "space at the end of the line"}]}
    ],
    "ran": 7,
    "ok": 2
})json";

}  // namespace

#if !defined(TETHER_TEST_TSAN)  // where a null pointer can be followed
TEST_CASE("plugin_host run: each plugin's fate, and nothing else, is on stdout",
          "[plugin_host][run]") {
    const TemporaryFolder folder;
    const auto text = folder.write("text", "one\ntwo \n");
    const auto run =
        run_plugin_host("--json --timeout=4000 " + text + plugin("aborts") + plugin("endless") +
                        plugin("noisy") + plugin("null_pointer") + plugin("quits") +
                        plugin("throws") + plugin("trailing_space") + " 2>/dev/null");
    CHECK(run.exit_code == 1);
    CHECK(nothing_left_behind());
    // Parsing fails if anything else is on stdout.
    CHECK(nlohmann::json::parse(run.out) == nlohmann::json::parse(expected));
}

#endif

TEST_CASE("plugin_host run: what plugins print goes to stderr, without control characters",
          "[plugin_host][run]") {
    const TemporaryFolder folder;
    const auto text = folder.write("text", "one\n");
    const auto run = run_plugin_host(text + plugin("noisy") + " 2>&1 >/dev/null");
    CHECK(run.exit_code == 0);
    CHECK(run.out.find("  > {\"plugin\": \"noisy\"") != std::string::npos);
    CHECK(run.out.find("99% done?100% done\n") != std::string::npos);
    CHECK(run.out.find_first_of(std::string{"\0\033\r", 3}) == std::string::npos);
}

TEST_CASE("plugin_host run: many crashes are no reason to give up", "[plugin_host][run]") {
    const TemporaryFolder folder;
    const auto text = folder.write("text", "one\n");
    std::string plugins;
    for (int i = 0; i < 12; ++i) plugins += plugin("quits");
    const auto run = run_plugin_host(text + plugins + plugin("trailing_space") + " 2>/dev/null");
    CHECK(run.exit_code == 1);
    CHECK(run.out.ends_with("trailing_space: ok\n13 plugins, 1 ok\n"));
}

TEST_CASE("plugin_host run: no plugin, wrong usage", "[plugin_host][run]") {
    const TemporaryFolder folder;
    const auto text = folder.write("text", "one\n");
    const auto no_plugin = run_plugin_host(text + " " + text + " 2>/dev/null");
    CHECK(no_plugin.exit_code == 1);
    CHECK(no_plugin.out.starts_with("text: failed: " + text));
    CHECK(run_plugin_host("2>/dev/null").exit_code == 2);
    CHECK(run_plugin_host("--timeout=x a b 2>/dev/null").exit_code == 2);
    CHECK(run_plugin_host("/missing" + plugin("noisy") + " 2>/dev/null").exit_code == 1);
}
