// A host that does what it is told, line by line: the worker in each kind of storage, calls of each
// kind, and every way to end.

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <sstream>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "host_support.hpp"

using namespace tether_host;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define TETHER_TEST_OWN_CLOCK 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TETHER_TEST_OWN_CLOCK 0
#endif
#endif
#if !defined(TETHER_TEST_OWN_CLOCK)
#define TETHER_TEST_OWN_CLOCK 1
#endif

namespace {

// Keeps a second io_context running to the very end, as a program with threads of its own does.
class UserContext {
public:
    static asio::io_context& instance() {
        static UserContext& context = *new UserContext;
        return context.context_;
    }

private:
    UserContext() {
        std::thread{[this] { context_.run(); }}.detach();
    }
    asio::io_context context_;
    asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
};

tether::WorkerOptions options_in_static;

AskWorker& static_worker() {
    static AskWorker worker{options_in_static};
    return worker;
}

// Still pointed at, so that a leak checker does not take it for a mistake.
AskWorker* leaked_worker = nullptr;

std::atomic<bool> clock_is_frozen{false};

// As a sandbox does, or the loss of a privilege: this process may send no signal any more. False:
// not possible here.
bool refuse_signals() {
    const auto refuse = static_cast<unsigned>(SECCOMP_RET_ERRNO | EPERM);
    constexpr auto number = static_cast<unsigned>(offsetof(::seccomp_data, nr));
    ::sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 424, 0, 1),  // pidfd_send_signal
        BPF_STMT(BPF_RET | BPF_K, refuse),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const ::sock_fprog filter{static_cast<unsigned short>(std::size(code)), code};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

bool freeze_clock() {
    clock_is_frozen = true;
    return TETHER_TEST_OWN_CLOCK != 0;
}

class Session {
public:
    explicit Session(const Arguments& arguments) : arguments_(arguments) {}

    // Returns the exit code of main.
    int run() {
        make_worker();
        announce("spawned " + std::to_string(worker_->pid()));
        return obey_all();
    }

private:
    int obey_all() {
        for (auto line = next_command(); !line.empty(); line = next_command()) {
            std::istringstream words{line};
            std::string command;
            words >> command;
            std::string rest;
            std::getline(words >> std::ws, rest);
            if (command == "end") return end_by(rest);
            obey(command, rest);
        }
        return 0;
    }

    void make_worker() {
        const auto storage = arguments_.text("storage", "local");
        auto options = worker_options(arguments_);
        options.output = output();
        if (arguments_.number("in_thread") != 0) {
            std::thread{[&] { local_.emplace(options); }}.join();
            worker_ = &*local_;
        } else if (storage == "local" && arguments_.text("context") == "user") {
            worker_ = &local_.emplace(UserContext::instance(), options);
        } else if (storage == "local") {
            worker_ = &local_.emplace(options);
        } else if (storage == "static") {
            options_in_static = options;
            worker_ = &static_worker();
        } else if (storage == "leaked" && arguments_.text("context") == "user") {
            worker_ = leaked_worker = new AskWorker{UserContext::instance(), options};
        } else {
            worker_ = leaked_worker = new AskWorker{options};
        }
    }

    [[nodiscard]] tether::Output output() const {
        const auto way = arguments_.text("output");
        if (way.empty()) return {};
        return tether::Output::to([way](const tether::LogRecord&) {
            announce("callback");
            if (way == "exit") std::exit(exit_code);
            for (;;) ::pause();
        });
    }

    static Ask parse(const std::string& text) {
        const auto space = std::min(text.find(' '), text.size());
        return {text.substr(0, space), text.substr(std::min(text.size(), space + 1))};
    }

    std::string call(const std::string& text) {
        return worker_->call(parse(text), {.timeout = tether::no_timeout});
    }

    void obey(const std::string& command, const std::string& rest) {
        if (command == "call") {
            announce("calling");
            announce_outcome("answer", [&] { return call(rest); });
        } else if (command == "async") {
            worker_->async_call(
                parse(rest), {.timeout = tether::no_timeout},
                [](std::exception_ptr, const std::string&) { announce("completed"); });
            announce("sent");
        } else if (command == "async_exit") {
            worker_->async_call(parse(rest), [](std::exception_ptr, const std::string&) {
                announce("exit on the background thread");
                std::exit(exit_code);
            });
        } else if (command == "thread") {
            std::thread{[this, rest] {
                announce_outcome("thread", [&] { return call(rest); });
            }}.detach();
        } else if (command == "stop") {
            announce("stopping");
            announce_outcome("stopped", [&] { return describe(worker_->stop()); });
        } else if (command == "async_stop") {
            worker_->async_stop(
                [](std::exception_ptr, std::optional<tether::ExitStatus>) { announce("ended"); });
            announce("sent");
        } else if (command == "async_wait") {
            worker_->async_wait(
                [](std::exception_ptr, const tether::ExitReport&) { announce("ended"); });
            announce("sent");
        } else if (command == "kill") {
            worker_->kill();
            announce("killed");
        } else if (command == "call_until_interrupted") {
            std::signal(SIGINT, [](int) { std::exit(exit_code); });
            announce("looping");
            for (;;) worker_->call(Ask{"echo", "x"});
        } else if (command == "suspend_caller") {
            suspend_caller();
        } else if (command == "freeze_clock") {
            announce(freeze_clock() ? "frozen yes" : "frozen no");
        } else if (command == "restart") {
            announce_outcome("restarted", [&] { return worker_->restart(), "done"; });
        } else if (command == "destroy") {
            local_.reset();
            announce("destroyed_worker");
        } else if (command == "report") {
            const auto report = worker_->last_exit();
            announce("report " + (report ? one_line(to_string(*report)) : "none"));
        } else if (command == "refuse_signals") {
            announce(refuse_signals() ? "refused yes" : "refused no");
        } else if (command == "pid") {
            announce("pid " + std::to_string(worker_->pid()) + " generation " +
                     std::to_string(worker_->generation()));
        } else if (command == "sigstop") {
            ::raise(SIGSTOP);
            announce("continued");
        } else if (command == "cycles") {
            cycle(std::stoi(rest));
        } else if (command == "fork_and_drop") {
            fork_and_drop_context();
        } else if (command == "leave_main_thread") {
            leave_main_thread();
        } else if (command == "interrupted") {
            wait_for_interrupt();
        } else {
            announce("unknown command " + command);
        }
    }

