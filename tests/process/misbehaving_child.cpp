// The worker of the tests: it answers what test_protocol.hpp asks, and goes wrong in every way that
// a worker can. Its first argument says how it goes wrong before it serves, or in its handler's
// constructor and destructor:
//
//   exit CODE         exits                        hang             never serves
//   abort             aborts                       no-hook          never calls serve_if_worker
//   drop-descriptors  closes what it was given     no-hook-but-use  the same, but has a Worker
//   other-protocol    serves another protocol      wait GATE        serves when the gate opens
//   other-version     ... another version          other-messages   ... the same, other requests
//   wait-in-constructor GATE    throw    throw-nested
//   wait-in-destructor GATE     print-in-destructor         keep-alarm
//   nested            has a worker of its own kind, whose Count it adds to its own
//   nested emptied    the same, each with an emptied environment
//
// With TETHER_TEST_EARLY in its environment it prints that before main.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/async_live_handler.hpp"
#include "process/async_protocol.hpp"
#include "process/live_protocol.hpp"
#include "process/support/connection_of_worker.hpp"
#include "process/support/gate.hpp"
#include "process/test_protocol.hpp"

namespace {

using namespace tether_test;
using namespace std::chrono_literals;

std::vector<std::string> arguments;

std::string argument(std::size_t index) {
    return index < arguments.size() ? arguments[index] : std::string{};
}

struct PrintsEarly {
    PrintsEarly() {
        const char* text = std::getenv("TETHER_TEST_EARLY");
        if (text == nullptr) return;
        std::fputs(text, stdout);
        std::fflush(stdout);
        std::fputs(text, stderr);
    }
} prints_early;

void say_on_stderr(const std::string& text) {
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
}

// --- The connection, behind Tether's back

void put(std::string& out, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>((value >> (8 * i)) & 0xff);
}

struct RawFrame {
    std::uint8_t type = 4;  // response
    std::uint8_t flags = 0;
    std::uint64_t index = 0;
    std::uint64_t number = 0;
    std::string payload{"\x01"};  // the MessagePack of 1
    std::optional<std::uint64_t> claimed_body{};
    std::optional<std::uint64_t> claimed_payload{};

    [[nodiscard]] std::string bytes() const {
        std::string body;
        put(body, claimed_payload.value_or(payload.size()), 8);
        put(body, 0, 8);
        put(body, 0, 8);
        body += payload;
        std::string frame;
        put(frame, claimed_body.value_or(body.size()), 4);
        put(frame, type, 1);
        put(frame, flags, 1);
        put(frame, index, 2);
        put(frame, number, 8);
        return frame + body;
    }
};

void send_raw(int fd, const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
        const auto sent = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
        if (sent <= 0) return;
        at += static_cast<std::size_t>(sent);
    }
}

// Says the same until the parent has had enough.
[[noreturn]] void flood(int fd, const std::string& bytes) {
    std::string many;
    while (many.size() < 64 * 1024) many += bytes;
    for (;;) {
        if (::send(fd, many.data(), many.size(), MSG_NOSIGNAL) <= 0) ::pause();
    }
}

// A copy of the eventfd that wakes the parent's background thread, with "keep-alarm".
int alarm_copy = -1;

void keep_alarm() {
    for (int fd = 5; fd < 8; ++fd) {
        std::error_code error;
        const auto target =
            std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
        if (target == "anon_inode:[eventfd]") alarm_copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 100);
    }
}

void sound_alarm() {
    const std::uint64_t one = 1;
    if (::write(alarm_copy, &one, sizeof one) != sizeof one) throw std::runtime_error("no alarm");
}

