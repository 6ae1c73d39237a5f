// What a call costs, as a multiple of what two processes need that write to and read from a Unix
// socket pair without any framing (LIMIT), in the same run: rounds of both alternate. Linux.
//
//     tether_bench_calls [--rounds=N] [--json=FILE] [--only=TEXT]

#include <tether/tether.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <fstream>
#include <functional>
#include <future>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain.hpp"
#include "limit.hpp"
#include "messages.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Clock;
using Microseconds = std::chrono::duration<double, std::micro>;

using bench::Compile;
using bench::Echo;
using Worker = tether::Worker<bench::Protocol>;
using DocumentWorker = tether::Worker<bench::DocumentProtocol>;
using DocumentHandler = bench::HandlerOf<bench::DocumentProtocol>;

// --- LIMIT

enum class Family { unix_pair, tcp };

std::array<int, 2> connected_pair(Family family) {
    std::array<int, 2> ends{-1, -1};
    if (family == Family::unix_pair) {
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0) return ends;
        throw std::runtime_error("socketpair");
    }
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::sockaddr_in address{};
    ::socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const generic = reinterpret_cast<::sockaddr*>(&address);
    ends[0] = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::bind(listener, generic, size) != 0 || ::listen(listener, 1) != 0 ||
        ::getsockname(listener, generic, &size) != 0 || ::connect(ends[0], generic, size) != 0) {
        throw std::runtime_error("a TCP connection");
    }
    ends[1] = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    ::close(listener);
    const int on = 1;
    for (const int end : ends) ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return ends;
}

/// LIMIT with a child that is a copy of this process.
class Limit {
public:
    Limit(std::size_t request, std::size_t answer, Family family = Family::unix_pair)
        : Limit(connected_pair(family), request, answer) {}
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;
    ~Limit() {
        caller_.reset();
        ::waitpid(pid_, nullptr, 0);
    }

    [[nodiscard]] int pid() const noexcept { return pid_; }

    void call() { caller_->call(); }
    void pipeline(std::size_t depth, std::size_t count) { caller_->pipeline(depth, count); }

private:
    Limit(const std::array<int, 2>& ends, std::size_t request, std::size_t answer)
        : pid_(::fork()) {
        if (pid_ == 0) {
            ::close(ends[0]);
            bench::serve_limit(ends[1], request, answer, [](std::string_view) {});
        }
        ::close(ends[1]);
        caller_.emplace(ends[0], request, answer);
    }

    int pid_;
    std::optional<bench::LimitCaller> caller_;
};

// --- What is measured

/// The time of one of `count` calls.
template <class Call>
bench::Milliseconds each(int count, Call call) {
    const auto start = Clock::now();
    for (int i = 0; i < count; ++i) call();
    return (Clock::now() - start) / double(count);
}

/// Written to, or the system would send one and the same page of zeros again and again.
tether::Bytes bytes_of(std::size_t size) {
    tether::Bytes bytes(size);
    std::ranges::fill(bytes, std::byte{'q'});
    return bytes;
}

/// What `measure` measures, with this process and the other side held to their cores.
template <class Measure>
bench::Milliseconds placed(std::int64_t other_side, bench::Placement placement, Measure measure) {
    const bench::Placed held{static_cast<int>(other_side), placement};
    return measure();
}

/// `ours` and `bare`, first with both sides on one core, then on two.
void compare_placed(bench::Table& table, const std::string& what, std::int64_t pid,
                    const std::function<bench::Milliseconds()>& ours, std::int64_t bare_pid,
                    const std::function<bench::Milliseconds()>& bare, const bench::Row& row = {}) {
    using bench::Placement;
    for (const auto placement : {Placement::one_core, Placement::two_cores}) {
        const std::string where = placement == Placement::one_core ? "one core" : "two cores";
        table.compare(
            what + "; " + where, [&] { return placed(pid, placement, ours); },
            [&] { return placed(bare_pid, placement, bare); }, row);
    }
}

void echo(Worker& worker, const Echo& request) {
    if (worker.call(request).size() != request.bytes.size()) throw std::runtime_error("wrong");
}

