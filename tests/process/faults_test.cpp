// Each system call that Tether makes fails once, on either side: every caller is told, nothing is
// left behind, and the next attempt works.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "host_process.hpp"
#include "process/faults/fault_run.hpp"
#include "process/faults/functions.hpp"

namespace tether_lifetime::faults {

using namespace std::chrono_literals;

namespace {

constexpr int make_short = -1;

// --- What is walked

// The functions of one test case, each with the errors that it may give. The first error is tried
// for each call, the others for the first call only, unless each_time says so.
struct Wrong {
    std::vector<std::string> functions;
    std::vector<int> errors;
    bool each_time = false;
};
using Group = std::vector<Wrong>;

const Group making{{{"socket", "socketpair", "pipe", "pipe2"}, {EMFILE, ENOMEM, EPERM}},
                   {{"bind", "connect", "listen", "getsockname"}, {EPERM, ENOTSUP, EIO, EINTR}},
                   {{"accept"}, {EMFILE, EAGAIN, EINTR, ECONNABORTED, EPERM}},
                   {{"getsockopt", "setsockopt", "shutdown"}, {EPERM, ENOMEM}}};
const Group moving{{{"sendmsg"}, {EAGAIN, EINTR, make_short, EPIPE, ENOMEM}, true},
                   {{"recvmsg", "recv"}, {EAGAIN, EINTR, make_short, ECONNRESET, ENOMEM}, true},
                   {{"read", "write"}, {EAGAIN, EINTR, make_short, EPIPE, EIO}}};
const Group waiting{{{"poll", "ppoll"}, {EINTR, ENOMEM}},
                    {{"epoll_create1", "eventfd", "timerfd_create"}, {EMFILE, ENOMEM}},
                    {{"epoll_ctl"}, {ENOMEM, ENOSPC, EPERM}},
                    {{"epoll_wait", "nanosleep"}, {EINTR}},
                    {{"timerfd_settime", "ioctl"}, {ENOMEM, EPERM}},
                    {{"pthread_create"}, {EAGAIN}}};
const Group files{
    {{"open", "opendir"}, {EMFILE, ENOMEM, EPERM, EINTR}},
    {{"fcntl", "flock"}, {EMFILE, EPERM, EINTR}},
    {{"close"}, {EINTR, EIO}},
    {{"fstat", "stat", "readdir", "readlink", "getcwd", "access", "getdents64"}, {EIO, ENOMEM}},
    {{"mkdir", "rmdir", "unlink", "unlinkat"}, {EPERM, ENOSPC}}};
const Group processes{
    {{"posix_spawn"}, {EAGAIN, ENOMEM, EPERM, ENOENT}},
    {{"posix_spawnattr_init", "posix_spawn_file_actions_init", "posix_spawn_file_actions_adddup2",
      "posix_spawn_file_actions_addfchdir_np", "posix_spawn_file_actions_addclosefrom_np"},
     {ENOMEM, EBADF}},
    {{"waitid", "wait4", "waitpid"}, {EINTR, ECHILD}},
    {{"pidfd_open"}, {ENOSYS, EMFILE}},
    {{"pidfd_send_signal", "kill"}, {EPERM, ESRCH, ENOSYS}},
    {{"prctl", "sigaction"}, {EPERM}}};

// --- One run

Run run(const std::string& fault, const std::string& side = "parent",
        const std::string& transport = "automatic") {
    return run_host({.fault = fault, .transport = transport}, {transport}, side);
}

// --- What must be true of it

// Everything that is wrong, a line each.
class Review {
public:
    explicit Review(const Run& run) : run_(run) {
        end();
        callers();
        attempts();
        errors();
        remains();
    }
    [[nodiscard]] std::string text() const {
        if (text_.empty()) return {};
        return run_.fault + " (" + run_.transport + ")\n" + text_ + "its output:\n" + run_.output +
               "its stderr:\n" + run_.errors + "\n";
    }

private:
    void complain(const std::string& what) { text_ += "  " + what + "\n"; }

    [[nodiscard]] std::vector<std::string> told(const std::string& step) const {
        const auto found = run_.told.find(step);
        return found == run_.told.end() ? std::vector<std::string>{} : found->second;
    }

    void end() {
        if (run_.ended != "exit 0") complain("the host: " + run_.ended);
        if (told("done").empty()) complain("the host did not come to its end");
    }

    // One line of each, neither fewer nor more; unless the Worker could not even be made.
    void callers() {
        const auto life = told("life");
        if (life.size() != 1 || life.front() != "ok") {
            if (life.empty() || !life.front().starts_with("system_error")) complain("no life");
            return;
        }
        for (const std::string name : {"first", "second"}) {
            for (int i = 0; i < 16; ++i) {
                const auto step = name + std::to_string(i);
                if (told(step).size() != 1) complain(step + " was not settled once");
            }
        }
        if (told("async").size() != 3) complain("async calls were not settled once each");
        if (told("restart").size() != 1 || told("stop") != std::vector<std::string>{"ok"}) {
            complain("restart or stop failed");
        }
        good_in_the_end("call");
        good_in_the_end("restarted");
    }

