// The whole life of a worker, once, told line by line on stdout, while the interposer makes a
// system call fail somewhere; then a second worker, for which nothing fails any more.
//
//   faults [transport]                     the above
//   faults transport child|session [sandbox]
//                                          another life, in which every end of a worker occurs: for
//                                          a system that refuses something for good. Its handlers
//                                          leave children in the worker's group, or in sessions of
//                                          their own
//
// "sandbox" forbids by a filter of system calls, which each worker inherits, and fails them with
// the error number that follows: "pidfd_open=38,clone3=38,close_range=1,subreaper=22".

#include <tether/tether.hpp>

#include <asio/use_future.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;

struct Ask {
    static constexpr std::string_view name = "ask";
    using Response = std::string;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Ask, text)

struct AskProtocol {
    static constexpr std::string_view name = "tether.test.faults";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ask>;
};

using AskWorker = tether::Worker<AskProtocol>;

class Echo final : public tether::Handler<AskProtocol> {
public:
    std::string handle(const Ask& ask, tether::CallContext<Ask>& call) override {
        if (ask.text.empty()) call.log(tether::Severity::info, "asked");
        if (ask.text == "crash") std::abort();
        if (ask.text == "child" || ask.text == "session") start_child(ask.text == "session");
        const auto until = std::chrono::steady_clock::now() + 5s;
        while (ask.text == "wait" && !call.stop_requested() &&
               std::chrono::steady_clock::now() < until) {
            std::this_thread::sleep_for(1ms);
        }
        return ask.text;
    }

private:
    // Never ends by itself, nor does its child.
    static void start_child(bool in_sessions) {
        if (::fork() != 0) return;
        if (in_sessions) ::setsid();
        if (::fork() == 0 && in_sessions) ::setsid();
        for (;;) ::pause();
    }
};

// --- Telling

void say(std::string line) {
    std::replace(line.begin(), line.end(), '\n', ';');
    static std::mutex mutex;
    const std::scoped_lock lock{mutex};
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

// "step ok", or "step error <what it is> | <system error> | <text>". True: ok.
template <class Act>
bool tell(const std::string& step, Act act) {
    try {
        act();
        say(step + " ok");
        return true;
    } catch (const tether::CallError& error) {
        const auto is_start = error.code() == tether::errc::start_failed;
        say(step + " error " + (is_start ? "start_failed" : "other") + " | " +
            error.code().message() + " | " + error.what());
    } catch (const std::system_error& error) {
        say(step + " system_error | " + error.code().message() + " | " + error.what());
    } catch (const std::exception& error) {
        say(step + " exception | " + error.what());
    }
    return false;
}

// The targets of all descriptors but those of this list.
std::vector<std::string> descriptors() {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", error}) {
        auto target = std::filesystem::read_symlink(entry.path(), error).string();
        if (error || target.find("/fd") != std::string::npos) continue;
        // Whether its file has a name is no matter of ours.
        if (const auto gone = target.find(" (deleted)"); gone != target.npos) target.resize(gone);
        const auto bracket = target.find(":[");
        if (target.rfind("anon_inode", 0) != 0 && bracket != std::string::npos) {
            target.resize(bracket);
        }
        found.push_back(target);
    }
    std::sort(found.begin(), found.end());
    return found;
}

std::string children() {
    std::string found;
    std::error_code error;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task", error}) {
        std::ifstream in{task.path() / "children"};
        found.append(std::istreambuf_iterator<char>{in}, {});
    }
    return found;
}

// What was opened since. The background thread may still be busy with the end of the last worker.
std::vector<std::string> opened_since(const std::vector<std::string>& before) {
    const auto until = std::chrono::steady_clock::now() + 2s;
    for (;;) {
        const auto now = descriptors();
        std::vector<std::string> made;
        std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                            std::back_inserter(made));
        const auto kept = [](const auto& target) {
            return target.starts_with("anon_inode:") && target.find("pidfd") == std::string::npos;
        };
        // And the two ends of the sentinel's pipe.
        const auto others = std::count_if(made.begin(), made.end(), std::not_fn(kept));
        const bool settled = others == std::count(made.begin(), made.end(), "pipe") && others <= 2;
        if (settled || std::chrono::steady_clock::now() > until) return made;
        std::this_thread::sleep_for(1ms);
    }
}

// --- The scenario

// Long answers and requests do not fit into one system call.
constexpr std::size_t large = 100'000;

void ask(AskWorker& worker, std::size_t size) {
    const std::string text(size, 'x');
    if (worker.call(Ask{text}) != text) throw std::runtime_error("another call's answer");
}

void ask_at_once(AskWorker& worker, const std::string& step, int count = 16) {
    std::vector<std::thread> callers;
    for (int i = 0; i < count; ++i) {
        callers.emplace_back([&worker, step, i] {
            tell(step + std::to_string(i), [&] { ask(worker, i == 0 ? large : 10); });
        });
    }
    for (auto& caller : callers) caller.join();
}

void ask_async(AskWorker& worker, const std::string& step) {
    std::vector<std::future<std::string>> answers;
    for (const auto size : {std::size_t{10}, large, std::size_t{10}}) {
        answers.push_back(worker.async_call(Ask{std::string(size, 'x')}, asio::use_future));
    }
    for (auto& answer : answers) tell(step, [&] { static_cast<void>(answer.get()); });
}