void compare_echo(bench::Table& table, const std::string& what, std::size_t size, int count,
                  const tether::WorkerOptions& options = {}, const bench::Row& row = {}) {
    if (!table.wants(what)) return;
    Worker worker{options};
    const bool tcp = options.transport == tether::Transport::tcp;
    Limit limit{size, size, tcp ? Family::tcp : Family::unix_pair};
    const Echo request{bytes_of(size)};
    echo(worker, request);
    limit.call();
    compare_placed(
        table, what, worker.pid(), [&] { return each(count, [&] { echo(worker, request); }); },
        limit.pid(), [&] { return each(count, [&] { limit.call(); }); }, row);
}

/// The most memory that a process has had resident since its start, or since `forget_peak`.
double peak_bytes(std::int64_t pid) {
    return 1024 * bench::status_number(bench::proc_folder(static_cast<int>(pid)), "VmHWM");
}
void forget_peak() { std::ofstream{"/proc/self/clear_refs"} << 5; }

/// What an exchange with a child needs at its worst, in bytes: in this process, and in the child.
/// `exchange` returns the child's peak, or it would be gone.
std::array<double, 2> peaks_of(const std::function<double()>& exchange) {
    forget_peak();
    const double before = peak_bytes(::getpid());
    const double childs_peak = exchange();
    return {peak_bytes(::getpid()) - before, childs_peak};
}

/// What both sides of an echo of a gibibyte have resident, as multiples of it.
void compare_memory(bench::Table& table, std::size_t size, const tether::WorkerOptions& options) {
    const auto ours = peaks_of([&] {
        Worker worker{options};
        echo(worker, Echo{bytes_of(size)});
        return peak_bytes(worker.pid());
    });
    const auto bare = peaks_of([&] {
        const double inherited = peak_bytes(::getpid());
        Limit limit{size, size};
        limit.call();
        return peak_bytes(limit.pid()) - inherited;
    });
    const std::string what = "W3: peak memory, in messages of 1 GiB: the ";
    table.add(what + "parent", "x", ours[0] / double(size), bare[0] / double(size));
    table.add(what + "worker", "x", ours[1] / double(size), bare[1] / double(size));
}

/// Seconds a round, so there are few, and only where copying is all that counts.
void compare_gibibyte(bench::Table& table) {
    constexpr std::size_t size = std::size_t{1} << 30;
    const std::string what = "W3: echo of 1 GiB; two cores";
    const tether::WorkerOptions options{.max_message_bytes = 2 * std::uint64_t{size}};
    if (!table.wants(what) && !table.wants("W3: peak memory")) return;
    if (bench::available_gibibytes() < 8) return table.leave_out(what, "it needs 8 GiB of memory");
    compare_memory(table, size, options);
    if (!table.wants(what)) return;
    Worker worker{options};
    Limit limit{size, size};
    const Echo request{bytes_of(size)};
    echo(worker, request);
    limit.call();
    const auto on_two_cores = [](std::int64_t other_side, const auto& call) {
        return placed(other_side, bench::Placement::two_cores, [&] { return each(1, call); });
    };
    table.compare(
        what, [&] { return on_two_cores(worker.pid(), [&] { echo(worker, request); }); },
        [&] { return on_two_cores(limit.pid(), [&] { limit.call(); }); },
        {.unit = bench::Unit::milliseconds, .most_rounds = 3});
}

void compare_async(bench::Table& table) {
    Worker worker;
    Limit limit{64, 64};
    const auto once = [&] { worker.async_call(Echo{bytes_of(64)}, asio::use_future).get(); };
    once();
    compare_placed(
        table, "W1: async_call and use_future", worker.pid(), [&] { return each(1000, once); },
        limit.pid(), [&] { return each(1000, [&] { limit.call(); }); });
}

asio::awaitable<void> call_from_a_coroutine(Worker& worker, int count) {
    const Echo request{bytes_of(64)};
    while (count-- > 0) {
        const auto answer = co_await worker.async_call(request, asio::use_awaitable);
        if (answer.size() != 64) throw std::runtime_error("a wrong answer");
    }
}

void compare_coroutine(bench::Table& table) {
    asio::io_context context;
    Worker worker{context};
    Limit limit{64, 64};
    const auto run = [&](int count) {
        asio::co_spawn(context, call_from_a_coroutine(worker, count), [](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
        });
        context.restart();
        context.run();
    };
    run(1);
    compare_placed(
        table, "W1: from a coroutine", worker.pid(),
        [&] { return each(1, [&] { run(1000); }) / 1000.0; }, limit.pid(),
        [&] { return each(1000, [&] { limit.call(); }); });
}

