#include <tether/detail/base/printable.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <type_traits>

#include "support/catch.hpp"
#include "support/text.hpp"

namespace exit_status_test {

using tether::ExitReport;
using tether::ExitStatus;
using tether_test::contains;

static_assert(std::is_trivially_copyable_v<ExitStatus>);
static_assert(std::is_nothrow_default_constructible_v<ExitStatus>);
static_assert(std::is_nothrow_move_constructible_v<ExitReport>);
static_assert(ExitStatus::exited(0).success());
static_assert(!ExitStatus::exited(1).success());
static_assert(!ExitStatus::signaled(0).success());
static_assert(!ExitStatus{}.success());
static_assert(ExitStatus{}.unknown());
static_assert(noexcept(ExitStatus::exited(0) == ExitStatus::exited(0)));

TEST_CASE("a code and a signal are never mixed up", "[F77]") {
    const auto exited = ExitStatus::exited(9);
    const auto signaled = ExitStatus::signaled(9);
    CHECK(exited.code() == 9);
    CHECK_FALSE(exited.signal());
    CHECK(signaled.signal() == 9);
    CHECK_FALSE(signaled.code());
    CHECK(exited != signaled);
    CHECK(exited == ExitStatus::exited(9));
    CHECK(exited != ExitStatus::exited(10));
    CHECK(ExitStatus{} != ExitStatus::exited(0));
    CHECK_FALSE(ExitStatus{}.code());
    CHECK_FALSE(ExitStatus{}.signal());
    CHECK_FALSE(exited.unknown());
    CHECK_FALSE(signaled.unknown());
}

TEST_CASE("a status in words") {
    CHECK(to_string(ExitStatus::exited(3)) == "exited with code 3");
    CHECK(to_string(ExitStatus::signaled(SIGKILL)) == "was killed by signal 9 (SIGKILL)");
    CHECK(to_string(ExitStatus::signaled(SIGSEGV)) == "was killed by signal 11 (SIGSEGV)");
    CHECK(to_string(ExitStatus::signaled(63)) == "was killed by signal 63 (unnamed)");
    CHECK(contains(to_string(ExitStatus{}), "unknown"));
    for (const int number : {SIGABRT, SIGFPE, SIGILL, SIGINT, SIGTERM, SIGBUS, SIGHUP, SIGPIPE,
                             SIGQUIT, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ}) {
        CHECK(contains(to_string(ExitStatus::signaled(number)), "(SIG"));
    }
}

TEST_CASE("a report in words says only what is known", "[F82]") {
    ExitReport report;
    report.worker = "lint";
    report.status = ExitStatus::exited(1);
    CHECK(to_string(report) == "worker \"lint\" exited with code 1 after 0 ms");

    report.pid = 42;
    report.generation = 3;
    report.status = ExitStatus::signaled(SIGABRT);
    report.uptime = std::chrono::milliseconds{1500};
    report.peak_memory_bytes = 64 * 1024 * 1024;
    report.note = "it was stopped";
    report.calls_in_flight = {{"lint", 7, std::chrono::milliseconds{12}}};
    report.stderr_tail = "first line\n\nlast: assertion failed\n";
    CHECK(to_string(report) ==
          "worker \"lint\" (pid 42) was killed by signal 6 (SIGABRT) after 1500 ms, generation 3, "
          "peak memory 64 MiB; it was stopped\n"
          "  in flight: lint (call 7, 12 ms)\n"
          "  last of its stderr:\n"
          "  | first line\n"
          "  | \n"
          "  | last: assertion failed");
    report.stderr_tail = "no newline";
    CHECK(contains(to_string(report), "\n  | no newline"));
    CHECK(to_string(report).back() == 'e');
}

TEST_CASE("a report in words is printable, whatever a worker has written", "[F98]") {
    ExitReport report;
    report.worker = "lint";
    report.stderr_tail = std::string{"a\0b\x1b[2J\r\n\ttab \xc3\xa4 \xff\xc3\nlast words", 30};
    const auto raw = report.stderr_tail;
    CHECK(contains(to_string(report),
                   "  | a\\x00b\\x1b[2J\\x0d\n  | \ttab \xc3\xa4 \\xff\\xc3\n  | last words"));
    CHECK(report.stderr_tail == raw);
    CHECK(to_string(report).find('\0') == std::string::npos);
}

TEST_CASE("the text of an error does not end at a zero byte", "[F98]") {
    const tether::RemoteError error{std::string{"a\0b", 3}, {{"code", std::string{"a\0b", 3}}}};
    CHECK(error.what() == std::string{"a\\x00b"});
    CHECK(error.message() == std::string{"a\0b", 3});
}

TEST_CASE("what is printable", "[F98]") {
    using tether::detail::printable;
    CHECK(printable("plain\n\t~") == "plain\n\t~");
    CHECK(printable("\x7f") == "\\x7f");
    CHECK(printable("\xe2\x82\xac \xf0\x9f\x98\x80") == "\xe2\x82\xac \xf0\x9f\x98\x80");
    CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");                    // a terminal's command
    CHECK(printable("\xe2\x80\xae") == "\\xe2\\x80\\xae");           // right to left from here
    CHECK(printable("\xc0\x80") == "\\xc0\\x80");                    // overlong
    CHECK(printable("\xe0\x80\x80") == "\\xe0\\x80\\x80");           // overlong
    CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // a surrogate
    CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // beyond Unicode
    CHECK(printable("\xe2\x82") == "\\xe2\\x82");                    // cut
}

}  // namespace exit_status_test
