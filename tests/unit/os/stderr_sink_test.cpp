#include <tether/detail/os/posix/stderr_sink.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/text.hpp"

namespace stderr_sink_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using namespace std::string_literals;

/// Puts a pipe in the place of this program's stderr for as long as it lives.
class StderrPipe {
public:
    explicit StderrPipe(int capacity = 65536) {
        auto pipe = make_pipe("test");
        ::fcntl(pipe.second.get(), F_SETPIPE_SZ, capacity);
        before_ = Descriptor{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10)};
        ::dup2(pipe.second.get(), STDERR_FILENO);
        read_ = std::move(pipe.first);
        set_non_blocking(read_.get(), "pipe");
    }
    StderrPipe(const StderrPipe&) = delete;
    StderrPipe& operator=(const StderrPipe&) = delete;
    ~StderrPipe() { ::dup2(before_.get(), STDERR_FILENO); }

    /// What was written since the last time.
    std::string read() {
        std::string text;
        char bytes[4096];
        for (::ssize_t size; (size = ::read(read_.get(), bytes, sizeof bytes)) > 0;) {
            text.append(bytes, static_cast<std::size_t>(size));
        }
        return text;
    }
    void close_reader() { read_.reset(); }

private:
    Descriptor before_;
    Descriptor read_;
};

std::string numbered_line(int i) { return "line " + std::to_string(i); }

}  // namespace

TEST_CASE("whole lines reach stderr, each after its prefix") {
    StderrPipe pipe;
    StderrSink sink;
    CHECK(sink.flush());
    sink.add(1, "[one] ", "hello", true);
    sink.add(2, "", "", true);
    CHECK(pipe.read().empty());
    CHECK(sink.flush());
    CHECK(pipe.read() == "[one] hello\n\n");
}

TEST_CASE("a line in pieces has one prefix, and nobody writes into it", "[F52]") {
    StderrPipe pipe;
    StderrSink sink;
    sink.add(1, "1> ", "first piece, ", false);
    sink.add(1, "1> ", "second piece", true);
    sink.add(1, "1> ", "open ", false);
    sink.add(2, "2> ", "another worker", true);
    sink.add(1, "1> ", "goes on", true);
    CHECK(sink.flush());
    CHECK(pipe.read() == "1> first piece, second piece\n1> open \n2> another worker\n1> goes on\n");
}

TEST_CASE("a full pipe blocks nobody, and nothing is lost when it is read again", "[F52]") {
    StderrPipe pipe{4096};
    StderrSink sink;
    std::string expected;
    for (int i = 0; i < 5000; ++i) {
        sink.add(1, "", numbered_line(i), true);
        expected += numbered_line(i) + '\n';
    }
    CHECK_FALSE(sink.flush());
    std::string got;
    int rounds = 0;
    for (bool done = false; !done && rounds < 10'000; ++rounds) {
        const auto part = pipe.read();
        if (!part.empty()) CHECK(part.back() == '\n');  // whole lines in each write
        got += part;
        done = sink.flush();
    }
    got += pipe.read();
    CHECK((got == expected));
    CHECK(rounds > 5);
}

TEST_CASE("a line larger than a piece, between small ones") {
    StderrPipe pipe;
    StderrSink sink;
    const std::string large(3 * StderrSink::piece + 17, 'x');
    sink.add(1, "", "before", true);
    sink.add(1, "> ", large, true);
    sink.add(1, "", "after", true);
    std::string got;
    while (!sink.flush()) got += pipe.read();
    got += pipe.read();
    CHECK((got == "before\n> " + large + "\nafter\n"));
}

TEST_CASE("a worker that says too much loses lines, which are counted, and others lose none") {
    StderrPipe pipe{4096};
    StderrSink sink;
    const std::string line(1023, 'x');
    for (int i = 0; i < 3000; ++i) sink.add(1, "1> ", line, true);
    sink.add(2, "2> ", "heard", true);
    std::string got;
    while (!sink.flush()) got += pipe.read();
    sink.close(1, "1> ");
    sink.close(2, "2> ");
    sink.close(3, "3> ");  // never said anything
    while (!sink.flush()) got += pipe.read();
    got += pipe.read();
    CHECK(got.size() > StderrSink::max_queued);
    CHECK(got.size() < StderrSink::max_queued + 10 * line.size());
    CHECK(tether_test::contains(got, "2> heard\n"));
    std::size_t lines = 0;
    for (std::size_t at = 0; (at = got.find("1> x", at)) != std::string::npos; ++at) ++lines;
    CHECK(tether_test::contains(
        got, "1> " + std::to_string(3000 - lines) + " lines of output were dropped\n"));
    CHECK_FALSE(tether_test::contains(got, "3>"));
}

TEST_CASE("a dropped end of a line does not join it with the next", "[F52]") {
    StderrPipe pipe{4096};
    StderrSink sink;
    const std::string line(1023, 'x');
    for (std::size_t i = 0; i < StderrSink::max_queued / (line.size() + 1); ++i) {
        sink.add(1, "", line, true);
    }
    sink.add(1, "> ", "begin ", false);
    sink.add(1, "> ", std::string(2000, 'y'), false);
    sink.add(1, "> ", "this end is dropped", true);
    std::string got;
    while (!sink.flush()) got += pipe.read();
    sink.add(1, "> ", "next", true);
    while (!sink.flush()) got += pipe.read();
    got += pipe.read();
    REQUIRE(tether_test::contains(got, "> begin "));
    CHECK_FALSE(tether_test::contains(got, "dropped"));
    CHECK(tether_test::contains(got, "\n> next\n"));
}

TEST_CASE("a reader that went away, and a closed stderr, take everything", "[F52]") {
    StderrSink sink;
    for (int i = 0; i < 1000; ++i) sink.add(1, "", numbered_line(i), true);
    SECTION("no reader: no SIGPIPE either") {
        StderrPipe pipe;
        pipe.close_reader();
        CHECK(sink.flush());
    }
    SECTION("closed") {
        const StderrPipe pipe;
        ::close(STDERR_FILENO);
        CHECK(sink.flush());
        ::fcntl(STDOUT_FILENO, F_DUPFD, STDERR_FILENO);
    }
}

TEST_CASE("flushing patiently is over when nothing moves any more", "[F50]") {
    StderrPipe pipe{4096};
    StderrSink sink;
    for (int i = 0; i < 5000; ++i) sink.add(1, "", numbered_line(i), true);
    const auto begin = Clock::now();
    sink.flush_patiently(20ms);
    CHECK(Clock::now() - begin >= 20ms);
    CHECK(Clock::now() - begin < 10s);
    CHECK_FALSE(pipe.read().empty());
    CHECK_FALSE(sink.flush());
}

}  // namespace stderr_sink_test