/// The time of one of `count` calls, up to `depth` of which are under way at a time.
bench::Milliseconds pipeline(Worker& worker, std::size_t depth, std::size_t count) {
    const auto start = Clock::now();
    std::deque<std::future<tether::Bytes>> under_way;
    for (std::size_t i = 0; i < count; ++i) {
        if (under_way.size() == depth) {
            under_way.front().get();
            under_way.pop_front();
        }
        under_way.push_back(worker.async_call(Echo{bytes_of(64)}, asio::use_future));
    }
    for (auto& result : under_way) result.get();
    return (Clock::now() - start) / double(count);
}

void compare_pipeline(bench::Table& table) {
    constexpr std::size_t depth = 64;
    constexpr std::size_t count = 20'000;
    Worker worker;
    Limit limit{64, 64};
    worker.call(Echo{bytes_of(64)});
    const auto bare = [&] {
        return each(1, [&] { limit.pipeline(depth, count); }) / double(count);
    };
    compare_placed(
        table, "W2: one of 64 calls in flight, futures", worker.pid(),
        [&] { return pipeline(worker, depth, count); }, limit.pid(), bare);
    compare_placed(
        table, "W2: one of 64 calls in flight, callbacks", worker.pid(),
        [&] {
            return bench::Chain{worker, Echo{bytes_of(64)}, count}.run(depth);
        },
        limit.pid(), bare);
}

/// The conversions that a typed call needs.
class Conversions {
public:
    /// The parent's: the request to bytes, and the answer from bytes.
    void parents() {
        encode(request_, buffer_);
        Codec::decode<bench::Compiled>(encoded_answer_);
    }
    /// The worker's: the request from bytes, and the answer to bytes.
    void workers() {
        Codec::decode<Compile>(encoded_request_);
        encode(answer_, buffer_);
    }

private:
    using Codec = tether::CodecOf<bench::DocumentProtocol>;

    template <class Message>
    static std::string& encode(const Message& message, std::string& out) {
        out.clear();
        Codec::encode(message, out);
        return out;
    }

    const Compile request_{};
    const bench::Compiled answer_ = bench::compiled();
    std::string buffer_{};
    const std::string encoded_request_ = encode(request_, buffer_);
    const std::string encoded_answer_ = encode(answer_, buffer_);
};

/// Typed calls, 64 in flight, against their four conversions on one core and nothing else. With
/// both sides on one core the ratio is the codec's share of a call, and cannot reach one. On two
/// cores the sides work at the same time, each on its two conversions, and it can: so the last row
/// compares with the two of the side that has more to do, which nobody can outrun.
void compare_typed_pipeline(bench::Table& table) {
    using bench::Placement;
    constexpr int count = 10'000;
    DocumentWorker worker;
    worker.call(Compile{});
    Conversions conversions;
    const auto calls = [&](Placement placement) {
        return placed(worker.pid(), placement, [&] {
            return bench::Chain{worker, Compile{}, std::size_t{count}}.run(64);
        });
    };
    const auto parents = [&] { return each(count, [&] { conversions.parents(); }); };
    const auto workers = [&] { return each(count, [&] { conversions.workers(); }); };
    const std::string what = "W2: typed calls, 64 in flight; bare: ";
    const bench::Row row{.unit = bench::Unit::per_second};
    table.compare(
        what + "their conversions; one core", [&] { return calls(Placement::one_core); },
        [&] { return parents() + workers(); }, row);
    table.compare(
        what + "their conversions, on one; two cores", [&] { return calls(Placement::two_cores); },
        [&] { return parents() + workers(); }, row);
    table.compare(
        what + "those of the busier side; two cores", [&] { return calls(Placement::two_cores); },
        [&] { return std::max(parents(), workers()); }, row);
}