    void cycle(int count) {
        for (int i = 0; i < count; ++i) {
            AskWorker worker{worker_options(arguments_)};
            worker.call(Ask{"echo", "x"});
            const auto status = worker.stop();
            if (!status || !status->success()) announce("bad " + describe(status));
        }
        announce("cycled");
    }

    // Another thread goes on to obey, and this one ends, without any unwinding.
    [[noreturn]] void leave_main_thread() {
        std::thread{[this] { std::exit(obey_all()); }}.detach();
        for (;;) ::syscall(SYS_exit, 0);
    }

    // The copy destroys the context that a call of the original's is to complete on.
    void fork_and_drop_context() {
        auto context = std::make_unique<asio::io_context>();
        AskWorker worker{*context, worker_options(arguments_)};
        worker.async_call(Ask{"until_gate", {}}, {.timeout = tether::no_timeout},
                          [](const std::exception_ptr& error, const std::string& answer) {
                              announce("completed " + (error ? "with an error" : answer));
                          });
        next_command();
        const auto copy = ::fork();
        if (copy == 0) {
            context.reset();
            std::exit(exit_code);
        }
        int status = 0;
        while (::waitpid(copy, &status, 0) == -1 && errno == EINTR) {
        }
        announce("copy_ended " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1));
        // The worker heeds cancellations in their order, and has two threads: what the copy may
        // have cancelled has been when the third call is answered.
        announce_outcome("second", [&] {
            return worker.call(Ask{"until_stopped", {}}, {.timeout = 100ms});
        });
        announce_outcome("third", [&] { return worker.call(Ask{"echo", "x"}); });
        context->run();
        announce("ran");
    }

    // A thread that never comes back from a signal handler, wherever in Tether it was interrupted.
    void suspend_caller() {
        static std::atomic<bool> suspended{false};
        std::signal(SIGUSR1, [](int) {
            suspended = true;
            for (;;) ::pause();
        });
        std::thread caller{[this] {
            announce("looping");
            for (;;) worker_->call(Ask{"echo", "x"});
        }};
        pause_for(20ms);
        ::pthread_kill(caller.native_handle(), SIGUSR1);
        while (!suspended) pause_for(1ms);
        caller.detach();
        announce("suspended");
    }

    // A tool that was interrupted: what runs is cancelled, then the worker is asked for one last
    // thing.
    void wait_for_interrupt() {
        static int fds[2];
        if (::pipe(fds) != 0) std::abort();
        struct ::sigaction action {};
        action.sa_handler = [](int) { (void)!::write(fds[1], "", 1); };
        ::sigaction(SIGINT, &action, nullptr);
        std::stop_source cancel;
        std::thread busy{[&] {
            announce_outcome("busy", [&] {
                return worker_->call(Ask{"until_stopped", {}}, {.stop_token = cancel.get_token()});
            });
        }};
        char byte = 0;
        while (::read(fds[0], &byte, 1) == -1 && errno == EINTR) {
        }
        cancel.request_stop();
        busy.join();
        announce_outcome("last", [&] { return worker_->call(Ask{"echo", "goodbye"}); });
        std::exit(128 + SIGINT);
    }

    const Arguments& arguments_;
    std::optional<AskWorker> local_;
    AskWorker* worker_ = nullptr;
};

// What a program that knows nothing of close-on-exec has open.
void open_inheritable_descriptors() {
    int fds[2];
    if (::pipe(fds) != 0 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) std::abort();
    for (const int target : {3, 4, 5, 6, 7, 12, 200}) {
        if (::dup2(::open("/etc/passwd", O_RDONLY), target) == -1) std::abort();
    }
}

}  // namespace

// In front of the C library's, as libfaketime has one: the monotonic clock may stand still.
#if TETHER_TEST_OWN_CLOCK
extern "C" int clock_gettime(clockid_t clock, ::timespec* time) noexcept {
    static ::timespec last{};
    if (clock == CLOCK_MONOTONIC && clock_is_frozen) return *time = last, 0;
    const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
    if (clock == CLOCK_MONOTONIC && result == 0) last = *time;
    return result;
}
#endif

int main(int argc, char** argv) {
    forbid_core_files();
    if (!variable("TETHER_WORKER").empty()) pass_gate("main");
    if (auto code = tether::serve_if_worker<Asked>(argc, argv)) return *code;
    const Arguments arguments{argc, argv};
    announce("main " + std::to_string(::getpid()));
    if (arguments.number("inheritable") != 0) open_inheritable_descriptors();
    if (arguments.number("ignore_hangup") != 0) ::signal(SIGHUP, SIG_IGN);
    return Session{arguments}.run();
}
