// A number that belonged to a child may belong to a stranger by now.

#include <tether/detail/os/os.hpp>

#include <fstream>

#include <sys/wait.h>
#include <unistd.h>

#include "process/support/worker_under_test.hpp"

namespace tether_test::recycled_pid_test {
namespace {

/// A process that does nothing until it is killed. Ends it.
class Sleeper {
public:
    Sleeper() : pid_(::fork()) {
        if (pid_ != 0) return;
        for (;;) ::pause();
    }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    ~Sleeper() { end(); }

    void end() {
        if (std::exchange(ended_, true)) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] ::pid_t pid() const noexcept { return pid_; }

private:
    ::pid_t pid_;
    bool ended_ = false;
};

/// Sees to it that the next process gets this number, unless another comes first.
[[maybe_unused]] bool recycle(::pid_t pid) {
    std::ofstream last{"/proc/sys/kernel/ns_last_pid"};
    last << pid - 1 << std::flush;
    return last.good();
}

TEST_CASE("a stranger with the number of a child that the host reaped is left alone",
          "[process][F28]") {
#if defined(TETHER_FORCE_PORTABLE)
    WARN("not tried: without pidfds a number is all there is");
#else
    const Census census;
    Sleeper child;
    tether::detail::ChildProcess process{child.pid()};
    child.end();  // the host waits for it, too
    if (!recycle(child.pid())) {
        WARN("not tried: no right to choose process numbers");
        return;
    }
    const Sleeper stranger;
    if (stranger.pid() != child.pid()) {
        WARN("not tried: the number went to another");
        return;
    }

    process.signal(SIGKILL);
    process.kill_tree();
    CHECK(process.reap_if_ended().has_value());
    process.signal(SIGKILL);

    CHECK(::waitpid(stranger.pid(), nullptr, WNOHANG) == 0);
    CHECK(is_running(stranger.pid()));
#endif
}

}  // namespace
}  // namespace tether_test::recycled_pid_test