/// What must not grow: the time of a call with the number of others, before it, beside it, and in
/// other workers.
void compare_growth(bench::Table& table) {
    Worker worker;
    Worker young;
    const Echo request{bytes_of(64)};
    // On one core each: where the scheduler puts the two sides decides more than all else.
    const auto on_one_core = [](Worker& called, const auto& measure) {
        return placed(called.pid(), bench::Placement::one_core, measure);
    };
    const auto calls = [&](Worker& called) {
        return on_one_core(called, [&] { return each(2000, [&] { called.call(request); }); });
    };
    const auto chain = [&](std::size_t depth) {
        return on_one_core(worker, [&] {
            return bench::Chain{worker, request, 40'000}.run(depth);
        });
    };
    worker.call(request);
    young.call(request);
    table.compare(
        "growth: one of 10,000 calls in flight; bare: one of 64", [&] { return chain(10'000); },
        [&] { return chain(64); });
    bool aged = false;
    table.compare(
        "growth: a call after 300,000 others; bare: to a new worker",
        [&] {
            if (!std::exchange(aged, true)) each(300'000, [&] { worker.call(request); });
            return calls(worker);
        },
        [&] { return calls(young); });
    table.compare(
        "growth: a call with 200 open workers; bare: with two",
        [&] {
            std::deque<Worker> others(198);
            for (auto& other : others) other.call(request);
            return calls(young);
        },
        [&] { return calls(young); });
}

/// What both sides have resident after few calls, and after ten million.
void compare_memory_growth(bench::Table& table) {
    const std::string what = "growth: resident after 10 million calls; bare: after 100,000: the ";
    if (!table.wants(what)) return;
    Worker worker;
    const auto resident_after = [&](std::size_t calls) {
        bench::Chain{worker, Echo{bytes_of(64)}, calls}.run(64);
        const auto of = [](std::int64_t pid) {
            return bench::status_number(bench::proc_folder(static_cast<int>(pid)), "VmRSS") / 1024;
        };
        return std::array{of(::getpid()), of(worker.pid())};
    };
    const auto before = resident_after(100'000);
    const auto after = resident_after(9'900'000);
    table.add(what + "parent", "MiB", after[0], before[0]);
    table.add(what + "worker", "MiB", after[1], before[1]);
}

/// Not with `Compile{}` inside: GCC 12 breaks on that in a template.
template <class TypedWorker>
void compare_typed(bench::Table& table, const std::string& what, const Compile& request,
                   const tether::WorkerOptions& options = {}) {
    TypedWorker worker{options};
    const auto once = [&] {
        if (worker.call(request).diagnostics.size() != 4) throw std::runtime_error("wrong");
    };
    once();
    Limit limit{nlohmann::json::to_msgpack(nlohmann::json(request)).size() + 40, 370};
    compare_placed(
        table, what, worker.pid(), [&] { return each(1000, once); }, limit.pid(),
        [&] { return each(1000, [&] { limit.call(); }); });
}

/// `count` workers side by side, from their constructors until all have answered.
bench::Milliseconds start_workers(std::size_t count) {
    const auto start = Clock::now();
    std::deque<Worker> workers(count);
    std::vector<std::future<tether::Bytes>> answers;
    for (auto& worker : workers) {
        answers.push_back(worker.async_call(Echo{bytes_of(64)}, asio::use_future));
    }
    for (auto& answer : answers) answer.get();
    return Clock::now() - start;  // they end after that
}

/// The same for one, whose caller waits for it.
bench::Milliseconds start_worker() {
    const auto start = Clock::now();
    Worker worker;
    worker.call(Echo{bytes_of(64)});
    return Clock::now() - start;
}

/// `count` spawns of this program side by side, until all have exited, which each does at once.
bench::Milliseconds spawn(int count) {
    const auto start = Clock::now();
    std::vector<int> pids;
    for (int i = 0; i < count; ++i) pids.push_back(bench::spawn_self({"--exit"}));
    for (const int pid : pids) ::waitpid(pid, nullptr, 0);
    return Clock::now() - start;
}

/// Memory of this process that is really there, in small pages: what a copy of the process would
/// have to copy the tables of.
class Ballast {
public:
    explicit Ballast(std::size_t size)
        : size_(size),
          memory_(
              ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        if (memory_ == MAP_FAILED) throw std::runtime_error("mmap");
        ::madvise(memory_, size, MADV_NOHUGEPAGE);
        auto* const bytes = static_cast<volatile char*>(memory_);
        for (std::size_t i = 0; i < size; i += 4096) bytes[i] = 1;
    }
    Ballast(const Ballast&) = delete;
    Ballast& operator=(const Ballast&) = delete;
    ~Ballast() { ::munmap(memory_, size_); }

private:
    std::size_t size_;
    void* memory_;
};

void compare_start(bench::Table& table) {
    table.compare("W5: a Worker constructed until its first answer; bare: spawn until exit",
                  start_worker, [] { return spawn(1); });
    table.compare(
        "W5: 16 Workers side by side until all have answered; bare: 16 spawns",
        [] { return start_workers(16); }, [] { return spawn(16); });
    const std::string what = "W5: a Worker of a parent with 4 GiB resident; bare: spawn";
    if (!table.wants(what)) return;
    if (bench::available_gibibytes() < 8) return table.leave_out(what, "it needs 8 GiB of memory");
    const Ballast ballast{std::size_t{4} << 30};
    table.compare(what, start_worker, [] { return spawn(1); });
}

/// The time of one of `calls` calls that `count` threads make together, each one after the other.
template <class Call>
bench::Milliseconds by_threads(int count, int calls, Call call) {
    const auto start = Clock::now();
    std::vector<std::jthread> threads;
    for (int i = 0; i < count; ++i) {
        threads.emplace_back([&] { each(calls / count, call); });
    }
    threads.clear();
    return (Clock::now() - start) / double(calls);
}

/// The two ways to read answers for several threads: one of them reads for all, or the background
/// thread does, as most libraries have it.
void compare_callers(bench::Table& table) {
    constexpr int calls = 2000;
    Worker worker;
    const Echo request{bytes_of(64)};
    worker.call(request);
    const auto direct = [&] { worker.call(request); };
    const auto by_future = [&] { worker.async_call(request, asio::use_future).get(); };
    for (const int count : {1, 2, 4, 8, 16}) {
        compare_placed(
            table, "callers of one worker: " + std::to_string(count) + "; bare: futures",
            worker.pid(), [&] { return by_threads(count, calls, direct); }, worker.pid(),
            [&] { return by_threads(count, calls, by_future); }, {.unit = bench::Unit::per_second});
    }
}

/// The median of the times of single calls, of as many as 50 ms suffice for.
bench::Milliseconds median_call(Worker& worker, const Echo& request) {
    std::vector<bench::Milliseconds> times;
    const auto end = Clock::now() + 50ms;
    for (auto last = Clock::now(); last < end;) {
        echo(worker, request);
        const auto now = Clock::now();
        times.push_back(now - last);
        last = now;
    }
    std::ranges::sort(times);
    return times[times.size() / 2];
}

/// What spinning costs where others want the cores, too. One busy core is that of the caller.
void compare_spin_beside_load(bench::Table& table) {
    const Echo request{bytes_of(64)};
    for (const std::size_t busy : {1, 2}) {
        const std::string what =
            "W1: spin, busy cores: " + std::to_string(busy) + "; bare: no spin";
        if (!table.wants(what)) continue;
        const bench::Load load{busy};  // before the workers, whose sockets it would keep open
        Worker spinning{{.spin = 30us}};
        Worker sleeping;
        echo(spinning, request);
        echo(sleeping, request);
        compare_placed(
            table, what, spinning.pid(), [&] { return median_call(spinning, request); },
            sleeping.pid(), [&] { return median_call(sleeping, request); });
    }
}

nlohmann::json measure_all(const bench::Options& options) {
    bench::Table table{"one call", options, bench::Unit::microseconds};
    compare_echo(table, "W1: call, 64 bytes, one at a time", 64, 1000);
    compare_echo(table, "W1: the same with spin", 64, 1000, {.spin = 30us});
    compare_echo(table, "W1: the same over TCP", 64, 1000, {.transport = tether::Transport::tcp});
    compare_async(table);
    compare_coroutine(table);
    compare_pipeline(table);
    compare_typed_pipeline(table);
    compare_echo(table, "W3: echo of 1 MiB", std::size_t{1} << 20, 50);
    compare_echo(table, "W3: echo of 64 MiB", std::size_t{64} << 20, 2, {},
                 {.unit = bench::Unit::milliseconds});
    compare_gibibyte(table);
    compare_typed<DocumentWorker>(table, "W4: a typed call (9 strings, 4 x 80 characters)", {});
    compare_typed<DocumentWorker>(table, "W4: the same with spin", {}, {.spin = 30us});
    compare_typed<Worker>(table, "W4: the same with DirectCodec", {});
    compare_typed<Worker>(table, "W4: the same with both", {}, {.spin = 30us});
    compare_start(table);
    compare_callers(table);
    compare_spin_beside_load(table);
    compare_growth(table);
    compare_memory_growth(table);
    return table.json();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::string_view{argv[1]} == "--exit") return 0;
    if (const auto exit_code = tether::serve_if_worker<bench::Handler, DocumentHandler>(argc, argv))
        return *exit_code;
    const bench::Options options{{argv + 1, argv + argc}, 15};
    options.write(measure_all(options));
    return 0;
}
