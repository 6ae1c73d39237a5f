#include <tether/detail/os/os.hpp>

#include <fstream>
#include <string>
#include <thread>

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/catch.hpp"

namespace self_test {

namespace {

// That of a thread of its own.
std::string name_after(const std::string& wanted) {
    std::string name;
    std::thread{[&] {
        tether::detail::name_this_thread(wanted);
        std::ifstream file{"/proc/thread-self/comm"};
        std::getline(file, name);
    }}.join();
    return name;
}

}  // namespace

TEST_CASE("a thread has as much of a name as fits, in whole characters") {
#if defined(__linux__)
    CHECK(name_after("tether-guard") == "tether-guard");
    CHECK(name_after("123456789012345") == "123456789012345");
    CHECK(name_after("1234567890123456") == "123456789012345");
    CHECK(name_after("12345678901234\xc3\xa9") == "12345678901234");
    CHECK(name_after("1234567890123\xc3\xa9") == "1234567890123\xc3\xa9");
    CHECK(name_after("1234567890123\xf0\x9f\x99\x82") == "1234567890123");
#endif
}

#if defined(__linux__)
TEST_CASE("a process knows that it is traced") {
    const auto child = ::fork();
    if (child == 0) {
        const bool allowed = ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0;
        ::_exit(!allowed ? 2 : tether::detail::is_traced() == true ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    if (WEXITSTATUS(status) == 2) WARN("not tried: no right to trace");
    CHECK(WEXITSTATUS(status) != 1);
}
#endif

}  // namespace self_test