void flood(const std::string& kind, std::uint64_t number) {
    constexpr auto own = tether::detail::message_index<TestProtocol, Meddle>;
    const auto half = [&](std::uint64_t of) {
        return RawFrame{.flags = 1, .index = own, .number = of, .claimed_payload = 64 << 20}
            .bytes();
    };
    std::string piece;
    put(piece, 1, 4);
    put(piece, 6, 1);  // data
    put(piece, 1, 1);  // there is more
    put(piece, 0, 2);
    put(piece, number, 8);
    piece += 'x';
    std::string abort;
    put(abort, 0, 4);
    put(abort, 7, 4);  // the type, no flags, no index
    put(abort, number, 8);
    std::string record;
    put(record, 9, 4);
    put(record, 17, 1);  // running
    put(record, number, 8);
    if (kind == "flood_half") flood(find_connection_of_worker(), half(number) + half(number + 1));
    if (kind == "flood_aborts") flood(find_connection_of_worker(), half(number) + abort);
    if (kind == "flood_records") flood(find_control_of_worker(), record);
    while (kind == "flood_alarm") sound_alarm();
    if (kind == "flood_pieces") {  // an answer that is allowed
        const int fd = find_connection_of_worker();
        send_raw(fd, half(number));
        flood(fd, piece);
    }
}

void meddle(const std::string& kind, std::uint64_t number) {
    if (kind.starts_with("flood")) return flood(kind, number);
    if (kind == "sound_alarm") return sound_alarm();

    constexpr auto own = tether::detail::message_index<TestProtocol, Meddle>;
    const int fd = find_connection_of_worker();
    const std::string garbage(64, '\xff');
    if (kind == "garbage") send_raw(fd, garbage);
    if (kind == "wrong_number") send_raw(fd, RawFrame{.index = own, .number = 999'999}.bytes());
    if (kind == "twice") send_raw(fd, RawFrame{.index = own, .number = number}.bytes());
    if (kind == "wrong_type") send_raw(fd, RawFrame{.index = 0, .number = number}.bytes());
    if (kind == "wrong_frame") {
        send_raw(fd, RawFrame{.type = 3, .index = own, .number = number}.bytes());
    }
    if (kind == "huge") {
        send_raw(fd, RawFrame{.flags = 1,
                              .index = own,
                              .number = number,
                              .claimed_payload = (std::uint64_t{1} << 63) - 1}
                         .bytes());
    }
    if (kind == "half") {
        send_raw(fd, RawFrame{.index = own, .number = number}.bytes().substr(0, 20));
        std::_Exit(0);
    }
    if (kind == "close") ::shutdown(fd, SHUT_RDWR);
    if (kind == "good_good_bad") {
        send_raw(fd, RawFrame{.index = own, .number = number}.bytes() +
                         RawFrame{.index = own, .number = number + 1}.bytes() + garbage);
    }
    if (kind == "answer_next") send_raw(fd, RawFrame{.index = 0, .number = number + 1}.bytes());
}

// --- Descriptors

void take_descriptors(const std::string& how) {
    const auto space = how.find(' ');
    std::vector<int> taken{STDERR_FILENO};
    if (how.starts_with("take_all")) {
        taken.clear();
        for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
            const int fd = std::stoi(entry.path().filename().string());
            if (fd > STDERR_FILENO) taken.push_back(fd);
        }
    }
    for (const int fd : taken) {
        ::close(fd);
        if (space == std::string::npos) continue;
        const int file = ::open(how.c_str() + space + 1, O_RDWR | O_CREAT | O_APPEND, 0600);
        if (file != fd) {
            ::dup2(file, fd);
            ::close(file);
        }
    }
}

// --- A worker that hangs as a whole

[[noreturn]] void hold_threads(const std::vector<::pid_t>& threads, int report) {
    char failed = 0;
    for (const auto thread : threads) {
        const bool held = ::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) == 0 &&
                          ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0 &&
                          ::waitpid(thread, nullptr, __WALL) == thread;
        if (!held) failed = static_cast<char>(errno);
    }
    if (::write(report, &failed, 1) == 1) ::alarm(60);
    for (;;) ::pause();
}

