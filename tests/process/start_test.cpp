// Starts that fail: the first call says what failed, at once, and nothing is left behind.

#include <future>
#include <thread>

#include <sys/resource.h>

#include "process/support/worker_under_test.hpp"

namespace tether_test::start_test {
namespace {

void write_program(const std::string& path, const std::string& content, ::mode_t mode) {
    std::ofstream{path, std::ios::binary} << content;
    REQUIRE(::chmod(path.c_str(), mode) == 0);
}

// Makes a worker and calls it; gives back what the call threw.
CallError start_and_call(const tether::WorkerOptions& options) {
    TestWorker worker{options};
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Nothing{}); });
    CHECK(watch.elapsed() < soon);
    CHECK(worker.pid() == 0);
    return error;
}

void check_start_failure(const CallError& error, std::errc expected, const std::string& path) {
    INFO(error.what());
    CHECK(error.code() == errc::start_failed);
    CHECK(error.code() != errc::outcome_unknown);
    CHECK(error.system_code() == expected);
    CHECK(error.report() == nullptr);
    CHECK(contains(error.what(), path));
    CHECK(contains(error.what(), "child"));  // the worker's name
}

TEST_CASE("a program that does not exist", "[process][start][F5]") {
    const Census census;
    auto options = options_for(each_transport());
    options.program = "/nonexistent/tool";
    check_start_failure(start_and_call(options), std::errc::no_such_file_or_directory,
                        "/nonexistent/tool");
}

TEST_CASE("a program that is not in PATH", "[process][start][F5]") {
    const Census census;
    auto options = options_for();
    options.program = "no-such-tool-of-tether";
    check_start_failure(start_and_call(options), std::errc::no_such_file_or_directory,
                        "no-such-tool-of-tether");
}

TEST_CASE("only programs in absolute folders of PATH are found there", "[process][start]") {
    const Census census;
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder / "first/child");  // a folder is no program
    std::filesystem::create_directories(folder / "second");
    std::filesystem::create_symlink(TETHER_MISBEHAVING_CHILD, folder / "second/child");
    const std::string before = std::getenv("PATH");
    ::setenv("PATH", (":bin:" + (folder / "first") + ":" + (folder / "second")).c_str(), 1);
    auto options = options_for();
    options.program = "child";
    TestWorker worker{options};
    CHECK(worker.call(Add{1, 2}) == 3);
    options.program = "bin";
    check_start_failure(start_and_call(options), std::errc::no_such_file_or_directory, "\"bin\"");
    ::setenv("PATH", before.c_str(), 1);
}

TEST_CASE("a program that may not be executed", "[process][start][F5]") {
    const Census census;
    const TemporaryFolder folder;
    write_program(folder / "tool", "#!/bin/sh\nexit 0\n", 0644);
    auto options = options_for(each_transport());
    options.program = folder / "tool";
    check_start_failure(start_and_call(options), std::errc::permission_denied, folder / "tool");
}

TEST_CASE("a program that is a folder", "[process][start][F5]") {
    const Census census;
    const TemporaryFolder folder;
    auto options = options_for();
    options.program = folder.path();
    check_start_failure(start_and_call(options), std::errc::permission_denied, folder.path());
}

TEST_CASE("a program whose interpreter is missing", "[process][start][F5]") {
    const Census census;
    const TemporaryFolder folder;
    auto options = options_for();
    options.program = folder / "tool";
    const auto check = [&](const std::string& interpreter) {
        const auto error = start_and_call(options);
        check_start_failure(error, std::errc::no_such_file_or_directory, folder / "tool");
        CHECK(contains(error.what(), "whose interpreter \"" + interpreter + "\" cannot"));
    };
    write_program(folder / "tool", "#! /nonexistent/python -u\n", 0755);
    check("/nonexistent/python");
    write_program(folder / "tool", "#!/nonexistent/python", 0755);
    check("/nonexistent/python");
    write_program(folder / "tool", "#!/bin/sh\r\nexit 0\r\n", 0755);
    check("/bin/sh\\r");

    // A program whose loader is missing.
    std::ifstream file{"/bin/true", std::ios::binary};
    std::string elf{std::istreambuf_iterator<char>{file}, {}};
    const auto loader = elf.find("/ld-");
    if (loader == std::string::npos) return;
    elf.replace(loader, 4, "/no-");
    write_program(folder / "tool", elf, 0755);
    check(elf.substr(elf.rfind('\0', loader) + 1).c_str());
}

