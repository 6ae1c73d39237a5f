#pragma once

// What the host programs share. Each is host and worker in one and is started by a test, which
// follows it by the lines that both announce, and steers it by its arguments and its stdin.

#include <tether/tether.hpp>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;  // POSIX has no header for it

namespace tether_host {

using namespace std::chrono_literals;

inline std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

// --- Talking to the test

// Tells the test where this process is: one line, in one write, from any thread or process.
inline void announce(std::string line) {
    line += '\n';
    const int fd = ::open(variable("TETHER_TEST_EVENTS").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd == -1) return;
    (void)!::write(fd, line.data(), line.size());
    ::close(fd);
}

// Where the test asked for it, waits here until the test opens the gate.
inline void pass_gate(std::string_view place) {
    if (variable("TETHER_TEST_GATE") != place) return;
    announce("gate " + std::string{place} + " " + std::to_string(::getpid()));
    int fd = -1;
    do {
        fd = ::open(variable("TETHER_TEST_GATE_PATH").c_str(), O_RDONLY | O_CLOEXEC);
    } while (fd == -1 && errno == EINTR);
    ::close(fd);
}

// The next line that the test types; "" at its end.
inline std::string next_command() {
    std::string line;
    char c = 0;
    for (;;) {
        const auto size = ::read(STDIN_FILENO, &c, 1);
        if (size == -1 && errno == EINTR) continue;
        if (size != 1 || c == '\n') return line;
        line += c;
    }
}

// A pause that is part of the situation, not a way to wait for something.
inline void pause_for(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    for (auto now = end - time; now < end; now = std::chrono::steady_clock::now()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - now).count();
        ::poll(nullptr, 0, static_cast<int>(left));
    }
}

// --- Arguments: key=value

class Arguments {
public:
    Arguments(int argc, char** argv) {
        for (int i = 1; i < argc; ++i) {
            const std::string_view text{argv[i]};
            const auto sign = text.find('=');
            if (sign == std::string_view::npos) throw std::invalid_argument(argv[i]);
            values_[std::string{text.substr(0, sign)}] = text.substr(sign + 1);
        }
    }
    [[nodiscard]] std::string text(const std::string& key,
                                   const std::string& otherwise = {}) const {
        const auto found = values_.find(key);
        return found == values_.end() ? otherwise : found->second;
    }
    [[nodiscard]] int number(const std::string& key, int otherwise = 0) const {
        const auto found = values_.find(key);
        return found == values_.end() ? otherwise : std::stoi(found->second);
    }

private:
    std::map<std::string, std::string> values_;
};