/// No thread but this one runs any more, the guard's neither. 0, or an errno: a debugger's means
/// are needed, which not every system allows.
int freeze_other_threads() {
    std::vector<::pid_t> threads;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
        const auto thread = static_cast<::pid_t>(std::stoi(entry.path().filename().string()));
        if (thread != ::gettid()) threads.push_back(thread);
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    const auto pid = ::fork();
    if (pid == 0) hold_threads(threads, ends[1]);
    char failed = 1;
    const bool told = pid > 0 && ::read(ends[0], &failed, 1) == 1;
    ::close(ends[0]);
    ::close(ends[1]);
    return told ? failed : EAGAIN;
}

// --- A worker that ends by itself

void end_as_told(const std::string& how) {
    ::signal(SIGSEGV, SIG_DFL);
    if (how == "exit") std::exit(3);
    if (how == "quick_exit") std::quick_exit(3);
    if (how == "_exit") ::_exit(3);
    if (how == "abort") std::abort();
    if (how == "uncaught")
        std::thread{[] { throw std::runtime_error("nobody catches it"); }}.join();
    if (how == "other_thread") std::thread{[] { std::exit(3); }}.join();
    if (how == "exec") ::execl("/bin/true", "true", nullptr);
    if (how == "sigkill") ::raise(SIGKILL);
    if (how == "sigsegv") ::raise(SIGSEGV);
}

// --- What else handlers do

struct NullText : std::exception {
    [[nodiscard]] const char* what() const noexcept override { return nullptr; }
};

[[noreturn]] void throw_as_told(const std::string& kind) {
    if (kind == "handler_error") throw tether::HandlerError("no_file", "a file name is needed");
    if (kind == "system") {
        throw std::system_error(ENOENT, std::generic_category(), "open config.toml");
    }
    if (kind == "nested") {
        try {
            try {
                throw std::system_error(EACCES, std::generic_category(), "open rules.json");
            } catch (...) {
                std::throw_with_nested(std::runtime_error("the rules cannot be read"));
            }
        } catch (...) {
            std::throw_with_nested(tether::HandlerError("bad_rules", "linting is impossible"));
        }
    }
    if (kind == "int") throw 42;
    if (kind == "null") throw NullText{};
    if (kind == "end_thread") ::pthread_exit(nullptr);
    if (kind == "enormous") throw std::runtime_error(std::string(std::size_t{64} << 20, 'e'));
    if (kind == "bad_alloc") throw std::bad_alloc{};
    if (kind == "not_utf8") throw std::runtime_error("bytes \xff\xfe\x80 of \xc3");
    if (kind == "long") throw std::runtime_error(std::string(1'000'000, 'e'));
    throw std::runtime_error("a plain exception");
}

std::int64_t append_line(const std::string& path) {
    // One write to a file opened for appending: whole whatever happens next.
    const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd == -1 || ::write(fd, "done\n", 5) != 5) throw std::runtime_error("append to " + path);
    ::close(fd);
    std::ifstream in{path};
    return std::count(std::istreambuf_iterator<char>{in}, {}, '\n');
}

std::int64_t do_side_effect(const std::string& path, std::int64_t deaths) {
    const auto lines = append_line(path);
    if (lines <= deaths) ::kill(::getpid(), SIGKILL);
    return lines;
}

Process describe_process() {
    Process process{::getpid(), ::getsid(0), ::getpgid(0), arguments, {}, {}, {}};
    for (char** entry = environ; *entry != nullptr; ++entry)
        process.environment.emplace_back(*entry);
    process.working_directory = std::filesystem::current_path();
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"}) {
        std::error_code error;
        const auto target = std::filesystem::read_symlink(entry.path(), error);
        if (error || target.string().ends_with("/fd")) continue;  // the listing's own
        process.descriptors.push_back(entry.path().filename().string() + " " + target.string());
    }
    std::ranges::sort(process.descriptors);
    return process;
}

void write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const auto size = ::write(fd, text.data(), text.size());
        if (size <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(size));
    }
}

