// The system refuses something for good, to either side: it works by another way, or every caller
// is told at once and by name; no thread spins or hangs, and no process is left behind.

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "host_process.hpp"
#include "process/faults/fault_run.hpp"
#include "process/faults/functions.hpp"

namespace tether_lifetime::faults {

namespace {

// --- A life

const std::vector<std::string> steps_of_a_life{
    "first0",    "first1",          "first2",      "first3",      "logged",
    "cancelled", "restart",         "second0",     "second1",     "second2",
    "second3",   "after_cancelled", "crash",       "after_crash", "child",
    "kill",      "after_kill",      "other_child", "stop"};

// What must be true of a life in which the system refuses something for good: a line for all that
// is not.
class ReviewOfLife {
public:
    explicit ReviewOfLife(const Run& run) : run_(run) {
        if (run_.ended != "exit 0") complain("the host: " + run_.ended);
        if (told("done").empty()) complain("the host did not come to its end");
        if (!run_.temp_entries.empty()) complain("left in the temporary folder");
        if (!run_.left.empty()) complain("left running: " + run_.left);
        look_at_life();
        for (const auto& [step, outcomes] : run_.told) {
            for (const auto& outcome : outcomes) look_at(step, outcome);
        }
        // Two seconds are far more than a life needs, and far less than a thread that spins.
        const auto used = told("used");
        if (!used.empty() && std::stol(used.front()) > within(2s).count()) {
            complain("used " + used.front() + " ms of the processor");
        }
    }
    [[nodiscard]] std::string text() const {
        if (text_.empty()) return {};
        return run_.fault + " (" + run_.transport + ")\n" + text_ + "its output:\n" + run_.output +
               "its stderr:\n" + run_.errors + "\n";
    }
    // Every call that should succeed did.
    [[nodiscard]] bool all_well() const { return text_.empty() && failed_.empty(); }
    [[nodiscard]] const std::string& failed() const noexcept { return failed_; }

private:
    void complain(const std::string& what) { text_ += "  " + what + "\n"; }

    [[nodiscard]] std::vector<std::string> told(const std::string& step) const {
        const auto found = run_.told.find(step);
        return found == run_.told.end() ? std::vector<std::string>{} : found->second;
    }

    // Each step once, unless no Worker could be made; that has a named error too.
    void look_at_life() {
        const auto life = told("life");
        if (life.size() != 1) return complain("no life");
        if (life.front() != "ok") return;
        for (const auto& step : steps_of_a_life) {
            if (told(step).size() != 1) complain(step + " was not settled once");
        }
        if (told("async").size() != 3) complain("async calls were not settled once each");
    }

    void look_at(const std::string& step, const std::string& outcome) {
        const bool is_error = outcome.starts_with("error") || outcome.starts_with("system_error");
        if (outcome.starts_with("exception")) complain(step + ": " + outcome);
        if (!is_error) return;
        if (outcome.ends_with("| ") || outcome.find("Success") != std::string::npos) {
            complain(step + ": an error without a reason: " + outcome);
        }
        if (step == "cancelled" || step == "crash") return;  // as they should
        failed_ += step + " " + outcome + "\n";
        // It could have been said at once.
        for (const std::string late : {"start timeout", "its timeout", "in time"}) {
            if (outcome.find(late) != std::string::npos) complain(step + ": late: " + outcome);
        }
        if (step == "first0" || step == "life") names_reason(step, outcome);
    }

    void names_reason(const std::string& step, const std::string& outcome) {
        if (run_.fault.empty()) return;
        const auto number = std::atoi(run_.fault.c_str() + run_.fault.rfind(':') + 1);
        const bool said = outcome.find(std::strerror(number)) != std::string::npos ||
                          outcome.find("not implemented") != std::string::npos;
        if (!said) complain(step + ": does not say what was refused: " + outcome);
    }

