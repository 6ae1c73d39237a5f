// Where a worker's output goes: relayed, inherited, discarded, to a callback.

#include <asio/use_future.hpp>

#include <future>
#include <mutex>
#include <sstream>
#include <thread>

#include "process/support/captured_stderr.hpp"
#include "process/support/worker_under_test.hpp"

namespace tether_test::output_test {
namespace {

using tether::LogRecord;
using tether::LogSource;
using tether::Output;
using tether::Severity;

tether::WorkerOptions relaying(tether::Transport transport, std::string prefix = {}) {
    auto options = options_for(transport);
    options.output = Output::relay(std::move(prefix));
    return options;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::istringstream in{text};
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

TEST_CASE("output is relayed to the host's stderr, line by line", "[process][output]") {
    const Census census;
    const auto transport = each_transport();
    CapturedStderr captured;
    {
        TestWorker worker{relaying(transport, "[lint] ")};
        worker.call(Print{true, "on stderr\n", 1});
        worker.call(Print{true, "first\nsecond\nthird\n", 1});
        worker.call(Log{static_cast<int>(Severity::warning), "from the log\ntwo lines"});
        worker.call(Print{true, "\n", 1});
        worker.call(Print{true, "no newline at the end", 1});
        worker.stop();
    }
    CHECK(captured.finish() ==
          "[lint] on stderr\n[lint] first\n[lint] second\n[lint] third\n[lint] from the log\n"
          "[lint] two lines\n[lint] \n[lint] no newline at the end\n");
}

TEST_CASE("stdout is relayed, too, and comes at once", "[process][output]") {
    const Census census;
    CapturedStderr captured;
    TestWorker worker{relaying(each_transport())};
    worker.call(Print{false, "on stdout\n", 1});
    worker.stop();
    CHECK(captured.finish() == "on stdout\n");
}

TEST_CASE("the host's stdout is left alone", "[process][output][F51]") {
    const Census census;
    for (const auto& output : {Output::relay(), Output::inherit()}) {
        const TemporaryFolder folder;
        const int file = ::open((folder / "stdout").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        CapturedStderr captured;
        std::fflush(stdout);
        const int saved = ::dup(STDOUT_FILENO);
        ::dup2(file, STDOUT_FILENO);
        {
            auto options = options_for();
            options.output = output;
            TestWorker worker{options};
            worker.call(Print{false, "chatter\n", 100});
        }
        ::dup2(saved, STDOUT_FILENO);
        ::close(saved);
        ::close(file);
        CHECK(read_file(folder / "stdout").empty());
        CHECK(lines_of(captured.finish()).size() == 100);
    }
}

TEST_CASE("what the handler's destructor says is relayed", "[process][output]") {
    const Census census;
    CapturedStderr captured;
    {
        auto options = relaying(each_transport(), "> ");
        options.arguments = {"print-in-destructor"};
        TestWorker worker{options};
        worker.call(Nothing{});
    }
    const auto& text = captured.finish();
    CHECK(contains(text, "> on stdout, from the destructor\n"));
    CHECK(contains(text, "> on stderr, from the destructor\n"));
}

TEST_CASE("an inherited stderr is written by the worker itself", "[process][output]") {
    const Census census;
    CapturedStderr captured;
    {
        auto options = options_for(each_transport());
        options.output = Output::inherit();
        TestWorker worker{options};
        worker.call(Print{true,
                          "raw, \x01"
                          "3 without a prefix",
                          1});
        worker.call(Log{static_cast<int>(Severity::error), "and logged"});
        worker.call(Print{false, "and on stdout\n", 1});
        const auto error = error_of([&] { worker.call(Exit{3, "last words\n"}); });
        CHECK(error.report() != nullptr);
    }
    CHECK(captured.finish() ==
          "raw, \x01"
          "3 without a prefixand logged\nand on stdout\nlast words\n");
}

TEST_CASE("discarded output still explains a crash", "[process][output]") {
    const Census census;
    CapturedStderr captured;
    {
        TestWorker worker{options_for(each_transport())};
        worker.call(Print{false, "on stdout\n", 1});
        worker.call(Print{true, "on stderr\n", 1});
        const auto error = error_of([&] { worker.call(Exit{3, "last words\n"}); });
        REQUIRE(error.report() != nullptr);
        CHECK(error.report()->stderr_tail == "on stderr\nlast words\n");
    }
    CHECK(captured.finish().empty());
}

struct Record {
    std::string worker;
    std::int64_t pid;
    LogSource source;
    Severity severity;
    std::string text;
};

class Records {
public:
    [[nodiscard]] Output output() {
        return Output::to([this](const LogRecord& record) {
            const std::scoped_lock lock{mutex_};
            records_.push_back({std::string{record.worker}, record.pid, record.source,
                                record.severity, std::string{record.text}});
        });
    }
    [[nodiscard]] std::vector<Record> all() const {
        const std::scoped_lock lock{mutex_};
        return records_;
    }

private:
    mutable std::mutex mutex_;
    std::vector<Record> records_;
};

TEST_CASE("a callback gets each line with its source and severity", "[process][output]") {
    const Census census;
    Records records;
    std::int64_t pid = 0;
    {
        auto options = options_for(each_transport());
        options.output = records.output();
        TestWorker worker{options};
        pid = worker.pid();
        for (int severity = 0; severity <= static_cast<int>(Severity::error); ++severity) {
            worker.call(Log{severity, "severity " + std::to_string(severity)});
        }
        worker.call(Log{static_cast<int>(Severity::debug), "two\nlines"});
        worker.call(Print{true, "on stderr\n", 1});
        worker.stop();
    }
    const auto all = records.all();
    REQUIRE(all.size() == 8);
    for (std::size_t i = 0; i < 5; ++i) {
        CHECK(all[i].worker == "child");
        CHECK(all[i].pid == pid);
        CHECK(all[i].source == LogSource::log);
        CHECK(all[i].severity == static_cast<Severity>(i));
        CHECK(all[i].text == "severity " + std::to_string(i));
    }
    CHECK(all[5].text == "two");
    CHECK(all[6].text == "lines");
    CHECK(all[6].severity == Severity::debug);
    CHECK(all[7].source == LogSource::standard_error);
    CHECK(all[7].severity == Severity::info);
    CHECK(all[7].text == "on stderr");
}

TEST_CASE("a callback gets stdout as such", "[process][output]") {
    const Census census;
    Records records;
    {
        auto options = options_for();
        options.output = records.output();
        TestWorker worker{options};
        worker.call(Print{false,
                          "on stdout, \x01"
                          "4 whatever it looks like\n",
                          1});
        worker.stop();
    }
    REQUIRE(records.all().size() == 1);
    CHECK(records.all()[0].source == LogSource::standard_output);
    CHECK(records.all()[0].severity == Severity::info);
    CHECK(records.all()[0].text ==
          "on stdout, \x01"
          "4 whatever it looks like");
}

TEST_CASE("10 MiB without a newline, then abort: a callback gets every byte before the error",
          "[process][output][F47]") {
    const Census census;
    constexpr std::int64_t size = 10 << 20;
    std::atomic<std::int64_t> bytes{0};
    std::atomic<bool> pure{true};
    auto options = options_for(each_transport());
    options.output = Output::to([&](const LogRecord& record) {
        bytes += static_cast<std::int64_t>(record.text.size());
        if (record.text.find_first_not_of('x') != std::string_view::npos) pure = false;
    });
    TestWorker worker{options};
    const auto error = error_of([&] { worker.call(PrintAndAbort{size}); });

    CHECK(bytes == size);  // at this moment
    CHECK(pure);
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->status == tether::ExitStatus::signaled(SIGABRT));
    CHECK(error.report()->stderr_tail.size() > 1000);
}

TEST_CASE("10 MiB without a newline, then abort: stderr gets every byte",
          "[process][output][F47]") {
    const Census census;
    constexpr std::int64_t size = 10 << 20;
    CapturedStderr captured;
    {
        TestWorker worker{relaying(each_transport(), "[x] ")};
        CHECK_THROWS_AS(worker.call(PrintAndAbort{size}), CallError);
    }
    const auto& text = captured.finish();
    CHECK(std::count(text.begin(), text.end(), 'x') == size + 1);  // the prefix has one, too
    CHECK(std::count(text.begin(), text.end(), '\n') == 1);
    CHECK_FALSE(contains(text, "dropped"));
}

TEST_CASE("4 MiB of stderr before the answer", "[process][output][F49]") {
    const Census census;
    const auto transport = each_transport();
    const std::string line = std::string(63, '.') + "\n";
    constexpr std::int64_t count = 65536;

    SECTION("discarded") {
        TestWorker worker{options_for(transport)};
        worker.call(Print{true, line, count});
    }
    SECTION("relayed") {
        CapturedStderr captured;
        {
            TestWorker worker{relaying(transport)};
            worker.call(Print{true, line, count});
            worker.stop();
        }
        CHECK(captured.finish().size() == line.size() * static_cast<std::size_t>(count));
    }
}

TEST_CASE("a host whose stderr is full, closed, or a file", "[process][output][F52]") {
    const Census census;
    const auto transport = each_transport();
    const std::string line = std::string(63, '.') + "\n";

    SECTION("a full pipe") {
        int pipe[2];
        REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
        {
            const RedirectedStderr redirected{pipe[1]};
            const Stopwatch watch;
            {
                TestWorker worker{relaying(transport)};
                worker.call(Print{true, line, 65536});
                CHECK(worker.call(Add{1, 2}) == 3);
            }
            CHECK(watch.elapsed() < patience);
        }
        ::close(pipe[0]);
        ::close(pipe[1]);
    }
    SECTION("a pipe that nobody reads any more") {
        int pipe[2];
        REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
        ::close(pipe[0]);
        {
            const RedirectedStderr redirected{pipe[1]};
            TestWorker worker{relaying(transport)};
            worker.call(Print{true, line, 100});
            CHECK(worker.call(Add{1, 2}) == 3);
        }
        ::close(pipe[1]);
    }
    SECTION("closed") {
        const RedirectedStderr redirected{-1};
        for (const auto& output : {Output::relay(), Output::inherit(), Output::discard()}) {
            auto options = options_for(transport);
            options.output = output;
            TestWorker worker{options};
            worker.call(Print{true, line, 100});
            worker.call(Print{false, line, 100});
            CHECK(worker.call(Add{1, 2}) == 3);
        }
    }
    SECTION("a file") {
        const TemporaryFolder folder;
        const int file = ::open((folder / "log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        {
            const RedirectedStderr redirected{file};
            TestWorker worker{relaying(transport)};
            worker.call(Print{true, line, 1000});
            worker.stop();
        }
        ::close(file);
        CHECK(count_lines(folder / "log") == 1000);
    }
}

TEST_CASE("16 workers write whole lines, each in order", "[process][output][F52]") {
    const Census census;
    constexpr int workers = 16;
    constexpr int lines = 200;
    CapturedStderr captured;
    {
        std::vector<TestWorker> all;
        for (int i = 0; i < workers; ++i) {
            all.emplace_back(relaying(tether::Transport::automatic, "w" + std::to_string(i) + " "));
        }
        std::vector<std::future<void>> pending;
        for (int line = 0; line < lines; ++line) {
            for (auto& worker : all) {
                const auto text = std::to_string(line) + std::string(100, '.') + "\n";
                pending.push_back(worker.async_call(Print{true, text, 1}, asio::use_future));
            }
        }
        for (auto& result : pending) result.get();
    }
    std::vector<int> next(workers, 0);
    for (const auto& line : lines_of(captured.finish())) {
        CAPTURE(line);
        std::istringstream in{line};
        char w = 0;
        int worker = -1;
        int number = -1;
        REQUIRE(in >> w >> worker >> number);
        REQUIRE(w == 'w');
        REQUIRE((worker >= 0 && worker < workers));
        CHECK(number == next[static_cast<std::size_t>(worker)]++);
        CHECK(line.ends_with(std::string(100, '.')));
    }
    for (const auto count : next) CHECK(count == lines);
}

// What relay shows of `text` on the worker's stderr.
std::string relayed(tether::RelayOptions relay, const std::string& text) {
    CapturedStderr captured;
    {
        auto options = options_for();
        options.output = Output::relay(std::move(relay));
        TestWorker worker{options};
        worker.call(Print{true, text, 1});
        worker.stop();
    }
    return captured.finish();
}

TEST_CASE("relayed lines cannot drive the terminal, unless they may", "[process][output]") {
    const Census census;
    using namespace std::string_literals;
    const auto text = "\x1b[31mred\x1b[0m\t10%\r20%\x07\x00\xff\xc3\r\n\xc3\xa9\xe2\x80\xae\n"s;
    CHECK(relayed({}, text) ==
          "\\x1b[31mred\\x1b[0m\t10%\\x0d20%\\x07\\x00\\xff\\xc3\n\xc3\xa9\\xe2\\x80\\xae\n");
    CHECK(relayed({.raw = true}, text) == text);
}

TEST_CASE("relayed lines name their worker and their severity where asked", "[process][output]") {
    const Census census;
    const auto [relay, expected] = GENERATE(table<tether::RelayOptions, std::string>({
        {{.show_name = true}, "child: plain\nchild: careful\nchild: twice\nchild: detail\n"},
        {{.show_severity = true}, "plain\nwarning: careful\nwarning: twice\ndebug: detail\n"},
        {{.prefix = "> ", .show_name = true, .show_severity = true},
         "> child: plain\n> child: warning: careful\n> child: warning: twice\n"
         "> child: debug: detail\n"},
        {{.least_severity = Severity::info}, "plain\ncareful\ntwice\n"},
        {{.show_severity = true, .least_severity = Severity::warning},
         "warning: careful\nwarning: twice\n"},
        {{.least_severity = Severity::error}, ""},
    }));
    CapturedStderr captured;
    {
        auto options = options_for(each_transport());
        options.output = Output::relay(relay);
        TestWorker worker{options};
        worker.call(Print{true, "plain\n", 1});
        worker.call(Log{static_cast<int>(Severity::warning), "careful\ntwice"});
        worker.call(Log{static_cast<int>(Severity::debug), "detail"});
        const auto error = error_of([&] { worker.call(Exit{3, ""}); });
        REQUIRE(error.report() != nullptr);
        CHECK(error.report()->stderr_tail == "plain\ncareful\ntwice\ndetail\n");
    }
    CHECK(captured.finish() == expected);
}

TEST_CASE("a long line stays one line, with one severity and whole characters",
          "[process][output]") {
    const Census census;
    std::string text{"x"};  // so that no power of two ends a character
    for (int i = 0; i < 100'000; ++i) text += "\xe2\x82\xac";
    SECTION("relayed") {
        const bool shown = GENERATE(true, false);
        CapturedStderr captured;
        {
            auto options = options_for();
            options.output =
                Output::relay({.show_severity = true,
                               .least_severity = shown ? Severity::warning : Severity::error});
            TestWorker worker{options};
            worker.call(Log{static_cast<int>(Severity::warning), text});
            worker.stop();
        }
        CHECK((captured.finish() == (shown ? "warning: " + text + "\n" : "")));
    }
    SECTION("given to a callback") {
        Records records;
        auto options = options_for();
        options.output = records.output();
        TestWorker worker{options};
        worker.call(Log{static_cast<int>(Severity::warning), text});
        worker.stop();
        std::string all;
        for (const auto& record : records.all()) {
            CHECK(record.source == LogSource::log);
            CHECK(record.severity == Severity::warning);
            CHECK((static_cast<unsigned char>(record.text.front()) & 0xc0U) != 0x80);
            all += record.text;
        }
        CHECK(records.all().size() > 1);
        CHECK((all == text));
    }
}

TEST_CASE("protocol bytes printed by the worker are output, not protocol",
          "[process][output][F18]") {
    const Census census;
    Records records;
    auto options = options_for(each_transport());
    options.environment["TETHER_TEST_EARLY"] = "1:TETHER printed before main\x02\x03\n";
    options.output = records.output();
    TestWorker worker{options};
    const std::string frame("\x19\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00", 16);
    for (int i = 0; i < 10; ++i) {
        worker.call(Print{false, frame + "\n", 1});
        worker.call(Print{true, frame + "\n", 1});
        CHECK(worker.call(Add{i, 1}) == i + 1);
    }
    worker.stop();

    int early = 0;
    int frames = 0;
    for (const auto& record : records.all()) {
        early += record.text == "1:TETHER printed before main\x02\x03" ? 1 : 0;
        frames += record.text == frame ? 1 : 0;
    }
    CHECK(early == 2);  // on stdout and on stderr
    CHECK(frames == 20);
}

TEST_CASE("the tail keeps the last lines of much stderr", "[process][output]") {
    const Census census;
    TestWorker worker{options_for()};
    worker.call(Print{true, "an old line that is long past\n", 10'000});
    const auto error = error_of([&] { worker.call(Exit{3, "the very last line\n"}); });
    REQUIRE(error.report() != nullptr);
    const auto& tail = error.report()->stderr_tail;
    CHECK(tail.size() <= 8192);
    CHECK(tail.starts_with("an old line"));  // whole lines
    CHECK(tail.ends_with("the very last line\n"));
    CHECK(std::string{error.what()}.size() < 16'384);
}

}  // namespace
}  // namespace tether_test::output_test
