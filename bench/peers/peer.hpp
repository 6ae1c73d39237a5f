#pragma once

// What the peers share: how the child is started, what is called, and what is measured. A peer is
// a class
//
//     struct Peer {
//         Peer(std::size_t request, std::size_t answer);  // starts the child; the sizes of
//         messages int pid();                                      // the child's, after the first
//         call void echo(std::string_view bytes);              // a call, and a check of its answer
//         void compile();                                 // the typed call, and a check
//         void pipeline(std::size_t depth, std::size_t count);  // echoes of 64 bytes
//     };
//
// and the program does one of these, printing lines of a name and a number:
//
//     PROGRAM bench [W1 W2 W3 W4]    all of them, or those that are named
//     PROGRAM start                  W5
//     PROGRAM hold [busy]            prints "CHILD <pid>" and waits for the end of its input

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../compile.hpp"
#include "../processes.hpp"

namespace peers {

using bench::Clock;
using Seconds = std::chrono::duration<double>;

inline void check(bool ok, const char* what) {
    if (!ok) throw std::runtime_error(what);
}

inline void check_echo(std::string_view sent, std::string_view received) {
    check(received.size() == sent.size() && received.front() == sent.front() &&
              received.back() == sent.back(),
          "a wrong echo");
}

inline void check_compiled(std::size_t diagnostics) { check(diagnostics == 4, "a wrong answer"); }

/// The typed call and its answer for peers that know nothing but bytes.
inline std::string request_text() { return nlohmann::json(bench::Compile{}).dump(); }
inline std::string answer_text() { return nlohmann::json(bench::compiled()).dump(); }
inline void check_answer_text(std::string_view text) {
    check_compiled(nlohmann::json::parse(text).get<bench::Compiled>().diagnostics.size());
}

// --- The child's side

/// Every handler shows what it got to this; with "BUSY" it computes for 30 s.
inline void look(std::string_view request) {
    if (!request.starts_with("BUSY")) return;
    const auto end = Clock::now() + std::chrono::seconds{30};
    while (Clock::now() < end) {
    }
}

/// What their child answers.
inline std::string answer_to(std::string request) {
    look(request);
    if (!request.starts_with('{')) return request;
    nlohmann::json::parse(request).get<bench::Compile>();
    return answer_text();
}

/// The child's end of the socket pair.
inline constexpr int childs_socket = 3;

/// Lets `Child::wait_until_ready` of the parent return.
inline void say_ready() { check(::write(childs_socket, "r", 1) == 1, "write"); }

// --- The parent's side

/// This program, started again with "child" and more arguments, and with one end of a socket pair:
/// for the conversation itself, or for saying that the child can be connected to.
class Child {
public:
    explicit Child(std::vector<std::string> arguments = {}) {
        int ends[2];
        check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
        arguments.insert(arguments.begin(), "child");
        const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        pid_ = bench::spawn_self(std::move(arguments),
                                 {{null, 0}, {null, 1}, {ends[1], childs_socket}});
        ::close(null);
        ::close(ends[1]);
        socket_ = ends[0];
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (socket_ != -1) ::close(socket_);
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    [[nodiscard]] int pid() const noexcept { return pid_; }
    /// The parent's end, which belongs to the caller then.
    [[nodiscard]] int take_socket() noexcept { return std::exchange(socket_, -1); }
    void wait_until_ready() const {
        char byte = 0;
        check(::read(socket_, &byte, 1) == 1, "the child ended");
    }

private:
    int pid_ = -1;
    int socket_ = -1;
};

/// A name in Linux' abstract namespace of Unix sockets, so that nothing is left on disk.
inline std::string new_address() {
    static int count = 0;
    return "tether-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

// --- What is measured

inline void report(const std::string& name, double value) {
    std::printf("%s %.6g\n", name.c_str(), value);
    std::fflush(stdout);
}

/// The times of calls, in microseconds and sorted: for as long as that, and at least three.
template <class Call>
std::vector<double> sample(Seconds length, Call call) {
    call();
    std::vector<double> times;
    const auto end = Clock::now() + length;
    for (auto last = Clock::now(); last < end || times.size() < 3;) {
        call();
        const auto now = Clock::now();
        times.push_back(std::chrono::duration<double, std::micro>(now - last).count());
        last = now;
    }
    std::ranges::sort(times);
    return times;
}

inline double quantile(const std::vector<double>& sorted, double part) {
    return sorted[static_cast<std::size_t>(double(sorted.size()) * part)];
}

inline void report_latency(const std::string& name, const std::vector<double>& times) {
    report(name + ".p50_us", quantile(times, 0.5));
    report(name + ".p99_us", quantile(times, 0.99));
}

template <class Peer>
void measure_pipeline() {
    Peer peer{64, 64};
    const auto time_of = [&](std::size_t count) {
        const auto start = Clock::now();
        peer.pipeline(64, count);
        return Seconds{Clock::now() - start}.count();
    };
    const double rate = 2000 / time_of(2000);
    const auto count = std::max<std::size_t>(2000, static_cast<std::size_t>(rate * 0.5));
    report("W2.msgs_s", double(count) / time_of(count));
}

template <class Peer>
void measure_bulk(const std::string& name, std::size_t mebibytes) {
    const std::string bytes(mebibytes << 20, 'x');
    Peer peer{bytes.size(), bytes.size()};
    const auto times = sample(Seconds{0.5}, [&] { peer.echo(bytes); });
    report(name, double(mebibytes) / (quantile(times, 0.5) / 1e6));
}

template <class Peer>
void measure(std::string_view what) {
    const std::string small(64, 'x');
    if (what == "W1") {
        Peer peer{small.size(), small.size()};
        report_latency("W1", sample(Seconds{0.5}, [&] { peer.echo(small); }));
    } else if (what == "W2") {
        measure_pipeline<Peer>();
    } else if (what == "W3") {
        measure_bulk<Peer>("W3.1MiB_MiBs", 1);
        measure_bulk<Peer>("W3.64MiB_MiBs", 64);
    } else if (what == "W4") {
        Peer peer{request_text().size(), answer_text().size()};
        report_latency("W4", sample(Seconds{0.5}, [&] { peer.compile(); }));
    } else {
        throw std::runtime_error("there is W1, W2, W3, W4");
    }
}

/// From nothing to the first answer.
template <class Peer>
void measure_start() {
    const std::string small(64, 'x');
    std::vector<double> times;
    for (int i = 0; i < 10; ++i) {
        const auto start = Clock::now();
        Peer peer{small.size(), small.size()};
        peer.echo(small);
        times.push_back(Seconds{Clock::now() - start}.count() * 1000);
    }
    std::ranges::sort(times);
    report("W5.start_ms", quantile(times, 0.5));
}

/// For somebody who kills this process, or who ends its input.
template <class Peer>
void hold(bool busy) {
    Peer peer{64, 64};
    peer.echo(std::string(64, 'x'));
    const std::jthread teller{[pid = peer.pid()] {
        std::this_thread::sleep_for(std::chrono::milliseconds{300});  // the call is under way then
        std::printf("CHILD %d\n", pid);
        std::fflush(stdout);
    }};
    if (busy) peer.echo("BUSY" + std::string(60, 'x'));
    while (std::getchar() != EOF) {
    }
}

template <class Peer>
void be_parent(std::span<const std::string> arguments) {
    const std::string command = arguments.empty() ? "" : arguments[0];
    if (command == "bench" && arguments.size() == 1) {
        for (const char* what : {"W1", "W2", "W3", "W4"}) measure<Peer>(what);
    } else if (command == "bench") {
        for (const auto& what : arguments.subspan(1)) measure<Peer>(what);
    } else if (command == "start") {
        measure_start<Peer>();
    } else if (command == "hold") {
        hold<Peer>(arguments.size() > 1);
    } else {
        throw std::runtime_error("there is bench [W1 W2 W3 W4], start, and hold [busy]");
    }
}

/// All that main has to do. `be_child` gets the arguments that `Child` was made with.
template <class Peer, class BeChild>
int run(int argc, char** argv, BeChild be_child) {
    ::alarm(120);  // whatever happens, and for the child too
    std::signal(SIGPIPE, SIG_IGN);
    const std::vector<std::string> arguments{argv + std::min(argc, 1), argv + argc};
    try {
        if (!arguments.empty() && arguments[0] == "child") {
            be_child(std::vector<std::string>{arguments.begin() + 1, arguments.end()});
        } else {
            be_parent<Peer>(arguments);
        }
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}

}  // namespace peers