    const Run& run_;
    std::string text_;
    std::string failed_;
};

Run live(const std::string& fault, const std::string& side = "parent",
         const std::string& transport = "automatic") {
    return run_host({.fault = fault, .transport = transport}, {transport, "child"}, side);
}

bool wants_everything() {
    // -1 is more than any.
    return static_cast<unsigned>(number_from_environment("TETHER_TEST_FAULTS", 3)) > 3;
}

// Everything that a life calls, refused from its beginning, or from its middle on: by the errors of
// a filter or an old kernel. All of them with TETHER_TEST_FAULTS=-1.
std::vector<std::string> plan_for_good(const std::string& side,
                                       const std::vector<std::uint32_t>& calls) {
    std::vector<int> errors{side == "worker" ? ENOSYS : EPERM};
    if (wants_everything()) errors = {EPERM, EINVAL, ENOSYS};
    std::vector<std::string> faults;
    for (int i = 0; i < tether_faults::all; ++i) {
        const std::string function{tether_faults::name_of(i)};
        const auto count = calls[static_cast<unsigned>(i)];
        // Where removing is refused, the folder of a socket stays.
        if (count == 0 || function == "rmdir" || function == "unlink") continue;
        std::vector<unsigned> moments{1};
        // The host starts threads of its own, and Asio does not tell that it cannot wait any more.
        const bool once =
            side == "both" || function == "pthread_create" || function == "epoll_wait";
        if (count > 1 && !once) moments.push_back(count / 2 + 1);
        for (const auto moment : moments) {
            for (const int error : errors) {
                faults.push_back(side + ":" + function + ":" + std::to_string(moment) +
                                 "-:" + std::to_string(error));
            }
        }
    }
    return faults;
}

// Two at a time; what went wrong, all of it.
std::vector<std::string> review_lives(const std::vector<std::string>& faults,
                                      const std::string& transport) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::vector<std::string> wrong;
    const auto work = [&] {
        for (auto i = next++; i < faults.size(); i = next++) {
            const auto began = SteadyClock::now();
            const auto result = live(faults[i], "parent", transport);
            const ReviewOfLife review{result};
            const std::scoped_lock lock{mutex};
            if (std::getenv("TETHER_TEST_TELL") != nullptr) {
                print_time(faults[i], since(began));
                std::printf("%s", review.failed().c_str());
            }
            if (!review.text().empty()) wrong.push_back(review.text());
        }
    };
    std::thread other{work};
    work();
    other.join();
    return wrong;
}

void refuse_for_good(const std::string& side, const std::string& transport) {
    const auto usual = live(none, side == "both" ? "parent" : side, transport);
    const ReviewOfLife review{usual};
    INFO(review.text() << review.failed());
    REQUIRE(review.all_well());
    const auto faults = plan_for_good(side, usual.calls);
    REQUIRE(!faults.empty());
    std::printf("%zu faults\n", faults.size());
    for (const auto& text : review_lives(faults, transport)) FAIL_CHECK(text);
}

void refuse_for_good(const std::string& side) {
    if (!can_interpose()) return;
    refuse_for_good(side, "automatic");
    if (!wants_everything()) return;
    for (const std::string transport : {"unix_path", "tcp", "socket_pair"}) {
        refuse_for_good(side, transport);
    }
}

}  // namespace

// --- By the interposer

TEST_CASE("the parent is refused a system call for good", "[faults][F97][F113]") {
    refuse_for_good("parent");
}
TEST_CASE("the worker is refused a system call for good", "[faults][F97][F113]") {
    refuse_for_good("worker");
}
TEST_CASE("both sides are refused a system call for good", "[faults][F97][F113]") {
    refuse_for_good("both");
}

TEST_CASE("a worker without signals for its control channel outlives its records",
          "[faults][F97]") {
    if (!can_interpose()) return;
    const std::string command = GENERATE("F_GETFL", "F_SETFL", "F_SETOWN", "F_SETSIG", "F_GETSIG");
    const auto result = live("worker:fcntl/" + command + ":1-:" + std::to_string(EINVAL));
    const ReviewOfLife review{result};
    INFO(review.text() << review.failed() << result.output);
    CHECK(review.all_well());
    CHECK(result.told.at("generation").front() == "1");
}