inline tether::WorkerOptions worker_options(const Arguments& arguments) {
    using std::chrono::milliseconds;
    tether::WorkerOptions options;
    options.program = arguments.text("program");
    for (const auto transport :
         {tether::Transport::automatic, tether::Transport::unix_abstract,
          tether::Transport::unix_path, tether::Transport::tcp, tether::Transport::socket_pair}) {
        if (to_string(transport) == arguments.text("transport")) options.transport = transport;
    }
    options.stop.drain = milliseconds{arguments.number("drain", 1000)};
    options.stop.terminate = milliseconds{arguments.number("terminate", 500)};
    options.orphan_grace = milliseconds{arguments.number("grace", 500)};
    options.start_timeout = milliseconds{arguments.number("start_timeout", 60'000)};
    options.concurrency = static_cast<unsigned>(arguments.number("concurrency", 1));
    return options;
}

// --- The protocol: one request that says what to do

struct Ask {
    static constexpr std::string_view name = "ask";
    using Response = std::string;
    std::string what{};
    std::string argument{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Ask, what, argument)

struct AskProtocol {
    static constexpr std::string_view name = "tether.test.ask";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ask>;
};

using AskWorker = tether::Worker<AskProtocol>;

// --- Ways for a handler to be stuck

[[noreturn]] inline void spin() {
    for (volatile unsigned turns = 0;;) turns = turns + 1;
}

[[noreturn]] inline void block_in_read() {
    int fds[2];
    if (::pipe(fds) != 0) std::abort();
    char byte = 0;
    for (;;) (void)!::read(fds[0], &byte, 1);
}

[[noreturn]] inline void spin_with_signals_blocked() {
    ::sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    spin();
}

[[noreturn]] inline void block_with_stdio_lock() {
    ::flockfile(stdout);
    ::flockfile(stderr);
    block_in_read();
}

[[noreturn]] inline void block_with_loader_lock() {
    ::dl_iterate_phdr([](::dl_phdr_info*, std::size_t, void*) -> int { block_in_read(); }, nullptr);
    std::abort();
}

#if defined(__GLIBC__)
}  // namespace tether_host
#include <malloc.h>
namespace tether_host {
// glibc prints its statistics with the arena locked: into a stream that never takes them.
[[noreturn]] inline void block_with_malloc_lock() {
    ::cookie_io_functions_t functions{};
    functions.write = [](void*, const char*, std::size_t) -> ::ssize_t { block_in_read(); };
    std::FILE* stream = ::fopencookie(nullptr, "w", functions);
    std::setvbuf(stream, nullptr, _IONBF, 0);
    stderr = stream;
    ::malloc_stats();
    spin();  // an allocator of a sanitizer has no such statistics
}
#else
[[noreturn]] inline void block_with_malloc_lock() { spin(); }
#endif

// --- What else a worker can be asked

// "number target flag" for each descriptor of this process, the flag being close-on-exec.
inline std::string descriptors() {
    std::string text;
    const std::unique_ptr<::DIR, int (*)(::DIR*)> listing{::opendir("/proc/self/fd"), ::closedir};
    while (const auto* entry = ::readdir(listing.get())) {
        const int fd = std::atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == ::dirfd(listing.get())) continue;
        char target[256] = {};
        const auto path = "/proc/self/fd/" + std::string{entry->d_name};
        (void)!::readlink(path.c_str(), target, sizeof target - 1);
        text += std::string{entry->d_name} + " " + target + " " +
                std::to_string(::fcntl(fd, F_GETFD) & FD_CLOEXEC) + "\n";
    }
    return text;
}

inline ::pid_t start_shell(const std::string& command) {
    std::string text = command;
    char shell[] = "sh";
    char flag[] = "-c";
    char* arguments[] = {shell, flag, text.data(), nullptr};
    ::pid_t pid = -1;
    if (::posix_spawn(&pid, "/bin/sh", nullptr, nullptr, arguments, environ) != 0) {
        throw std::runtime_error("sh does not start");
    }
    return pid;
}

inline std::string output_of(const std::string& command) {
    std::string text;
    std::FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) throw std::runtime_error("popen");
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
    ::pclose(pipe);
    return text;
}

class Asked final : public tether::Handler<AskProtocol> {
public:
    Asked() {
        pass_gate("constructor");
        announce("constructed " + std::to_string(::getpid()));
    }

    ~Asked() override {
        pass_gate("destructor");
        const auto cleanup = variable("TETHER_TEST_CLEANUP");
        if (cleanup == "slow") pause_for(3s);
        if (cleanup == "print") print_and_mark();
        announce("destroyed " + std::to_string(::getpid()));
    }

    std::string handle(const Ask& ask, tether::CallContext<Ask>& call) override {
        if (ask.what == "echo") return ask.argument;
        if (ask.what == "pid") return std::to_string(::getpid());
        if (ask.what == "descriptors") return descriptors();
        if (ask.what == "shell") return std::to_string(start_shell(ask.argument));
        if (ask.what == "output_of") return output_of(ask.argument);
        if (ask.what == "log") return call.log(tether::Severity::info, ask.argument), "";
        if (ask.what == "print_lines") return print_lines(std::stoi(ask.argument)), "printed";
        announce("running " + ask.what + " " + std::to_string(::getpid()));
        if (ask.what == "until_stopped") return until_stopped(call, {});
        if (ask.what == "for")
            return until_stopped(call, std::chrono::milliseconds{std::stoi(ask.argument)});
        if (ask.what == "until_gate") return until_gate(call);
        if (ask.what == "spin") spin();
        if (ask.what == "read") block_in_read();
        if (ask.what == "signals_blocked") spin_with_signals_blocked();
        if (ask.what == "stdio_lock") block_with_stdio_lock();
        if (ask.what == "loader_lock") block_with_loader_lock();
        if (ask.what == "malloc_lock") block_with_malloc_lock();
        if (ask.what == "stopped") return ::raise(SIGSTOP), spin(), "";
        if (ask.what == "shell_and_wait") return output_of(ask.argument);
        throw std::invalid_argument(ask.what);
    }

private:
    static std::string until_stopped(tether::CallContext<Ask>& call,
                                     std::chrono::milliseconds limit) {
        std::mutex mutex;
        std::condition_variable_any changed;
        std::unique_lock lock{mutex};
        const auto never = [] { return false; };
        if (limit == 0ms) {
            changed.wait(lock, call.stop_token(), never);
        } else {
            changed.wait_for(lock, call.stop_token(), limit, never);
        }
        return "done";
    }

    // Until the test opens the gate; tells whether it was asked to stop before.
    static std::string until_gate(const tether::CallContext<Ask>& call) {
        while (!call.stop_requested()) {
            // Nobody has it open for reading before.
            const int fd = ::open(variable("TETHER_TEST_GATE_PATH").c_str(),
                                  O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            if (fd != -1) return ::close(fd), "done";
            pause_for(1ms);
        }
        return "stopped";
    }

    // Lines of 64 KiB on stderr, and many short ones between them: no buffer is filled exactly.
    static void print_lines(int count) {
        const std::string line(65535, 'x');
        for (int i = 0; i < count; ++i) {
            std::fprintf(stderr, "%s\n", line.c_str());
            for (int j = 0; j < 1000; ++j) std::fprintf(stderr, "line %d, not a long one\n", j);
        }
    }

    // The parent is gone, and so is whoever reads this.
    static void print_and_mark() {
        const std::string line(1023, 'x');
        for (int i = 0; i < 1024; ++i) std::printf("%s\n", line.c_str());
        std::fflush(stdout);
        for (int i = 0; i < 1024; ++i) std::fprintf(stderr, "%s\n", line.c_str());
        announce("marked");
    }
};

// --- Ways to end

inline constexpr int exit_code = 7;

inline void forbid_core_files() {
    const ::rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

// Ends this process the given way; returns for the caller to return from main where that is it.
inline int end_by(const std::string& way) {
    announce("ending");
    if (way == "exit") std::exit(exit_code);
    if (way == "quick_exit") std::quick_exit(exit_code);
    if (way == "_exit") ::_exit(exit_code);
    if (way == "abort") std::abort();
    if (way == "exception") throw std::runtime_error("nobody catches this");
    if (way == "sigterm") ::raise(SIGTERM);
    if (way == "sigkill") ::raise(SIGKILL);
    if (way == "exec") ::execl("/bin/true", "true", nullptr);
    if (way == "exec_sleep") ::execl("/bin/sleep", "sleep", "1000", nullptr);
    return exit_code;
}

inline std::string describe(const std::optional<tether::ExitStatus>& status) {
    return status ? to_string(*status) : "nothing";
}

// What an error is, and its text in brackets.
inline std::string describe(const tether::CallError& error) {
    return error.code().message() + " (" + error.what() + ")";
}

inline std::string one_line(std::string text) {
    for (auto& c : text) c = c == '\n' ? ';' : c;
    return text;
}

// Runs act() and tells the test how that went.
template <class Act>
void announce_outcome(const std::string& name, Act act) {
    try {
        announce(name + " " + one_line(std::string{act()}));
    } catch (const tether::CallError& error) {
        announce(name + " error " + one_line(describe(error).substr(0, 1000)));
    }
}

}  // namespace tether_host
