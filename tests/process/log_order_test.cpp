// What a handler logged is passed on before its call ends.

#include <asio/use_future.hpp>

#include <atomic>
#include <future>
#include <mutex>
#include <set>
#include <thread>

#include "process/support/captured_stderr.hpp"
#include "process/support/worker_under_test.hpp"

namespace tether_test::log_order_test {
namespace {

using tether::LogRecord;
using tether::Output;

constexpr int calls = instrumented ? 300 : 2000;

class Lines {
public:
    [[nodiscard]] Output output() {
        return Output::to([this](const LogRecord& record) {
            const std::scoped_lock lock{mutex_};
            lines_.emplace(record.text);
        });
    }
    [[nodiscard]] bool contain(const std::string& line) {
        const std::scoped_lock lock{mutex_};
        return lines_.contains(line);
    }

private:
    std::mutex mutex_;
    std::set<std::string> lines_;
};

// Also of several frames, and of a size that is received in place.
std::int64_t each_size() { return GENERATE(-1, 0, 100'000, 3'000'000); }

int rounds_of(std::int64_t size) { return size > 1000 ? calls / 20 : calls; }

TEST_CASE("a callback gets what a handler logged before its call returns",
          "[process][output][F110]") {
    const Census census;
    const auto transport = each_transport();
    const auto size = GENERATE(-1, 0, 100'000, 3'000'000);
    CAPTURE(size);
    Lines lines;
    auto options = options_for(transport);
    options.output = lines.output();
    TestWorker worker{options};
    int late = 0;
    for (int i = 0; i < rounds_of(size) / 5; ++i) {
        const auto line = "line " + std::to_string(i);
        try {
            worker.call(LogAndMake{line, size});
        } catch (const RemoteError&) {
            CHECK(size == -1);
        }
        late += lines.contain(line) ? 0 : 1;
    }
    CHECK(late == 0);
}

TEST_CASE("a callback gets what handlers logged before their calls complete",
          "[process][output][F110]") {
    const Census census;
    const auto size = each_size();
    CAPTURE(size);
    Lines lines;
    auto options = options_for();
    options.output = lines.output();
    options.concurrency = GENERATE(1U, 3U);
    TestWorker worker{options};
    std::atomic<int> late{0};
    std::atomic<int> completed{0};
    for (int i = 0; i < rounds_of(size); ++i) {
        const auto line = "line " + std::to_string(i);
        worker.async_call(LogAndMake{line, size}, [&, line](const auto&, const auto&) {
            late += lines.contain(line) ? 0 : 1;
            ++completed;
        });
    }
    REQUIRE(eventually([&] { return completed == rounds_of(size); }));
    CHECK(late == 0);
}

TEST_CASE("so it is with futures beside callers that read for all", "[process][output][F110]") {
    const Census census;
    Lines lines;
    auto options = options_for();
    options.output = lines.output();
    options.concurrency = 3;
    TestWorker worker{options};
    std::atomic<bool> done{false};
    std::jthread other{[&] {
        while (!done) worker.call(Nothing{});
    }};
    int late = 0;
    for (int i = 0; i < calls; ++i) {
        const auto line = "line " + std::to_string(i);
        worker.async_call(LogAndMake{line, 0}, asio::use_future).get();
        late += lines.contain(line) ? 0 : 1;
    }
    done = true;
    CHECK(late == 0);
}

TEST_CASE("what a handler logged is relayed before its call returns", "[process][output][F110]") {
    const Census census;
    const TemporaryFolder folder;
    const auto path = folder / "stderr";
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0600);
    int late = 0;
    {
        const RedirectedStderr redirected{file};
        auto options = options_for();
        options.output = Output::relay();
        TestWorker worker{options};
        std::string last(32, '\0');
        for (int i = 0; i < calls; ++i) {
            auto line = "this is line " + std::to_string(10'000 + i) + "\n";
            if (i % 2 == 0) {
                worker.call(LogAndMake{line.substr(0, line.size() - 1), 0});
            } else {
                line.pop_back();
                worker.async_call(LogAndMake{line, 0}, asio::use_future).get();
                line += '\n';
            }
            const auto end = ::lseek(file, 0, SEEK_END);
            const auto begin = end - static_cast<::off_t>(line.size());
            last.assign(line.size(), '\0');
            const auto size = ::pread(file, last.data(), last.size(), begin);
            late += size == static_cast<::ssize_t>(line.size()) && last == line ? 0 : 1;
        }
    }
    ::close(file);
    CHECK(late == 0);
}

TEST_CASE("a callback that wants a lock of its caller holds the call up for a moment only",
          "[process][output][F110]") {
    const Census census;
    std::mutex mutex;
    std::atomic<int> lines{0};
    auto options = options_for();
    options.output = Output::to([&](const LogRecord&) {
        const std::scoped_lock lock{mutex};
        ++lines;
    });
    TestWorker worker{options};
    {
        const std::scoped_lock lock{mutex};
        const Stopwatch watch;
        worker.call(LogAndMake{"a line", 0});
        CHECK(watch.elapsed() < soon);
        CHECK(lines == 0);
        // The deadline counts, too.
        const Stopwatch another_watch;
        worker.call(LogAndMake{"a line", 0}, {.timeout = 500ms});
        CHECK(another_watch.elapsed() < soon);
    }
    CHECK(eventually([&] { return lines == 2; }));
    worker.call(LogAndMake{"a line", 0});
    CHECK(lines == 3);
}

TEST_CASE("a call that logs may be made where nobody reads its lines", "[process][output][F110]") {
    const Census census;
    auto options = options_for(each_transport());
    options.output = GENERATE(Output::discard(), Output::inherit());
    const CapturedStderr captured;
    TestWorker worker{options};
    for (int i = 0; i < 20; ++i) CHECK(worker.call(LogAndMake{"a line", 4}).size() == 4);
    CHECK(worker.async_call(LogAndMake{"a line", 4}, asio::use_future).get().size() == 4);
}

}  // namespace
}  // namespace tether_test::log_order_test