// What failed may have been the very thing that fails; twice in a row it must not.
void ask_until_good(AskWorker& worker, const std::string& step) {
    if (!tell(step, [&] { ask(worker, 0); })) tell(step + "_again", [&] { ask(worker, 0); });
}

tether::WorkerOptions options(const char* transport) {
    tether::WorkerOptions options;
    options.name = "faulty";
    options.start_timeout = 2s;
    options.call_timeout = 3s;
    options.stop = {.drain = 300ms, .terminate = 200ms};
    options.restart.budget = 100;
    options.restart.initial_pause = 1ms;
    options.restart.max_pause = 2ms;
    for (const auto one : {tether::Transport::unix_abstract, tether::Transport::unix_path,
                           tether::Transport::tcp, tether::Transport::socket_pair}) {
        if (to_string(one) == transport) options.transport = one;
    }
    return options;
}

void live(const char* transport) {
    AskWorker worker{options(transport)};
    // Nobody waits for the first start, or all do.
    ask_at_once(worker, "first");
    ask_async(worker, "async");
    ask_until_good(worker, "call");
    tell("restart", [&] { worker.restart(); });
    ask_at_once(worker, "second");
    ask_until_good(worker, "restarted");
    tell("stop", [&] { worker.stop(); });
    tell("stopped", [&] { ask(worker, 10); });
}

void live_again(const char* transport) {
    AskWorker worker{options(transport)};
    ask_until_good(worker, "next");
}

// --- For good

// Every end of a worker, and what a caller hears of it.
void live_refused(AskWorker& worker, const std::string& child) {
    ask_at_once(worker, "first", 4);
    ask_async(worker, "async");
    tell("logged", [&] { ask(worker, 0); });
    tell("cancelled", [&] { worker.call(Ask{"wait"}, {.timeout = 100ms}); });
    tell("after_cancelled", [&] { ask(worker, 10); });
    say("generation " + std::to_string(worker.generation()));
    tell("restart", [&] { worker.restart(); });
    ask_at_once(worker, "second", 4);
    tell("crash", [&] { worker.call(Ask{"crash"}); });
    tell("after_crash", [&] { ask(worker, 10); });
    tell("child", [&] { worker.call(Ask{child}); });
    tell("kill", [&] { worker.kill(); });
    tell("after_kill", [&] { ask(worker, 10); });
    tell("other_child", [&] { worker.call(Ask{child}); });
    tell("stop", [&] { worker.stop(); });
}

std::chrono::milliseconds used_time(int whose) {
    ::rusage usage{};
    ::getrusage(whose, &usage);
    const auto time = [](const ::timeval& value) {
        return std::chrono::duration_cast<std::chrono::milliseconds>(
            std::chrono::seconds{value.tv_sec} + std::chrono::microseconds{value.tv_usec});
    };
    return time(usage.ru_utime) + time(usage.ru_stime);
}

// --- A filter of system calls

void forbid(std::vector<::sock_filter>& filter, std::uint32_t number, std::uint32_t error) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
}

// prctl() with this first argument.
void forbid_option(std::vector<::sock_filter>& filter, std::uint32_t option, std::uint32_t error) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 4));
    filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(::seccomp_data, args)));
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, option, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
    filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(::seccomp_data, nr)));
}

// False: this system has no filters, or allows none.
bool enter_sandbox(std::string_view rules) {
    static const std::map<std::string, std::uint32_t, std::less<>> numbers{
        {"pidfd_open", SYS_pidfd_open}, {"pidfd_send_signal", SYS_pidfd_send_signal},
        {"clone3", SYS_clone3},         {"close_range", SYS_close_range},
        {"ppoll", SYS_ppoll},           {"pselect6", SYS_pselect6},
        {"epoll_ctl", SYS_epoll_ctl},   {"timerfd_create", SYS_timerfd_create},
        {"socketpair", SYS_socketpair}, {"waitid", SYS_waitid},
        {"getdents64", SYS_getdents64}, {"accept", SYS_accept}};
    std::vector<::sock_filter> filter{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(::seccomp_data, nr))};
    while (!rules.empty()) {
        const auto rule = rules.substr(0, rules.find(','));
        rules.remove_prefix(std::min(rules.size(), rule.size() + 1));
        const auto name = rule.substr(0, rule.find('='));
        const auto error =
            static_cast<std::uint32_t>(std::stoul(std::string{rule.substr(name.size() + 1)}));
        if (name == "subreaper") {
            forbid_option(filter, PR_SET_CHILD_SUBREAPER, error);
        } else {
            forbid(filter, numbers.find(name)->second, error);
        }
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ::sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int main_refused(const char* transport, const char* child, std::string_view sandbox) {
    if (!sandbox.empty() && !enter_sandbox(sandbox)) {
        say("no sandbox");
        return 0;
    }
    tell("life", [&] {
        AskWorker worker{options(transport)};
        live_refused(worker, child);
    });
    const auto used = used_time(RUSAGE_SELF) + used_time(RUSAGE_CHILDREN);
    say("used " + std::to_string(used.count()));
    say("done");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (auto code = tether::serve_if_worker<Echo>(argc, argv)) return *code;
    const char* transport = argc > 1 ? argv[1] : "automatic";
    if (argc > 2) return main_refused(transport, argv[2], argc > 3 ? argv[3] : "");
    const auto before = descriptors();
    tell("life", [&] { live(transport); });
    tell("new_life", [&] { live_again(transport); });
    for (const auto& target : opened_since(before)) say("open " + target);
    say("children " + children());
    say("done");
    return 0;
}