TEST_CASE("waiting works by another system call, or the worker says that it cannot",
          "[faults][F113]") {
    if (!can_interpose()) return;
    const std::string side = GENERATE("parent", "worker", "both");
    const std::string error = ":1-:" + std::to_string(GENERATE(EPERM, EINVAL, ENOSYS));
    const auto rule = [&](const std::string& function) { return side + ":" + function + error; };
    const auto some = live(rule("poll") + "," + rule("ppoll"));
    const ReviewOfLife review{some};
    INFO(review.text() << review.failed());
    CHECK(review.all_well());
    const auto all = live(rule("poll") + "," + rule("ppoll") + "," + rule("pselect"));
    const ReviewOfLife review_of_all{all};
    INFO(review_of_all.text() << review_of_all.failed());
    CHECK(review_of_all.text().empty());
    CHECK(review_of_all.all_well() == (side == "parent"));
}

// --- By the kernel: see enter_sandbox() in hosts/faults.cpp

namespace {

// What is forbidden, and whether everything works all the same.
struct Sandbox {
    const char* rules;
    bool works;
};

void live_in(const Sandbox& sandbox, const std::vector<std::string>& wrapper = {},
             const std::string& child = "session") {
    const auto result = run_host({}, {"automatic", child, sandbox.rules}, "parent", wrapper);
    if (result.told.contains("no")) {
        WARN("not tried: no right to filter system calls");
        return;
    }
    const ReviewOfLife review{result};
    INFO(sandbox.rules << "\n"
                       << review.text() << review.failed() << result.output << result.errors);
    CHECK(review.text().empty());
    CHECK(review.all_well() == sandbox.works);
}

bool can_wrap(const std::vector<std::string>& wrapper) {
    std::string command;
    for (const auto& word : wrapper) command += "'" + word + "' ";
    command += "test -x " + host_path("faults") + " >/dev/null 2>&1";
    if (::system(command.c_str()) == 0) return true;
    WARN("not tried: no right to make a namespace");
    return false;
}

const std::vector<std::string> without_proc{"unshare", "--mount", "sh", "-c",
                                            "mount -t tmpfs none /proc && exec \"$0\" \"$@\""};
const std::vector<std::string> with_hidepid{
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
    "mount -o remount,hidepid=2 /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "
    "\"$0\" \"$@\""};

}  // namespace

TEST_CASE("a filter of system calls forbids what is newer than others", "[faults][F97]") {
    const auto sandbox = GENERATE(values<Sandbox>({
        {"pidfd_open=38,clone3=38,close_range=38,subreaper=22", true},
        {"pidfd_open=1,clone3=38,close_range=1,subreaper=1", true},
        {"pidfd_open=1,clone3=1,close_range=1,subreaper=1", false},
        {"ppoll=38", true},
        {"ppoll=1,pselect6=1,waitid=1,timerfd_create=1", true},
        {"socketpair=1", false},
        {"accept=1", false},
        {"epoll_ctl=1", false},
    }));
    // With neither a pidfd nor waitid(), the group of a worker that crashed cannot be ended safely.
    if (portable && std::string{sandbox.rules}.find("waitid") != std::string::npos) return;
    live_in(sandbox, {}, portable ? "child" : "session");
}

TEST_CASE("there is no /proc", "[faults][F97]") {
    if (instrumented) return;  // a sanitizer needs it
    if (!can_wrap(without_proc)) return;
    // Then descendants are found only in the worker's group.
    live_in({"", true}, without_proc, "child");
    live_in({"pidfd_open=38,clone3=38,subreaper=1", true}, without_proc, "child");
    // The C library closes descriptors by either of the two.
    live_in({"close_range=1", false}, without_proc, "child");
}

TEST_CASE("/proc hides the processes of others", "[faults][F97]") {
    if (!can_wrap(with_hidepid)) return;
    live_in({"", true}, with_hidepid);
    live_in({"pidfd_open=1,clone3=38,close_range=1,subreaper=1", true}, with_hidepid);
}

}  // namespace tether_lifetime::faults
