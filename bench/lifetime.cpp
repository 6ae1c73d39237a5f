// How long ends take: from the death of a parent to that of its last worker, from the death of a
// worker to the error of its caller, from the end of main to that of the process. Beside each, in
// the same run, a bare program that forks children with a pipe to each. And what workers use that
// have nothing to do, beside children that only wait in Asio. Linux.
//
//     tether_bench_lifetime [--rounds=N] [--json=FILE] [--only=TEXT]

#include <tether/tether.hpp>

#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Clock;
using bench::Milliseconds;
using bench::Process;

// --- The workers

struct Be {
    static constexpr std::string_view name = "be";
    using Response = int;  // its process id
    std::string state{};   // idle, busy, waiting
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Be, state)

struct Nap {
    static constexpr std::string_view name = "nap";
    using Response = void;
    int milliseconds{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Nap, milliseconds)

struct BeProtocol {
    static constexpr std::string_view name = "tether.bench.lifetime";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Be, Nap>;
};

/// Computes or waits for ever, whatever it is asked.
[[noreturn]] void be_for_ever(const std::string& state) {
    for (std::atomic<unsigned> turns{0};; ++turns) {
        if (state == "waiting") std::this_thread::sleep_for(1h);
    }
}

class Being final : public tether::Handler<BeProtocol> {
    int handle(const Be& request, tether::CallContext<Be>&) override {
        if (request.state != "idle") be_for_ever(request.state);
        return ::getpid();
    }
    void handle(const Nap& request, tether::CallContext<Nap>&) override {
        std::this_thread::sleep_for(std::chrono::milliseconds{request.milliseconds});
    }
};

using Worker = tether::Worker<BeProtocol>;

// --- The hosts: they say who their children are, and end when they are told to

void tell(const std::vector<int>& pids) {
    for (const int pid : pids) std::printf("%d ", pid);
    std::puts("");
    std::fflush(stdout);
}

int be_tether_host(int count, const std::string& state) {
    tether::WorkerOptions options;
    options.orphan_grace = 0s;
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<int> pids;
    for (int i = 0; i < count; ++i) workers.push_back(std::make_unique<Worker>(options));
    for (auto& worker : workers) pids.push_back(worker->call(Be{"idle"}));
    if (state == "busy") {
        for (auto& worker : workers) worker->async_call(Be{state}, [](std::exception_ptr, int) {});
    }
    if (state == "stopped") {
        for (const int pid : pids) ::kill(pid, SIGSTOP);
    }
    tell(pids);
    std::getchar();
    return 0;
}

/// What a child of the bare host does until its pipe ends.
[[noreturn]] void be_bare_child(int pipe, const std::string& state) {
    if (state == "busy") be_for_ever(state);
    char byte = 0;
    while (::read(pipe, &byte, 1) > 0) {
    }
    std::_Exit(0);
}

int be_bare_host(int count, const std::string& state) {
    std::vector<int> pids;
    std::vector<int> pipes;
    for (int i = 0; i < count; ++i) {
        int ends[2];
        if (::pipe(ends) != 0) return 1;
        const int pid = ::fork();
        if (pid == 0) {
            for (const int other : pipes) ::close(other);
            ::close(ends[1]);
            be_bare_child(ends[0], state);
        }
        ::close(ends[0]);
        pipes.push_back(ends[1]);
        pids.push_back(pid);
    }
    if (state == "stopped") {
        for (const int pid : pids) ::kill(pid, SIGSTOP);
    }
    tell(pids);
    std::getchar();
    for (const int end : pipes) ::close(end);
    for (const int pid : pids) ::waitpid(pid, nullptr, 0);
    return 0;
}

/// What a child of Asio's host does: it waits for bytes until its socket ends.
int be_asio_child() {
    asio::io_context context;
    asio::local::stream_protocol::socket socket{context, asio::local::stream_protocol{}, 3};
    char byte = 0;
    asio::async_read(socket, asio::buffer(&byte, 1), [](asio::error_code, std::size_t) {});
    context.run();
    return 0;
}

int be_asio_host(int count) {
    std::vector<int> pids;
    for (int i = 0; i < count; ++i) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
        pids.push_back(bench::spawn_self({"asio child"}, {{ends[1], 3}}));
        ::close(ends[1]);  // the other end stays open until this process is gone
    }
    tell(pids);
    std::getchar();
    return 0;
}