    void attempts() {
        if (told("new_life") != std::vector<std::string>{"ok"}) complain("no second worker");
        good_in_the_end("next");
    }

    void good_in_the_end(const std::string& step) {
        const auto again = told(step + "_again");
        const auto last = again.empty() ? told(step) : again;
        if (last != std::vector<std::string>{"ok"}) complain(step + " failed twice");
    }

    void errors() {
        for (const auto& [step, outcomes] : run_.told) {
            for (const auto& outcome : outcomes) {
                if (outcome.starts_with("exception")) complain(step + ": " + outcome);
                if (outcome.starts_with("error start_failed")) names_step(step, outcome);
                if (outcome.ends_with("| ")) complain(step + ": an error without a text");
            }
        }
    }

    // What is left of the text without the frame around it and the name of the error number.
    void names_step(const std::string& step, const std::string& outcome) {
        if (outcome.find("Success") != std::string::npos) {
            complain(step + ": names success as the reason: " + outcome);
        }
        const std::string_view frame = "could not be started: ";
        const auto begin = outcome.rfind(frame);
        if (begin == std::string::npos) return;  // the worker's own words
        const auto said = outcome.substr(begin + frame.size());
        const auto colon = said.rfind(": ");
        if (colon == std::string::npos || colon < 3) complain(step + ": no step: " + outcome);
        if (!run_.fault.starts_with("parent:") || run_.fault.find(',') != std::string::npos) return;
        const int error = std::atoi(run_.fault.c_str() + run_.fault.rfind(':') + 1);
        if (error != 0 && said.find(std::strerror(error)) == std::string::npos) {
            complain(step + ": no error number: " + outcome);
        }
    }

    void remains() {
        if (!run_.temp_entries.empty()) complain("left in the temporary folder");
        if (!run_.left.empty()) complain("left running: " + run_.left);
        // Whoever is told that there is no such child does not reap it.
        const bool lied_to = run_.fault.ends_with(":" + std::to_string(ECHILD));
        if (told("children") != std::vector<std::string>{""} && !lied_to) {
            complain("the host has children: " + joined(told("children")));
        }
        std::map<std::string, int> open;
        for (const auto& target : told("open")) ++open[target];
        // What Asio and the sentinel keep for the length of the process; two more ends of a pipe
        // for want of an eventfd.
        for (const char* once :
             {"anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[timerfd]"}) {
            if (open[once] <= 1) open.erase(once);
        }
        const bool no_eventfd = run_.fault.find("parent:eventfd:") != std::string::npos;
        if (open["pipe"] == 2 || (no_eventfd && open["pipe"] == 4)) open.erase("pipe");
        for (const auto& [target, count] : open) {
            if (count != 0) complain("left open: " + std::to_string(count) + " " + target);
        }
    }

    const Run& run_;
    std::string text_;
};

// --- The walk

std::string text_of(int error) { return error == make_short ? "short" : std::to_string(error); }

// What is to be tried, from how often each function was called when nothing failed.
std::vector<std::string> plan(const std::string& side, const Group& group,
                              const std::vector<std::uint32_t>& calls) {
    // -1 is more than any.
    const auto most = static_cast<unsigned>(number_from_environment("TETHER_TEST_FAULTS", 3));
    std::vector<std::string> faults;
    for (unsigned i = 0; i < tether_faults::count; ++i) {
        const std::string function{tether_faults::names[i]};
        for (const auto& [functions, errors, each_time] : group) {
            if (std::ranges::count(functions, function) == 0) continue;
            auto last = std::min(calls[i], most);
            // The others are the threads of the host itself.
            if (function == "pthread_create" && side == "parent") last = std::min(last, 1U);
            for (unsigned number = 1; number <= last; ++number) {
                for (const int error : errors) {
                    const bool wanted =
                        most > 3 || each_time || number == 1 || error == errors.front();
                    if (!wanted) continue;
                    faults.push_back(side + ":" + function + ":" + std::to_string(number) + ":" +
                                     text_of(error));
                }
            }
        }
    }
    return faults;
}

// Two at a time; what went wrong, all of it.
std::vector<std::string> review_all(const std::vector<std::string>& faults,
                                    const std::string& transport) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::vector<std::string> wrong;
    const auto work = [&] {
        for (auto i = next++; i < faults.size(); i = next++) {
            const auto text = Review{run(faults[i], "parent", transport)}.text();
            if (text.empty()) continue;
            const std::scoped_lock lock{mutex};
            wrong.push_back(text);
        }
    };
    std::thread other{work};
    work();
    other.join();
    return wrong;
}

void check_all(const std::vector<std::string>& faults, const std::string& transport = "automatic") {
    for (const auto& text : review_all(faults, transport)) FAIL_CHECK(text);
}

void walk(const std::string& side, const Group& group, const std::string& transport = "automatic") {
    if (!can_interpose()) return;
    const auto usual = run(none, side, transport);
    const auto wrong = Review{usual}.text();
    INFO(wrong);
    REQUIRE(wrong.empty());
    const auto faults = plan(side, group, usual.calls);
    REQUIRE(!faults.empty());
    std::printf("%zu faults\n", faults.size());
    check_all(faults, transport);
}

// The errors of all callers of the first start.
std::vector<std::string> first_errors(const Run& run) {
    std::vector<std::string> errors;
    for (const auto& [step, outcomes] : run.told) {
        if (step.starts_with("first") && outcomes.front() != "ok") errors.push_back(outcomes[0]);
    }
    return errors;
}

}  // namespace