// Forks. What the copy does: return, throw, exit, end_thread, terminate (by SIGTERM), or use
// `stop_token` and return. Answers with the status that it ended with; 1 in the copy.
template <class Use>
std::int64_t meddle_in_copy(const std::string& what, Use use_stop_token) {
    const auto copy = ::fork();
    if (copy != 0) {
        int status = -1;
        ::waitpid(copy, &status, 0);
        return status;
    }
    if (what == "throw") throw std::runtime_error("in the copy");
    if (what == "exit") std::exit(7);
    if (what == "end_thread") ::pthread_exit(nullptr);
    if (what == "terminate") ::raise(SIGTERM);
    if (what == "stop_token") use_stop_token();
    return 1;
}

class Misbehaving final : public tether::Handler<TestProtocol> {
public:
    Misbehaving() {
        if (argument(0) == "throw" || argument(0) == "throw-and-stay")
            throw std::runtime_error("no rules were found");
        if (argument(0) == "throw-nested") throw_as_told("nested");
        if (argument(0) == "nested") start_nested();
        if (argument(0) == "wait-in-constructor") {
            const GateVisitor gate{argument(1)};
            gate.say(Gate::entered);
            while (!gate.wait_open(1min)) {
            }
        }
    }

    ~Misbehaving() override {
        if (argument(0) == "wait-in-destructor") {
            const GateVisitor gate{argument(1)};
            gate.say(Gate::stopped);
            while (!gate.wait_open(1min)) {
            }
        }
        if (argument(0) == "throw-in-destructor") throw std::runtime_error("it is not done");
        if (argument(0) == "print-in-destructor") {
            std::puts("on stdout, from the destructor");
            std::fputs("on stderr, from the destructor", stderr);
        }
    }

    Echoed handle(const Echo& request, tether::CallContext<Echo>&) override {
        return {request.text, request.blob};
    }

    std::int64_t handle(const Add& request, tether::CallContext<Add>&) override {
        return request.left + request.right;
    }

    void handle(const Nothing&, tether::CallContext<Nothing>&) override {}

    std::int64_t handle(const Count&, tether::CallContext<Count>&) override {
        return ++count_ + count_of_nested();
    }

    bool handle(const Await& request, tether::CallContext<Await>& call) override {
        const GateVisitor gate{request.gate};
        gate.say(Gate::entered);
        bool told = false;
        while (!gate.wait_open(2ms)) {
            if (!call.stop_requested() || std::exchange(told, true)) continue;
            gate.say(Gate::stopped);
            if (request.heeds_stop) return true;
        }
        return call.stop_requested();
    }

    bool handle(const Stall& request, tether::CallContext<Stall>&) override {
        const GateVisitor gate{request.gate};
        gate.say(Gate::entered);
        while (!gate.wait_open(1min)) {  // a signal may interrupt it
        }
        return true;
    }

    bool handle(const Pause& request, tether::CallContext<Pause>&) override {
        const GateVisitor gate{request.gate};
        gate.say(Gate::entered);
        while (!gate.wait_open(1min)) {
        }
        return true;
    }

    bool handle(const AwaitToken& request, tether::CallContext<AwaitToken>& call) override {
        const GateVisitor gate{request.gate};
        std::mutex mutex;
        std::condition_variable_any changed;
        bool told = false;
        const std::stop_callback tell{call.stop_token(), [&] {
                                          gate.say(Gate::stopped);
                                          const std::scoped_lock lock{mutex};
                                          told = true;
                                          changed.notify_one();
                                      }};
        gate.say(Gate::entered);
        std::unique_lock lock{mutex};
        // Not by the token at once: a callback that has not run yet is forgotten with its object.
        changed.wait(lock, [&] { return told; });
        changed.wait(lock, call.stop_token(), [] { return false; });
        return call.stop_requested();
    }

    void handle(const SpinForever& request, tether::CallContext<SpinForever>&) override {
        if (request.blocks_signals) {
            ::sigset_t all;
            ::sigfillset(&all);
            ::sigprocmask(SIG_BLOCK, &all, nullptr);
        }
        GateVisitor{request.gate}.say(Gate::entered);
        for (std::atomic<unsigned> turns{0};;) ++turns;
    }