// --- What is measured

/// A host with its children, seen from outside.
class Scene {
public:
    Scene(const std::string& kind, int count, const std::string& state)
        : host_({kind, std::to_string(count), state}) {
        for (const int pid : host_.read_numbers()) {
            if (children_.empty()) first_child_ = pid;
            children_.emplace_back(pid);
        }
    }

    [[nodiscard]] int host() const noexcept { return host_.pid(); }
    [[nodiscard]] int first_child() const noexcept { return first_child_; }

    /// How long until the host and all children are gone after `end`; what is left after a second
    /// is killed, and counts as "never".
    template <class End>
    Milliseconds until_gone(End end) {
        const auto start = Clock::now();
        end(host_);
        const bool gone =
            host_.wait_gone(start + 1s) && std::ranges::all_of(children_, [&](Process& child) {
                return child.wait_gone(start + 1s);
            });
        const auto time = Clock::now() - start;
        for (auto& child : children_) child.kill();
        return gone ? time : bench::never;
    }

private:
    bench::Host host_;
    int first_child_ = -1;
    std::vector<Process> children_;
};

Milliseconds after_kill(const std::string& kind, int count, const std::string& state) {
    return Scene{kind, count, state}.until_gone([](bench::Host& host) { host.kill(); });
}

Milliseconds after_return(const std::string& kind, int count) {
    return Scene{kind, count, "idle"}.until_gone([](bench::Host& host) { host.let_go(); });
}

/// From SIGKILL for a worker with a call in it until the caller has the error.
Milliseconds until_error() {
    Worker worker;
    const int pid = worker.call(Be{"idle"});
    Clock::time_point end;
    std::thread caller{[&] {
        try {
            worker.call(Be{"waiting"});
        } catch (const tether::CallError&) {
            end = Clock::now();
        }
    }};
    std::this_thread::sleep_for(5ms);
    const auto start = Clock::now();
    ::kill(pid, SIGKILL);
    caller.join();
    return end - start;
}

/// The same with a bare pipe: until its end is seen and the child is reaped.
Milliseconds until_end_of_pipe() {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    const int pid = ::fork();
    if (pid == 0) {
        ::close(ends[0]);
        be_for_ever("waiting");
    }
    ::close(ends[1]);
    Clock::time_point end;
    std::thread caller{[&] {
        char byte = 0;
        static_cast<void>(!::read(ends[0], &byte, 1));
        ::waitpid(pid, nullptr, 0);
        end = Clock::now();
    }};
    std::this_thread::sleep_for(5ms);
    const auto start = Clock::now();
    ::kill(pid, SIGKILL);
    caller.join();
    ::close(ends[0]);
    return end - start;
}

/// Makes one call after the other until one fails.
template <class Request>
void call_until_error(Worker& worker, const Request& request,
                      const tether::CallOptions<Request>& options = {}) {
    try {
        for (;;) worker.call(request, options);
    } catch (const tether::CallError&) {
    }
}

/// Has four threads wait for so long at once. How late the last of them is.
template <class Wait>
Milliseconds lateness(std::chrono::milliseconds time, Wait wait) {
    std::array<Milliseconds, 4> late{};
    {
        std::vector<std::jthread> threads;
        for (auto& result : late) {
            threads.emplace_back([&] {
                const auto start = Clock::now();
                wait();
                result = Clock::now() - start - time;
            });
        }
    }
    return *std::ranges::max_element(late);
}

/// How late calls fail whose handlers outlast them, while a caller that waits for good reads for
/// all, and answers to another keep it from looking up. And how late poll is beside the same.
void compare_deadlines(bench::Table& table) {
    constexpr auto timeout = 30ms;
    const std::string what =
        "deadline to its caller's error, last of 4, among answers every 3 ms; bare: poll";
    if (!table.wants(what)) return;
    Worker worker{{.stop = {.drain = 0s, .terminate = 0s}, .concurrency = 6}};
    const std::jthread waiting{[&] { call_until_error(worker, Be{"waiting"}); }};
    const std::jthread streaming{[&] { call_until_error(worker, Nap{3}); }};
    const auto call = [&] { call_until_error(worker, Nap{45}, {.timeout = timeout}); };
    table.compare(
        what, [&] { return lateness(timeout, call); },
        [&] { return lateness(timeout, [&] { ::poll(nullptr, 0, timeout.count()); }); });
    worker.stop();
}