TEST_CASE("paths and names without superfluous parts", "[process][start]") {
    const Census census;
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder / "plugins");
    tether::WorkerOptions options;
    options.output = tether::Output::discard();
    const auto text = [&](const std::string& program) {
        options.program = program;
        return std::string{start_and_call(options).what()};
    };
    CHECK(contains(text((folder / "plugins") + "//"), "worker \"plugins\""));
    CHECK(contains(text((folder / "plugins") + "//"), "plugins, which is a directory"));
    CHECK(contains(text((folder / "plugins") + "/./"), "worker \"plugins\""));
    CHECK(contains(text("/"), "worker \"/\""));
    const auto here = std::filesystem::current_path();
    std::filesystem::current_path("/");
    const auto from_root = text("./no-such-tool");
    std::filesystem::current_path(folder.path());
    const auto from_folder = text(".//plugins/../no-such-tool");
    const auto folder_itself = text("./");
    std::filesystem::current_path(here);
    CHECK(contains(from_root, " /no-such-tool"));
    CHECK(contains(from_root, "worker \"no-such-tool\""));
    CHECK(contains(from_folder, (folder / "plugins/../no-such-tool")));
    CHECK(contains(folder_itself, "which is a directory"));
}

TEST_CASE("a program of another architecture", "[process][start][F5]") {
    const Census census;
    const TemporaryFolder folder;
    // The head of an ELF executable for a machine that nobody has.
    std::string elf{
        "\x7f"
        "ELF\x02\x01\x01"};
    elf.resize(64, '\0');
    elf[16] = 2;       // executable
    elf[18] = '\x5f';  // the machine
    elf[20] = 1;
    write_program(folder / "tool", elf, 0755);
    auto options = options_for(each_transport());
    options.program = folder / "tool";
    check_start_failure(start_and_call(options), std::errc::executable_format_error,
                        folder / "tool");
}

TEST_CASE("a program without a format", "[process][start][F5]") {
    const Census census;
    const TemporaryFolder folder;
    write_program(folder / "tool", "this is no program\n", 0755);
    auto options = options_for();
    options.program = folder / "tool";
    check_start_failure(start_and_call(options), std::errc::executable_format_error,
                        folder / "tool");
}

TEST_CASE("an argument list that is too long", "[process][start][F5]") {
    const Census census;
    auto options = options_for(each_transport());
    options.arguments.assign(64, std::string(100'000, 'a'));
    check_start_failure(start_and_call(options), std::errc::argument_list_too_long,
                        TETHER_MISBEHAVING_CHILD);
}

TEST_CASE("a working directory that does not exist", "[process][start][F5]") {
    const Census census;
    auto options = options_for(each_transport());
    options.working_directory = "/nonexistent/folder";
    check_start_failure(start_and_call(options), std::errc::no_such_file_or_directory,
                        "/nonexistent/folder");
}

TEST_CASE("a start that failed is tried again by the next call", "[process][start][F53]") {
    const Census census;
    const TemporaryFolder folder;
    auto options = options_for(each_transport());
    options.program = folder / "tool";
    TestWorker worker{options};
    CHECK(error_of([&] { worker.call(Nothing{}); }).code() == errc::start_failed);
    CHECK(error_of([&] { worker.call(Nothing{}); }).code() == errc::start_failed);

    std::filesystem::create_symlink(TETHER_MISBEHAVING_CHILD, folder / "tool");

    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("each failing start leaves nothing behind", "[process][start][F30]") {
    const Census census;
    auto options = options_for(each_transport());
    options.restart.budget = 1000;
    options.restart.initial_pause = 0s;
    options.program = "/nonexistent/tool";
    for (int i = 0; i < 100; ++i) {
        TestWorker worker{options};
        CHECK(error_of([&] { worker.call(Nothing{}); }).code() == errc::start_failed);
        CHECK(error_of([&] { worker.call(Nothing{}); }).code() == errc::start_failed);
    }
}

TEST_CASE("a worker that exits before it serves", "[process][start][F3]") {
    const Census census;
    const auto options = options_for({"exit", "3"}, each_transport());
    TestWorker worker{options};
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::start_failed);
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->status == tether::ExitStatus::exited(3));
    CHECK(contains(error.report()->stderr_tail, "the configuration is broken\n"));
    CHECK(contains(error.what(), "exited with code 3"));
    CHECK(contains(error.what(), "leaving before serving"));
}

TEST_CASE("a worker that aborts before it serves", "[process][start][F3]") {
    const Census census;
    TestWorker worker{options_for({"abort"}, each_transport())};
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(error.code() == errc::start_failed);
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->status == tether::ExitStatus::signaled(SIGABRT));
    CHECK(contains(error.report()->stderr_tail, "assertion failed before serving"));
}