    bool handle(const AwaitBriefly& request, tether::CallContext<AwaitBriefly>& call) override {
        const GateVisitor gate{request.gate};
        gate.say(Gate::entered);
        while (!call.stop_requested()) {
            if (gate.wait_open(2ms)) return false;
        }
        gate.say(Gate::stopped);
        return true;
    }

    std::int64_t handle(const TimeLeft&, tether::CallContext<TimeLeft>& call) override {
        const auto deadline = call.deadline();
        if (!deadline) return -1;
        const auto left = *deadline - std::chrono::steady_clock::now();
        return std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
    }

    std::int64_t handle(const Throw& request, tether::CallContext<Throw>&) override {
        throw_as_told(request.kind);
    }

    void handle(const Exit& request, tether::CallContext<Exit>&) override {
        say_on_stderr(request.last_words);
        std::_Exit(request.code);
    }

    void handle(const Signal& request, tether::CallContext<Signal>&) override {
        say_on_stderr(request.last_words);
        ::signal(request.number, SIG_DFL);
        ::raise(request.number);
    }

    void handle(const Print& request, tether::CallContext<Print>&) override {
        for (std::int64_t i = 0; i < request.times; ++i) {
            std::fwrite(request.text.data(), 1, request.text.size(),
                        request.to_stderr ? stderr : stdout);
        }
    }

    void handle(const PrintAndAbort& request, tether::CallContext<PrintAndAbort>&) override {
        write_all(STDERR_FILENO, std::string(static_cast<std::size_t>(request.size), 'x'));
        std::abort();
    }

    void handle(const Log& request, tether::CallContext<Log>& call) override {
        call.log(static_cast<tether::Severity>(request.severity), request.text);
    }

    tether::Bytes handle(const LogAndMake& request,
                         tether::CallContext<LogAndMake>& call) override {
        call.log(tether::Severity::info, request.text);
        if (request.size < 0) throw std::runtime_error(request.text);
        return patterned(static_cast<std::size_t>(request.size));
    }

    tether::Bytes handle(const Make& request, tether::CallContext<Make>&) override {
        return patterned(static_cast<std::size_t>(request.size));
    }

    std::int64_t handle(const SideEffect& request, tether::CallContext<SideEffect>&) override {
        return do_side_effect(request.path, request.deaths);
    }

    std::int64_t handle(const IdempotentEffect& request,
                        tether::CallContext<IdempotentEffect>&) override {
        return do_side_effect(request.path, request.deaths);
    }

    std::int64_t handle(const Start& request, tether::CallContext<Start>&) override {
        const auto pid = ::fork();
        if (pid == 0) {
            ::execl("/bin/sh", "sh", "-c", request.command.c_str(), nullptr);
            std::_Exit(127);
        }
        return pid;
    }

    Process handle(const Who&, tether::CallContext<Who>&) override { return describe_process(); }

    std::int64_t handle(const Meddle& request, tether::CallContext<Meddle>& call) override {
        if (request.kind == "freeze") return freeze_other_threads();
        if (request.kind.starts_with("take_")) {
            take_descriptors(request.kind);
            call.log(tether::Severity::info, "taken");
            return 1;
        }
        if (request.kind.starts_with("end_")) end_as_told(request.kind.substr(4));
        if (request.kind.starts_with("copy_")) {
            return meddle_in_copy(request.kind.substr(5), [&] { std::ignore = call.stop_token(); });
        }
        meddle(request.kind, call.id());
        return 1;
    }

    Fragile handle(const Carry& request, tether::CallContext<Carry>&) override {
        return {request.answer_breaks_encoding, request.answer_breaks_decoding};
    }

    std::uint64_t handle(const Number&, tether::CallContext<Number>& call) override {
        return call.id();
    }

private:
    void start_nested() {
        tether::WorkerOptions options{.arguments = arguments};
        if (argument(1) == "emptied") {
            options.program = "/usr/bin/env";
            options.arguments.insert(options.arguments.begin(),
                                     {"-i", std::filesystem::read_symlink("/proc/self/exe")});
        }
        nested_.emplace(options);
    }