/// How often the threads of a process have waited for something so far.
double waits(int pid) {
    double sum = 0;
    for (const auto& thread :
         std::filesystem::directory_iterator{bench::proc_folder(pid) / "task"}) {
        sum += bench::status_number(thread.path(), "voluntary_ctxt_switches");
    }
    return sum;
}

/// What a process uses that has nothing to do.
struct Use {
    double mebibytes = 0;
    double threads = 0;
    double wake_ups = 0;  // in a second
};

/// All of them over the same time.
std::vector<Use> measure_idle(const std::vector<int>& pids) {
    constexpr auto time = 5s;
    std::this_thread::sleep_for(500ms);  // until the start is over
    std::vector<Use> result;
    for (const int pid : pids) {
        const auto folder = bench::proc_folder(pid);
        result.push_back({bench::status_number(folder, "VmRSS") / 1024,
                          bench::status_number(folder, "Threads"), -waits(pid)});
    }
    std::this_thread::sleep_for(time);
    for (std::size_t i = 0; i < pids.size(); ++i) {
        result[i].wake_ups = (result[i].wake_ups + waits(pids[i])) / double(time.count());
    }
    return result;
}

/// One of 16 idle workers, and their parent: beside a child that waits in Asio, and the parent of
/// 16 of those.
void compare_idle(bench::Table& table) {
    const std::string worker = "idle worker: ";
    const std::string parent = "parent of 16 idle workers: ";
    const std::string rows[] = {worker + "resident memory", worker + "threads",
                                worker + "wake-ups per second", parent + "threads beside main",
                                parent + "wake-ups per second"};
    if (std::ranges::none_of(rows, [&](const auto& row) { return table.wants(row); })) return;
    Scene ours{"tether", 16, "idle"};
    Scene bare{"asio", 16, "idle"};
    const auto use =
        measure_idle({ours.first_child(), bare.first_child(), ours.host(), bare.host()});
    const auto end = [](bench::Host& host) { host.let_go(); };
    ours.until_gone(end);
    bare.until_gone(end);
    table.add(rows[0], "MiB", use[0].mebibytes, use[1].mebibytes);
    table.add(rows[1], "", use[0].threads, use[1].threads);
    table.add(rows[2], "/s", use[0].wake_ups, use[1].wake_ups);
    table.add(rows[3], "", use[2].threads - 1, use[3].threads - 1);
    table.add(rows[4], "/s", use[2].wake_ups, use[3].wake_ups);
}

nlohmann::json measure_all(const bench::Options& options) {
    bench::Table table{"from ... to ...", options};
    const std::pair<const char*, std::pair<int, const char*>> deaths[] = {
        {"parent's SIGKILL to the last process gone, idle worker", {1, "idle"}},
        {"the same, worker in a busy loop", {1, "busy"}},
        {"the same, worker stopped", {1, "stopped"}},
        {"the same, 16 idle workers", {16, "idle"}},
        {"the same, 16 in a busy loop", {16, "busy"}}};
    for (const auto& [what, scene] : deaths) {
        const auto& [count, state] = scene;
        table.compare(
            what, [&, n = count, s = state] { return after_kill("tether", n, s); },
            [&, n = count, s = state] { return after_kill("bare", n, s); });
    }
    table.compare("worker's SIGKILL to its caller's error", until_error, until_end_of_pipe);
    for (const int count : {0, 1, 16}) {
        table.compare(
            "return of main to the last process gone, " + std::to_string(count) + " workers",
            [&] { return after_return("tether", count); },
            [&] { return after_return("bare", count); });
    }
    compare_deadlines(table);
    compare_idle(table);
    return table.json();
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Being>(argc, argv)) return *exit_code;
    const std::vector<std::string> arguments{argv + 1, argv + argc};
    if (arguments.size() == 1 && arguments[0] == "asio child") return be_asio_child();
    if (arguments.size() == 3) {
        const int count = std::atoi(arguments[1].c_str());
        if (arguments[0] == "tether") return be_tether_host(count, arguments[2]);
        if (arguments[0] == "bare") return be_bare_host(count, arguments[2]);
        if (arguments[0] == "asio") return be_asio_host(count);
    }
    const bench::Options options{arguments, 10};
    options.write(measure_all(options));
    return 0;
}