TEST_CASE("a worker that is not ready within the start timeout", "[process][start]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for({"hang"}, each_transport());
    options.start_timeout = 200ms;
    mark.put_into(options);
    TestWorker worker{options};
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(watch.elapsed() >= 150ms);
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::start_timeout);
    CHECK(error.code() == std::errc::timed_out);
    CHECK(contains(error.what(), "200 ms"));
    CHECK(mark.all_gone());
}

TEST_CASE("a handler whose constructor throws", "[process][start][F80]") {
    const Census census;
    TestWorker worker{options_for({"throw"}, each_transport())};
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(error.code() == errc::start_failed);
    CHECK(contains(error.what(), "no rules were found"));
}

TEST_CASE("a worker that cannot serve says why first, and ends by itself", "[process][start]") {
    const Census census;
    struct Case {
        std::string mode;
        errc code;
        std::string text;
    };
    for (const auto& [mode, code, text] :
         {Case{"throw", errc::start_failed, "its handler's constructor threw: no rules were found"},
          Case{"other-protocol", errc::protocol_mismatch, "the parent wants protocol"},
          Case{"other-version", errc::protocol_mismatch, "the parent speaks version"}}) {
        CAPTURE(mode);
        for (int i = 0; i < 5; ++i) {
            TestWorker worker{options_for({mode})};
            const auto error = error_of([&] { worker.call(Nothing{}); });
            INFO(error.what());
            CHECK(error.code() == code);
            CHECK(contains(error.what(), "worker \"child\" could not serve: " + text));
            REQUIRE(error.report() != nullptr);
            CHECK(error.report()->never_ready);
            CHECK(error.report()->status == tether::ExitStatus::exited(1));
            CHECK(contains(error.what(), ") exited with code 1 after"));
        }
    }
}

TEST_CASE("a worker that cannot serve and stays is killed", "[process][start]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for({"throw-and-stay"}, each_transport());
    options.stop = {.drain = tether::no_timeout};
    mark.put_into(options);
    TestWorker worker{options};
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Nothing{}); });
    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::start_failed);
    CHECK(contains(error.what(), "could not serve: its handler's constructor threw: no rules"));
    CHECK(mark.all_gone());
}

TEST_CASE("a handler whose constructor throws nested exceptions", "[process][start][F80]") {
    const Census census;
    TestWorker worker{options_for({"throw-nested"}, each_transport())};
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(error.code() == errc::start_failed);
    CHECK(contains(error.what(), "linting is impossible"));
    CHECK(contains(error.what(), "the rules cannot be read"));
    CHECK(contains(error.what(), "open rules.json"));
}

TEST_CASE("a program that does not call serve_if_worker", "[process][start][F8]") {
    const Census census;
    TestWorker worker{options_for({"no-hook"}, each_transport())};
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(error.code() == errc::start_failed);
    CHECK(contains(error.what(), "serve_if_worker"));
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->status.success());
}

TEST_CASE("a program that uses a worker before it calls serve_if_worker", "[process][start][F8]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for({"no-hook-but-use"}, each_transport());
    mark.put_into(options);
    TestWorker worker{options};
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(error.code() == errc::hook_missing);
    CHECK(contains(error.what(), "serve_if_worker"));
    CHECK(mark.all_gone());
}

