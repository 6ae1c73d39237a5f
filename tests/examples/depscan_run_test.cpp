// depscan as its users run it; the programs are in TETHER_EXAMPLES_DIR.
#include <nlohmann/json.hpp>

#include <cstdio>
#include <string>

#include <sys/wait.h>

#include "depscan_support.hpp"
#include "support/catch.hpp"

namespace {

struct Run {
    int exit_code = -1;
    std::string out{};
};

/// Runs it in a shell, so that a test can redirect stderr. stdout is returned.
Run run_depscan(const std::string& arguments) {
    const auto command = std::string{"'" TETHER_EXAMPLES_DIR "/depscan' "} + arguments;
    FILE* pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    Run run;
    char buffer[4096];
    while (const auto size = std::fread(buffer, 1, sizeof buffer, pipe)) {
        run.out.append(buffer, size);
    }
    const int status = pclose(pipe);
    if (WIFEXITED(status)) run.exit_code = WEXITSTATUS(status);
    return run;
}

nlohmann::json scan(const std::string& arguments) {
    const auto run = run_depscan("--json " + arguments + " 2>/dev/null");
    REQUIRE(run.exit_code == 0);
    return nlohmann::json::parse(run.out);  // throws if anything else is on stdout
}

/// A project of many small files: two targets with search paths of their own share headers, one of
/// which is found in a different place by each.
void write_project(const TemporaryFolder& folder) {
    constexpr int sources = 80;
    constexpr int headers = 120;
    nlohmann::json database;
    for (int number = 0; number < sources; ++number) {
        const auto name = "src/" + std::to_string(number) + ".cpp";
        folder.write(name, "#include <h" + std::to_string(number) + ".h>\n#include <string>\n");
        const std::string target = number % 2 == 0 ? "even" : "odd";
        database.push_back({{"directory", folder.path()},
                            {"file", name},
                            {"command", "c++ -Iinclude -I" + target + " -c " + name}});
    }
    for (int number = 0; number < headers; ++number) {
        folder.write("include/h" + std::to_string(number) + ".h",
                     "#include \"h" + std::to_string(number + 1) + ".h\"\n#include <target.h>\n");
    }
    folder.write("include/h120.h", "#include \"h119.h\"\n#include MACRO\n");
    folder.write("even/target.h", "");
    folder.write("odd/target.h", "#include \"missing.h\"\n");
    folder.write("compile_commands.json", database.dump());
}

}  // namespace

TEST_CASE("depscan run: the whole graph of a project", "[depscan][run]") {
    const TemporaryFolder folder;
    write_project(folder);
    const auto report = scan("--workers 2 " + folder / "compile_commands.json");
    const auto& graph = report["scan"];
    CHECK(graph["files"] == 80 + 121 + 2);
    CHECK(graph["sources"] == 80);
    CHECK(graph["deepest_chain"].size() == 122);
    CHECK(graph["deepest_chain"][0] == folder / "src/0.cpp");
    CHECK(graph["most_included"][0]["includers"] == 120);
    CHECK(graph["cycles"][0]["loop"].size() == 2);
    CHECK(graph["computed"].size() == 1);
    CHECK(graph["unresolved"].size() == 1);
    CHECK(graph["external"] == nlohmann::json::array({"string"}));
    CHECK(report["run"]["workers"] == 2);
}

TEST_CASE("depscan run: killed workers and their number change nothing", "[depscan][run]") {
    const TemporaryFolder folder;
    write_project(folder);
    const auto database = folder / "compile_commands.json";
    const auto expected = scan("--workers 1 " + database)["scan"];
    for (const auto* options : {"--workers 3", "--workers 1 --chaos", "--workers 2 --chaos=2",
                                "--workers 3 --chaos=3", "--workers 4 --chaos=4"}) {
        INFO(options);
        const auto report = scan(std::string{options} + " " + database);
        CHECK(report["scan"] == expected);
        const bool chaos = std::string{options}.find("--chaos") != std::string::npos;
        CHECK((report["run"]["killed_workers"] > 0) == chaos);
    }
}

TEST_CASE("depscan run: the summary is on stdout, progress is not", "[depscan][run]") {
    const TemporaryFolder folder;
    write_project(folder);
    const auto run = run_depscan(folder / "compile_commands.json" + " 2>/dev/null");
    CHECK(run.exit_code == 0);
    CHECK(run.out.starts_with("203 files (80 sources, 123 headers), "));
    CHECK(run.out.find('\r') == std::string::npos);
    const auto progress = run_depscan(folder / "compile_commands.json" + " 2>&1 >/dev/null");
    CHECK(progress.out.starts_with("depscan: "));
    CHECK(progress.out.ends_with("depscan: scanned 323 of 323\n"));
    CHECK(run_depscan("--quiet " + folder / "compile_commands.json" + " 2>&1 >/dev/null")
              .out.empty());
}

TEST_CASE("depscan run: exit codes and errors", "[depscan][run]") {
    const TemporaryFolder folder;
    write_project(folder);
    folder.write("gone.json", R"([{"directory": "/", "file": "/gone.cpp", "command": "cc"}])");
    CHECK(run_depscan("--help").exit_code == 0);
    CHECK(run_depscan("--help").out.find("--workers N") != std::string::npos);

    const auto no_path = run_depscan("2>&1");
    CHECK(no_path.exit_code == 2);
    CHECK(no_path.out.find("depscan --help") != std::string::npos);
    CHECK(run_depscan("--nonsense x 2>/dev/null").exit_code == 2);

    const auto missing = run_depscan(folder / "missing" + " 2>&1");
    CHECK(missing.exit_code == 1);
    CHECK(missing.out == "depscan: " + folder / "missing" + ": no such file or folder\n");

    const auto gone = run_depscan("--quiet " + folder / "gone.json");
    CHECK(gone.exit_code == 1);
    CHECK(gone.out.find("/gone.cpp: No such file or directory") != std::string::npos);
    CHECK(run_depscan(folder / "src" + " >/dev/full 2>/dev/null").exit_code == 1);
}
