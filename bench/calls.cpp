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

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Clock;
using Microseconds = std::chrono::duration<double, std::micro>;

using bench::Compile;
using bench::Echo;
using Worker = tether::Worker<bench::Protocol>;

// --- LIMIT

void write_all(int fd, const char* data, std::size_t size) {
    while (size != 0) {
        const auto written = ::send(fd, data, size, MSG_NOSIGNAL);
        if (written <= 0) throw std::runtime_error("send");
        data += written;
        size -= static_cast<std::size_t>(written);
    }
}

void read_all(int fd, char* data, std::size_t size) {
    while (size != 0) {
        const auto read = ::recv(fd, data, size, 0);
        if (read <= 0) throw std::runtime_error("recv");
        data += read;
        size -= static_cast<std::size_t>(read);
    }
}

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

/// A child that answers each `request` bytes with `answer` bytes.
class Limit {
public:
    Limit(std::size_t request, std::size_t answer, Family family = Family::unix_pair)
        : request_(request, 'q'), answer_(answer, '\0') {
        const auto ends = connected_pair(family);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(ends[0]);
            serve(ends[1]);
        }
        ::close(ends[1]);
        fd_ = ends[0];
    }
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;
    ~Limit() {
        ::close(fd_);
        ::waitpid(pid_, nullptr, 0);
    }

    [[nodiscard]] int pid() const noexcept { return pid_; }

    void call() {
        write_all(fd_, request_.data(), request_.size());
        read_all(fd_, answer_.data(), answer_.size());
    }
    /// `count` calls with at most `depth` under way, many to a system call.
    void pipeline(std::size_t depth, std::size_t count) {
        std::string out;
        std::string in(depth * answer_.size(), '\0');
        std::size_t sent = 0;
        std::size_t received = 0;  // bytes
        while (received < count * answer_.size()) {
            const auto under_way = sent - received / answer_.size();
            const auto more = std::min(depth - under_way, count - sent);
            if (more != 0) {
                out.assign(more * request_.size(), 'q');
                write_all(fd_, out.data(), out.size());
                sent += more;
            }
            const auto read = ::recv(fd_, in.data(), in.size(), 0);
            if (read <= 0) throw std::runtime_error("recv");
            received += static_cast<std::size_t>(read);
        }
    }

private:
    /// What comes at once is answered at once.
    [[noreturn]] void serve(int fd) {
        std::string in(std::max<std::size_t>(request_.size(), 65536), '\0');
        std::string out(answer_.size() * (in.size() / request_.size() + 1), 'a');
        for (std::size_t pending = 0;;) {
            const auto read = ::recv(fd, in.data(), in.size(), 0);
            if (read <= 0) std::_Exit(0);
            pending += static_cast<std::size_t>(read);
            write_all(fd, out.data(), pending / request_.size() * answer_.size());
            pending %= request_.size();
        }
    }

    std::string request_;
    std::string answer_;
    int fd_ = -1;
    int pid_ = -1;
};

// --- What is measured

/// The time of one of `count` calls.
template <class Call>
bench::Milliseconds each(int count, Call call) {
    const auto start = Clock::now();
    for (int i = 0; i < count; ++i) call();
    return (Clock::now() - start) / double(count);
}

tether::Bytes bytes_of(std::size_t size) { return tether::Bytes(size); }

/// `ours` and `bare`, first with both sides on one core, then on two.
void compare_placed(bench::Table& table, const std::string& what, const Worker& worker,
                    const std::function<bench::Milliseconds()>& ours, const Limit& limit,
                    const std::function<bench::Milliseconds()>& bare) {
    using bench::Placement;
    for (const auto placement : {Placement::one_core, Placement::two_cores}) {
        const auto held = [placement](std::int64_t pid, const auto& measure) {
            return [pid, placement, &measure] {
                const bench::Placed placed{static_cast<int>(pid), placement};
                return measure();
            };
        };
        const std::string where = placement == Placement::one_core ? "one core" : "two cores";
        table.compare(what + "; " + where, held(worker.pid(), ours), held(limit.pid(), bare));
    }
}

void compare_echo(bench::Table& table, const std::string& what, std::size_t size, int count,
                  const tether::WorkerOptions& options = {}) {
    Worker worker{options};
    const bool tcp = options.transport == tether::Transport::tcp;
    Limit limit{size, size, tcp ? Family::tcp : Family::unix_pair};
    const Echo request{bytes_of(size)};
    const auto once = [&] {
        if (worker.call(request).size() != size) throw std::runtime_error("a wrong answer");
    };
    once();
    limit.call();
    compare_placed(
        table, what, worker, [&] { return each(count, once); }, limit,
        [&] { return each(count, [&] { limit.call(); }); });
}

void compare_async(bench::Table& table) {
    Worker worker;
    Limit limit{64, 64};
    const auto once = [&] { worker.async_call(Echo{bytes_of(64)}, asio::use_future).get(); };
    once();
    compare_placed(
        table, "W1: async_call and use_future", worker, [&] { return each(1000, once); }, limit,
        [&] { return each(1000, [&] { limit.call(); }); });
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
        table, "W1: from a coroutine", worker, [&] { return each(1, [&] { run(1000); }) / 1000.0; },
        limit, [&] { return each(1000, [&] { limit.call(); }); });
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

