// WorkerOptions, as the worker's process sees them.

#include <climits>
#include <stdexcept>

#include "process/support/worker_under_test.hpp"

namespace tether_test::worker_options_test {
namespace {

TEST_CASE("arguments arrive as they are", "[process][options]") {
    const Census census;
    const std::vector<std::string> arguments{"serve",      "",      "two words",
                                             "\"quotes\"", "$HOME", "\xff\xfe"};
    auto options = options_for({"serve", "", "two words", "\"quotes\"", "$HOME"}, each_transport());
    TestWorker worker{options};
    CHECK(worker.call(Who{}).arguments == options.arguments);
    options.arguments = arguments;
    worker.restart(options);
    CHECK(worker.call(Who{}).arguments == arguments);
}

TEST_CASE("changes to the environment", "[process][options][F70]") {
    const Census census;
    ::setenv("TETHER_TEST_KEPT", "kept", 1);
    ::setenv("TETHER_TEST_REMOVED", "there", 1);
    ::setenv("TETHER_TEST_CHANGED", "before", 1);
    auto options = options_for();
    options.environment["TETHER_TEST_REMOVED"] = std::nullopt;
    options.environment["TETHER_TEST_CHANGED"] = "after";
    options.environment["TETHER_TEST_ADDED"] = "a=b c";
    TestWorker worker{options};

    const auto environment = worker.call(Who{}).environment;

    const auto has = [&](std::string_view entry) {
        return std::find(environment.begin(), environment.end(), entry) != environment.end();
    };
    CHECK(has("TETHER_TEST_KEPT=kept"));
    CHECK(has("TETHER_TEST_CHANGED=after"));
    CHECK(has("TETHER_TEST_ADDED=a=b c"));
    for (const auto& entry : environment) {
        CHECK_FALSE(contains(entry, "TETHER_TEST_REMOVED"));
        // The mark of a worker is taken away, so that its own children are not workers by accident.
        CHECK_FALSE(entry.starts_with("TETHER_WORKER="));
    }
    CHECK(std::string{std::getenv("TETHER_TEST_CHANGED")} == "before");
    ::unsetenv("TETHER_TEST_KEPT");
    ::unsetenv("TETHER_TEST_REMOVED");
    ::unsetenv("TETHER_TEST_CHANGED");
}

TEST_CASE("no secret is in the command line or the environment", "[process][options][F60]") {
    const Census census;
    TestWorker worker{options_for()};
    worker.call(Nothing{});
    const auto folder = "/proc/" + std::to_string(worker.pid());
    const auto looks_secret = [](const std::string& text) {
        std::size_t run = 0;
        for (const char c : text) {
            run = std::isxdigit(static_cast<unsigned char>(c)) != 0 ? run + 1 : 0;
            if (run >= 32) return true;
        }
        return false;
    };
    CHECK_FALSE(looks_secret(read_file(folder + "/cmdline")));
    const auto environment = read_file(folder + "/environ");
    const auto mark = environment.find("TETHER_WORKER=");
    REQUIRE(mark != std::string::npos);
    CHECK(environment.find('\0', mark) - mark < 40);
}

TEST_CASE("the working directory", "[process][options]") {
    const Census census;
    const TemporaryFolder folder;
    auto options = options_for(each_transport());
    options.working_directory = folder.path();
    TestWorker worker{options};
    CHECK(worker.call(Who{}).working_directory == std::filesystem::canonical(folder.path()));
}

TEST_CASE("a relative program starts at the parent's working directory",
          "[process][options][F71]") {
    const Census census;
    const TemporaryFolder folder;
    const auto before = std::filesystem::current_path();
    std::filesystem::create_symlink(TETHER_MISBEHAVING_CHILD, folder / "tool");
    std::filesystem::current_path(folder.path());
    auto options = options_for();
    options.program = "./tool";
    options.name.clear();
    options.working_directory = "/";  // the program's path does not depend on it
    {
        TestWorker worker{options};
        CHECK(worker.call(Add{1, 2}) == 3);
        const auto error = error_of([&] { worker.call(Exit{3, {}}); });
        REQUIRE(error.report() != nullptr);
        CHECK(error.report()->worker == "tool");  // named after its file
    }
    std::filesystem::current_path(before);
}

TEST_CASE("a program is looked up in PATH", "[process][options]") {
    const Census census;
    const TemporaryFolder folder;
    std::filesystem::create_symlink(TETHER_MISBEHAVING_CHILD, folder / "tether-test-tool");
    const std::string before = std::getenv("PATH");
    ::setenv("PATH", (folder.path() + ":" + before).c_str(), 1);
    auto options = options_for();
    options.program = "tether-test-tool";
    {
        TestWorker worker{options};
        CHECK(worker.call(Add{1, 2}) == 3);
    }
    ::setenv("PATH", before.c_str(), 1);
}

TEST_CASE("options that contradict each other are refused at once", "[process][options]") {
    const Census census;
    const auto refused = [](auto change) {
        auto options = options_for();
        change(options);
        try {
            const TestWorker worker{options};
            return std::string{};
        } catch (const std::invalid_argument& error) {
            return std::string{error.what()};
        }
    };
    CHECK(contains(refused([](auto& o) { o.concurrency = 0; }), "concurrency"));
    CHECK(contains(refused([](auto& o) { o.max_message_bytes = 0; }), "max_message_bytes"));
    CHECK(contains(refused([](auto& o) { o.start_timeout = 0s; }), "start_timeout"));
    CHECK(contains(refused([](auto& o) { o.call_timeout = -1s; }), "call_timeout"));
    CHECK(contains(refused([](auto& o) { o.spin = 1s; }), "spin"));
    CHECK(contains(refused([](auto& o) { o.stuck.silence = 0s; }), "stuck.silence"));
    CHECK(contains(refused([](auto& o) { o.stuck.heartbeat = 0s; }), "stuck.heartbeat"));
    CHECK(contains(refused([](auto& o) { o.environment["a=b"] = "c"; }), "a=b"));
    CHECK(contains(refused([](auto& o) { o.environment[""] = "c"; }), "environment"));
    CHECK(contains(refused([](auto& o) { o.arguments = {std::string("a\0b", 3)}; }), "argument"));
    CHECK(contains(refused([](auto& o) { o.name = std::string(10'000, 'n'); }), "name"));

    TestWorker worker{options_for()};
    const auto pid = worker.pid();
    auto options = options_for();
    options.concurrency = 0;
    CHECK_THROWS_AS(worker.restart(options), std::invalid_argument);
    CHECK(worker.pid() == pid);  // nothing happened
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("any length of the temporary directory works", "[process][options][F64]") {
    const TemporaryFolder folder;
    const Census census;
    const std::string before = std::getenv("XDG_RUNTIME_DIR");
    // As deep as a path may be.
    std::string path = folder.path();
    while (path.size() + 220 < PATH_MAX - 64) {
        path += "/" + std::string(200, 'd');
        std::filesystem::create_directory(path);
        ::setenv("XDG_RUNTIME_DIR", path.c_str(), 1);
        TestWorker worker{options_for(tether::Transport::unix_path)};
        CHECK(worker.call(Add{1, 2}) == 3);
        worker.stop();
        CHECK(std::filesystem::is_empty(path));
    }
    ::setenv("XDG_RUNTIME_DIR", before.c_str(), 1);
}

TEST_CASE("a folder for sockets that is of no use is passed over", "[process][options][F67]") {
    const Census census;
    const std::string before = std::getenv("XDG_RUNTIME_DIR");
    const TemporaryFolder folder;
    ::setenv("TMPDIR", folder.path().c_str(), 1);
    for (const auto* useless : {"/nonexistent", "/proc", "relative", ""}) {
        CAPTURE(useless);
        ::setenv("XDG_RUNTIME_DIR", useless, 1);
        TestWorker worker{options_for(tether::Transport::unix_path)};
        CHECK(worker.call(Add{1, 2}) == 3);
        CHECK(std::filesystem::is_empty(folder.path()));
    }
    ::unsetenv("TMPDIR");
    ::setenv("XDG_RUNTIME_DIR", before.c_str(), 1);
}

TEST_CASE("unix_path leaves no file once connected", "[process][options][F85]") {
    const Census census;
    TestWorker worker{options_for(tether::Transport::unix_path)};
    worker.call(Nothing{});
    CHECK(eventually([] { return std::filesystem::is_empty(std::getenv("XDG_RUNTIME_DIR")); }));
    CHECK(worker.call(Add{1, 2}) == 3);
}

}  // namespace
}  // namespace tether_test::worker_options_test
