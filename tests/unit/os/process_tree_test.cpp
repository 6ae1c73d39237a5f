#include <tether/detail/os/posix/process_tree.hpp>

#include <array>
#include <csignal>

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/catch.hpp"

#if TETHER_HAS_PROC_CHILDREN
#include <sys/prctl.h>

namespace process_tree_test {
namespace {

bool dies_when_looked_at = false;

// Its descendants, one below the other in sessions of their own, hold the pipe open.
[[noreturn]] void descend(int generations, int pipe) {
    do ::setsid();
    while (generations-- > 0 && ::fork() == 0);
    if (generations < 0) (void)!::write(pipe, "x", 1);
    ::alarm(60);
    for (;;) ::pause();
}

}  // namespace
}  // namespace process_tree_test

// In place of the C library's: lets a child die at the worst moment, after the list of children was
// read and before it is looked at.
extern "C" ::pid_t waitpid(::pid_t pid, int* status, int options) {
    if (process_tree_test::dies_when_looked_at && pid > 0) {
        ::kill(pid, SIGKILL);
        ::siginfo_t info{};
        ::waitid(P_PID, static_cast<::id_t>(pid), &info, WEXITED | WNOWAIT);
    }
    return static_cast<::pid_t>(::syscall(SYS_wait4, pid, status, options, nullptr));
}

namespace process_tree_test {

TEST_CASE("the children of one that dies while the list is read are killed too", "[F23]") {
    dies_when_looked_at = GENERATE(false, true);
    CAPTURE(dies_when_looked_at);
    REQUIRE(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    const auto child = ::fork();
    if (child == 0) descend(3, pipe[1]);
    REQUIRE(child > 0);
    ::close(pipe[1]);
    char started = 0;
    CHECK(::read(pipe[0], &started, 1) == 1);

    tether::detail::kill_descendants();

    // Nobody holds the other end any more.
    ::pollfd end{pipe[0], POLLIN, 0};
    CHECK(::poll(&end, 1, 0) == 1);
    ::close(pipe[0]);
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    dies_when_looked_at = false;
}

}  // namespace process_tree_test

#endif