    std::int64_t count_of_nested() {
        if (!nested_) return 0;
        try {
            return nested_->call(Count{});
        } catch (const tether::CallError& error) {
            say_on_stderr(std::string{error.what()} + "\n");
            return 0;
        }
    }

    std::atomic<std::int64_t> count_{0};
    std::optional<tether::Worker<TestProtocol>> nested_;
};

template <class Protocol>
class Codecs final : public tether::Handler<Protocol> {
    Echoed handle(const Echo& request, tether::CallContext<Echo>&) override {
        return {request.text, request.blob};
    }
    std::int64_t handle(const Add& request, tether::CallContext<Add>&) override {
        return request.left + request.right;
    }
};

// --- Programs that are not the worker that the parent wants

struct OtherProtocol {
    static constexpr std::string_view name = "tether.other";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Nothing>;
};
struct OtherVersion {
    static constexpr std::string_view name = TestProtocol::name;
    static constexpr std::uint32_t version = 7;
    using Requests = tether::Messages<Nothing>;
};
struct OtherMessages {
    static constexpr std::string_view name = TestProtocol::name;
    static constexpr std::uint32_t version = TestProtocol::version;
    using Requests = tether::Messages<Nothing>;
};

template <class P>
class ServesNothing final : public tether::Handler<P> {
    void handle(const Nothing&, tether::CallContext<Nothing>&) override {}
};

int use_a_worker() {
    try {
        tether::Worker<TestProtocol> worker;
        worker.call(Nothing{});
    } catch (const tether::CallError& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 9;
    }
    return 0;
}

[[noreturn]] void pause_for_ever() {
    for (;;) ::pause();
}

std::optional<int> misbehave_before_serving(int argc, char** argv) {
    const auto mode = argument(0);
    if (mode == "exit") {
        std::fputs("the configuration is broken\nleaving before serving\n", stderr);
        std::exit(std::atoi(argument(1).c_str()));
    }
    if (mode == "abort") {
        std::fputs("assertion failed before serving\n", stderr);
        std::abort();
    }
    if (mode == "hang") pause_for_ever();
    if (mode == "no-hook") return 0;
    if (mode == "no-hook-but-use") return use_a_worker();
    if (mode == "drop-descriptors") {
        for (int fd = 3; fd < 16; ++fd) ::close(fd);
        pause_for_ever();
    }
    if (mode == "keep-alarm") keep_alarm();
    if (mode == "wait") {
        const GateVisitor gate{argument(1)};
        gate.say(Gate::entered);
        while (!gate.wait_open(1min)) {
        }
    }
    if (mode == "waits") return tether::serve_if_worker<Waiting>(argc, argv);
    if (mode == "dozes") return tether::serve_if_worker<PlainAsyncHandler>(argc, argv);
    if (mode == "async") return tether::serve_if_worker<AsyncLiveHandler>(argc, argv);
    if (mode == "other-protocol") {
        return tether::serve_if_worker<ServesNothing<OtherProtocol>>(argc, argv);
    }
    if (mode == "other-version") {
        return tether::serve_if_worker<ServesNothing<OtherVersion>>(argc, argv);
    }
    if (mode == "other-messages") {
        return tether::serve_if_worker<ServesNothing<OtherMessages>>(argc, argv);
    }
    return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
    arguments.assign(argv + 1, argv + argc);
    if (const auto exit_code = misbehave_before_serving(argc, argv)) return *exit_code;
    if (const auto exit_code = tether::serve_if_worker<
            Misbehaving, Codecs<CodecProtocol<tether::MessagePackCodec>>,
            Codecs<CodecProtocol<tether::JsonCodec>>, Codecs<CodecProtocol<tether::CborCodec>>,
            Codecs<CodecProtocol<BackwardsCodec>>, Codecs<DirectProtocol<tether::DirectCodec>>,
            LiveHandler>(argc, argv)) {
        if (argument(0) == "throw-and-stay") pause_for_ever();
        return *exit_code;
    }
    std::fputs("This program is the worker of Tether's tests.\n", stderr);
    return 2;
}