TEST_CASE("the parent cannot make its sockets and pipes", "[faults][F44]") {
    walk("parent", making);
}
TEST_CASE("the parent cannot make a socket with a path", "[faults][F44]") {
    walk("parent", making, "unix_path");
    walk("parent", {{{"mkdir", "open", "flock", "fstat", "opendir", "readdir"}, {EPERM, EMFILE}}},
         "unix_path");
}
TEST_CASE("the parent cannot make a socket of TCP", "[faults][F44]") {
    walk("parent", making, "tcp");
}
TEST_CASE("the parent cannot send and receive", "[faults]") { walk("parent", moving); }
TEST_CASE("the parent cannot wait", "[faults][F44]") { walk("parent", waiting); }
TEST_CASE("the parent cannot open and close", "[faults][F44]") { walk("parent", files); }
TEST_CASE("the parent cannot start and end processes", "[faults][F44]") {
    walk("parent", processes);
}
TEST_CASE("the worker cannot let its parent in", "[faults]") { walk("worker", making); }
TEST_CASE("the worker cannot send and receive", "[faults]") { walk("worker", moving); }
TEST_CASE("the worker cannot wait", "[faults]") { walk("worker", waiting); }
TEST_CASE("the worker cannot open, close and end processes", "[faults]") {
    walk("worker", files);
    walk("worker", processes);
}

TEST_CASE("a transport that is refused gives way to the next", "[faults][F65][F66]") {
    if (!can_interpose()) return;
    const std::string step = GENERATE("bind", "connect");
    const int error = GENERATE(EPERM, ENOTSUP, EIO);
    const auto with = ":" + std::to_string(error);
    const auto result = run("parent:" + step + ":1-2" + with);
    const auto wrong = Review{result}.text();
    INFO(wrong);
    CHECK(wrong.empty());
    CHECK(result.fired);
    CHECK(first_errors(result).empty());
}

TEST_CASE("a start whose every transport is refused names each step and error",
          "[faults][F65][F66]") {
    if (!can_interpose()) return;
    const std::string step = GENERATE("bind", "connect");
    const int error = GENERATE(EPERM, ENOTSUP, EIO);
    const auto with = ":" + std::to_string(error);
    const auto result = run("parent:" + step + ":1-2" + with + ",parent:socketpair:1" + with);
    const auto wrong = Review{result}.text();
    INFO(wrong);
    CHECK(wrong.empty());
    const auto errors = first_errors(result);
    INFO(joined(errors));
    REQUIRE(!errors.empty());
    const auto& text = errors.front();
    for (const std::string part :
         {"no transport works", "unix_abstract: ", "unix_path: ", "socket_pair: socketpair"}) {
        CHECK(text.find(part) != std::string::npos);
    }
    CHECK(text.find(step) != std::string::npos);
    CHECK(text.find(std::strerror(error)) != std::string::npos);
}

TEST_CASE("a transport that was asked for by name is not exchanged for another",
          "[faults][F65][F66]") {
    if (!can_interpose()) return;
    const std::string transport = GENERATE("unix_abstract", "unix_path", "tcp");
    const std::string step = GENERATE("bind", "connect");
    const auto result = run("parent:" + step + ":1:" + std::to_string(EPERM), "parent", transport);
    const auto wrong = Review{result}.text();
    INFO(wrong);
    CHECK(wrong.empty());
    const auto errors = first_errors(result);
    INFO(joined(errors));
    REQUIRE(!errors.empty());
    CHECK(errors.front().find(transport + ": " + step) != std::string::npos);
    CHECK(errors.front().find(std::strerror(EPERM)) != std::string::npos);
}

}  // namespace tether_lifetime::faults