/// The same with callbacks, each of which makes the next call.
class Chain {
public:
    Chain(Worker& worker, std::size_t count)
        : worker_(worker), left_(static_cast<std::ptrdiff_t>(count)) {}

    bench::Milliseconds run(std::size_t depth) {
        const auto start = Clock::now();
        const double count = double(left_);
        under_way_ = depth;
        for (std::size_t i = 0; i < depth; ++i) call();
        done_.get_future().get();
        return (Clock::now() - start) / count;
    }

private:
    void call() {
        worker_.async_call(request_, [this](std::exception_ptr error, const tether::Bytes&) {
            if (error) std::rethrow_exception(error);
            if (left_.fetch_sub(1) > 1) return call();
            if (--under_way_ == 0) done_.set_value();
        });
    }

    Worker& worker_;
    const Echo request_{bytes_of(64)};
    std::atomic<std::ptrdiff_t> left_;
    std::atomic<std::size_t> under_way_{0};
    std::promise<void> done_;
};

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
        table, "W2: one of 64 calls in flight, futures", worker,
        [&] { return pipeline(worker, depth, count); }, limit, bare);
    compare_placed(
        table, "W2: one of 64 calls in flight, callbacks", worker,
        [&] {
            return Chain{worker, count}.run(depth);
        },
        limit, bare);
}

/// What must not grow: the time of a call with the number of others, before it, beside it, and in
/// other workers.
void compare_growth(bench::Table& table) {
    Worker worker;
    Worker young;
    const Echo request{bytes_of(64)};
    // On one core each: where the scheduler puts the two sides decides more than all else.
    const auto on_one_core = [](Worker& called, const auto& measure) {
        const bench::Placed placed{static_cast<int>(called.pid()), bench::Placement::one_core};
        return measure();
    };
    const auto calls = [&](Worker& called) {
        return on_one_core(called, [&] { return each(2000, [&] { called.call(request); }); });
    };
    const auto chain = [&](std::size_t depth) {
        return on_one_core(worker, [&] { return Chain{worker, 40'000}.run(depth); });
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

void compare_typed(bench::Table& table, const std::string& what,
                   const tether::WorkerOptions& options = {}) {
    Worker worker{options};
    const auto once = [&] {
        if (worker.call(Compile{}).diagnostics.size() != 4) throw std::runtime_error("wrong");
    };
    once();
    const auto request_size = nlohmann::json::to_msgpack(nlohmann::json(Compile{})).size() + 40;
    Limit limit{request_size, 370};
    compare_placed(
        table, what, worker, [&] { return each(1000, once); }, limit,
        [&] { return each(1000, [&] { limit.call(); }); });
}

/// Against the spawn of the same program that exits at once.
void compare_start(bench::Table& table) {
    table.compare(
        "W5: a Worker constructed until its first answer; bare: spawn until exit",
        [] {
            const auto start = Clock::now();
            Worker worker;
            worker.call(Echo{bytes_of(64)});
            return bench::Milliseconds{Clock::now() - start};
        },
        [] {
            const auto start = Clock::now();
            std::string arguments[] = {"bench", "--exit"};
            char* pointers[] = {arguments[0].data(), arguments[1].data(), nullptr};
            int pid = -1;
            if (::posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, pointers, environ) != 0) {
                throw std::runtime_error("posix_spawn");
            }
            ::waitpid(pid, nullptr, 0);
            return bench::Milliseconds{Clock::now() - start};
        });
}

/// Calls of all threads together, as the time of one.
void compare_callers(bench::Table& table) {
    Worker worker;
    Limit limit{64, 64};
    const Echo request{bytes_of(64)};
    worker.call(request);
    for (const int count : {2, 4, 8, 16}) {
        table.compare(
            std::to_string(count) + " threads call one worker; bare: one caller",
            [&] {
                const auto start = Clock::now();
                std::vector<std::thread> threads;
                for (int i = 0; i < count; ++i) {
                    threads.emplace_back([&] { each(1000, [&] { worker.call(request); }); });
                }
                for (auto& thread : threads) thread.join();
                return bench::Milliseconds{Clock::now() - start} / (1000.0 * count);
            },
            [&] { return each(1000, [&] { limit.call(); }); });
    }
}

nlohmann::json measure_all(const bench::Options& options) {
    bench::Table table{"one call", options, bench::Table::Unit::microseconds};
    compare_echo(table, "W1: call, 64 bytes, one at a time", 64, 1000);
    compare_echo(table, "W1: the same with spin", 64, 1000, {.spin = 30us});
    compare_echo(table, "W1: the same over TCP", 64, 1000, {.transport = tether::Transport::tcp});
    compare_async(table);
    compare_coroutine(table);
    compare_pipeline(table);
    compare_echo(table, "W3: echo of 1 MiB", std::size_t{1} << 20, 50);
    compare_echo(table, "W3: echo of 64 MiB", std::size_t{64} << 20, 2);
    compare_typed(table, "W4: a typed call (9 strings, 4 x 80 characters)");
    compare_typed(table, "W4: the same with spin", {.spin = 30us});
    compare_start(table);
    compare_callers(table);
    compare_growth(table);
    return table.json();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::string_view{argv[1]} == "--exit") return 0;
    if (const auto exit_code = tether::serve_if_worker<bench::Handler>(argc, argv))
        return *exit_code;
    const bench::Options options{{argv + 1, argv + argc}, 15};
    options.write(measure_all(options));
    return 0;
}