TEST_CASE("a program that serves another protocol", "[process][start][F6]") {
    const Census census;
    const auto transport = each_transport();
    struct Case {
        std::string mode;
        std::string text;
    };
    for (const auto& [mode, text] :
         {Case{"other-protocol", "\"tether.other\""}, Case{"other-version", "version 7"},
          Case{"other-messages", "other messages"}}) {
        CAPTURE(mode);
        TestWorker worker{options_for({mode}, transport)};
        const Stopwatch watch;
        const auto error = error_of([&] { worker.call(Nothing{}); });
        INFO(error.what());
        CHECK(watch.elapsed() < soon);
        CHECK(error.code() == errc::protocol_mismatch);
        CHECK(contains(error.what(), text));
        CHECK(contains(error.what(), "tether.test"));
    }
}

TEST_CASE("a worker that drops what it was given does not hang its caller",
          "[process][start][F92]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for({"drop-descriptors"}, each_transport());
    options.stop = {.drain = 100ms, .terminate = 100ms};
    mark.put_into(options);
    TestWorker worker{options};
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Nothing{}); });

    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::start_failed);
    CHECK_THAT(error.what(), Catch::Contains("descriptors from 3 on"));
    CHECK(mark.all_gone());
}

TEST_CASE("a worker stays away until it is used", "[process][start]") {
    const Census census;
    auto options = options_for();
    options.program = "/nonexistent/tool";
    const TestWorker worker{options};  // must not throw
    CHECK(worker.state() == tether::WorkerState::ended);
    CHECK(worker.pid() == 0);
    CHECK(worker.generation() == 1);
}

TEST_CASE("a worker may be destroyed at any moment of its start", "[process][start][F30]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for(each_transport());
    mark.put_into(options);
    for (int i = 0; i < 40; ++i) {
        TestWorker worker{options};
        const auto until = Clock::now() + std::chrono::microseconds{250} * i;
        while (Clock::now() < until) {
        }
    }
    CHECK(mark.all_gone());
}

// Sets the limit of descriptors, and back.
class DescriptorLimit {
public:
    explicit DescriptorLimit(::rlim_t limit) {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        ::rlimit changed{limit, before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &changed);
    }
    DescriptorLimit(const DescriptorLimit&) = delete;
    DescriptorLimit& operator=(const DescriptorLimit&) = delete;
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    ::rlimit before_{};
};

// The number that a new descriptor would get.
int next_descriptor() {
    const int fd = ::fcntl(0, F_DUPFD, 10);
    ::close(fd);
    return fd;
}

TEST_CASE("each descriptor that cannot be had fails the start cleanly",
          "[process][start][F44][F86]") {
    const Census census;
    const auto transport = each_transport();
    auto options = options_for(transport);
    options.restart.budget = 1000;
    options.restart.initial_pause = 0s;
    const auto lowest = next_descriptor();
    bool succeeded = false;
    int failures = 0;
    for (int more = 0; more < 64 && !succeeded; ++more) {
        CAPTURE(more);
        std::optional<TestWorker> worker;
        {
            const DescriptorLimit limit{static_cast<::rlim_t>(lowest + more)};
            worker.emplace(options);
            try {
                worker->call(Nothing{});
                succeeded = true;
            } catch (const CallError& error) {
                ++failures;
                INFO(error.what());
                CHECK(error.code() == errc::start_failed);
                CHECK(error.system_code().value() != 0);
            }
        }
        CHECK(worker->call(Add{1, 2}) == 3);
    }
    CHECK(succeeded);
    CHECK(failures > 3);
}

TEST_CASE("all who wait for a start that fails are told", "[process][start][F44]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const ProcessMark mark;
    auto options = options_for({"wait", gate.path()}, transport);
    mark.put_into(options);
    TestWorker worker{options};
    REQUIRE(gate.hear_entered());

    std::vector<std::future<errc>> results;
    for (int i = 0; i < 16; ++i) {
        results.push_back(std::async(std::launch::async, [&] {
            try {
                worker.call(Nothing{});
            } catch (const CallError& error) {
                return static_cast<errc>(error.code().value() & 0xff);
            }
            return errc{};
        }));
    }
    ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);
    gate.open(16);
    int failed = 0;
    for (auto& result : results) {
        const auto code = result.get();
        CAPTURE(code);
        CHECK((code == errc{} || code == errc::start_failed));
        failed += code == errc::start_failed ? 1 : 0;
    }
    // A call that came after the death starts the next process and is served.
    CAPTURE(failed);
    CHECK(worker.generation() <= 2);
}

}  // namespace
}  // namespace tether_test::start_test
