// What passes beside requests and answers: items of a stream, beside the same bytes written to a
// bare socket in batches; questions and first items, beside calls; notifications; handlers that are
// coroutines, beside those that block; and what 10 GiB leave behind in either process. Linux.
//
//     tether_bench_streams [--rounds=N] [--json=FILE] [--only=TEXT]

#include <tether/async_handler.hpp>
#include <tether/tether.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limit.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Clock;
using bench::Milliseconds;

struct Piece {
    tether::Bytes bytes{};
};
TETHER_DEFINE_MESSAGE(Piece, bytes)

/// An item without a blob, of about 64 bytes.
struct Small {
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Small, text)

struct Down {
    static constexpr std::string_view name = "down";
    using Item = Piece;
    using Response = void;
    std::int64_t count{};
    std::int64_t size{};
};
TETHER_DEFINE_MESSAGE(Down, count, size)

struct DownSmall {
    static constexpr std::string_view name = "down_small";
    using Item = Small;
    using Response = void;
    std::int64_t count{};
};
TETHER_DEFINE_MESSAGE(DownSmall, count)

struct Up {
    static constexpr std::string_view name = "up";
    using Upload = Piece;
    using Response = void;
    std::int64_t pause_us{};
};
TETHER_DEFINE_MESSAGE(Up, pause_us)

struct Echo {
    static constexpr std::string_view name = "echo";
    using Response = std::string;
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Echo, text)

struct Question {
    static constexpr std::string_view name = "question";
    using Response = std::string;
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Question, text)

/// Asks so often; answers how many nanoseconds one took.
struct Ask {
    static constexpr std::string_view name = "ask";
    using Response = std::int64_t;
    std::int64_t count{};
};
TETHER_DEFINE_MESSAGE(Ask, count)

struct Note {
    static constexpr std::string_view name = "note";
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Note, text)

/// Says so many notes, or reports as much progress; answers how many nanoseconds one took.
struct Burst {
    static constexpr std::string_view name = "burst";
    using Response = std::int64_t;
    struct Progress {
        std::int64_t at{};
    };
    std::int64_t count{};
    bool notes{};
};
TETHER_DEFINE_MESSAGE(Burst, count, notes)
TETHER_DEFINE_MESSAGE(Burst::Progress, at)

struct StreamProtocol {
    static constexpr std::string_view name = "tether.bench.streams";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Down, DownSmall, Up, Echo, Ask, Burst>;
    using Callbacks = tether::Messages<Question>;
    using Notifications = tether::Messages<Note>;
    using Codec = tether::DirectCodec;
};
using Worker = tether::Worker<StreamProtocol>;

const std::string text_of_64_bytes(51, 't');

class Streaming final : public tether::Handler<StreamProtocol> {
    void handle(const Down& request, tether::CallContext<Down>& call) override {
        const Piece piece{tether::Bytes(static_cast<std::size_t>(request.size))};
        for (std::int64_t i = 0; i < request.count; ++i) call.send(piece);
    }
    void handle(const DownSmall& request, tether::CallContext<DownSmall>& call) override {
        const Small small{text_of_64_bytes};
        for (std::int64_t i = 0; i < request.count; ++i) call.send(small);
    }
    void handle(const Up& request, tether::CallContext<Up>& call) override {
        while (call.next()) {
            if (request.pause_us != 0) {
                std::this_thread::sleep_for(std::chrono::microseconds{request.pause_us});
            }
        }
    }
    std::string handle(const Echo& request, tether::CallContext<Echo>&) override {
        return request.text;
    }
    template <class Act>
    static std::int64_t nanoseconds_of_one(std::int64_t count, Act act) {
        const auto start = Clock::now();
        for (std::int64_t i = 0; i < count; ++i) act(i);
        return (Clock::now() - start) / 1ns / count;
    }
    std::int64_t handle(const Ask& request, tether::CallContext<Ask>& call) override {
        return nanoseconds_of_one(request.count,
                                  [&](std::int64_t) { call.ask(Question{text_of_64_bytes}); });
    }
    std::int64_t handle(const Burst& request, tether::CallContext<Burst>& call) override {
        const Note note{text_of_64_bytes};
        if (request.notes) {
            return nanoseconds_of_one(request.count, [&](std::int64_t) { call.notify(note); });
        }
        return nanoseconds_of_one(request.count, [&](std::int64_t i) { call.progress({i}); });
    }
};

struct AwaitedProtocol {
    static constexpr std::string_view name = "tether.bench.awaited";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<DownSmall, Echo>;
    using Codec = tether::DirectCodec;
};

class Awaited final : public tether::AsyncHandler<AwaitedProtocol> {
    asio::awaitable<void> handle(const DownSmall& request,
                                 tether::AsyncCallContext<DownSmall>& call) override {
        const Small small{text_of_64_bytes};
        for (std::int64_t i = 0; i < request.count; ++i) co_await call.async_send(small);
    }
    asio::awaitable<std::string> handle(const Echo& request,
                                        tether::AsyncCallContext<Echo>&) override {
        co_return request.text;
    }
};

/// A child that writes `size` bytes at a time to a bare socket, as often as it is asked.
class LimitSource {
public:
    explicit LimitSource(std::size_t size) : size_(size) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(ends[0]);
            serve(ends[1]);
        }
        ::close(ends[1]);
        fd_ = ends[0];
    }
    LimitSource(const LimitSource&) = delete;
    LimitSource& operator=(const LimitSource&) = delete;
    ~LimitSource() {
        ::close(fd_);
        ::waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] int pid() const noexcept { return pid_; }

    void read(std::int64_t writes) {
        bench::write_all(fd_, reinterpret_cast<const char*>(&writes), sizeof writes);
        std::string in(std::max<std::size_t>(size_, 65536), '\0');
        auto left = static_cast<std::size_t>(writes) * size_;
        while (left != 0) {
            const auto size = ::recv(fd_, in.data(), std::min(in.size(), left), 0);
            if (size <= 0) std::abort();
            left -= static_cast<std::size_t>(size);
        }
    }

private:
    [[noreturn]] void serve(int fd) const {
        const std::string out(size_, 'o');
        for (std::int64_t writes = 0;;) {
            if (::recv(fd, &writes, sizeof writes, MSG_WAITALL) != sizeof writes) std::_Exit(0);
            for (; writes > 0; --writes) bench::write_all(fd, out.data(), out.size());
        }
    }

    std::size_t size_;
    int pid_ = 0;
    int fd_ = -1;
};

template <class Act>
Milliseconds time_of(Act act) {
    const auto start = Clock::now();
    act();
    return Clock::now() - start;
}

double resident_mebibytes(int pid) {
    return bench::status_number(bench::proc_folder(pid), "VmRSS:") / 1024;
}

tether::WorkerOptions options_of(unsigned concurrency = 1) {
    tether::WorkerOptions options;
    options.concurrency = concurrency;
    return options;
}

void measure_items(bench::Table& table) {
    const auto last_core = bench::usable_cores()[1];
    Worker worker{options_of()};
    worker.call(Echo{});
    constexpr std::int64_t many = 1'000'000;
    constexpr std::size_t batch = 65536 / 64 * 64;
    {
        LimitSource limit{batch};
        const bench::Placed here{static_cast<int>(worker.pid()), bench::Placement::two_cores};
        bench::hold(limit.pid(), {last_core});
        table.compare(
            "stream down, an item of 64 bytes; bare: 64 bytes of a batch",
            [&] {
                return time_of([&] {
                           auto stream = worker.stream(DownSmall{many});
                           while (stream.next()) {
                           }
                       }) /
                       double(many);
            },
            [&] {
                return time_of([&] { limit.read(many * 64 / std::int64_t(batch)); }) / double(many);
            });
    }
    constexpr std::int64_t mebibyte = 1 << 20;
    LimitSource limit{mebibyte};
    const bench::Placed here{static_cast<int>(worker.pid()), bench::Placement::two_cores};
    bench::hold(limit.pid(), {last_core});
    table.compare(
        "stream down, an item of 1 MiB; bare: 1 MiB one way",
        [&] {
            return time_of([&] {
                       auto stream = worker.stream(Down{500, mebibyte});
                       while (stream.next()) {
                       }
                   }) /
                   500.0;
        },
        [&] { return time_of([&] { limit.read(500); }) / 500.0; });
    table.compare(
        "stream up, an item of 1 MiB; bare: 1 MiB one way",
        [&] {
            const Piece piece{tether::Bytes(mebibyte)};
            return time_of([&] {
                       auto stream = worker.stream(Up{});
                       for (int i = 0; i < 500; ++i) stream.write(piece);
                       stream.finish();
                       stream.response();
                   }) /
                   500.0;
        },
        [&] { return time_of([&] { limit.read(500); }) / 500.0; });
}

void measure_round_trips(bench::Table& table) {
    Worker worker{options_of()};
    worker.provide<Question>([](const Question& question) { return question.text; });
    const Echo echo{text_of_64_bytes};
    const auto call = [&] {
        return time_of([&] {
                   for (int i = 0; i < 2'000; ++i) worker.call(echo);
               }) /
               2'000.0;
    };
    call();
    const bench::Placed here{static_cast<int>(worker.pid()), bench::Placement::two_cores};
    table.compare(
        "the first item of a stream; bare: a call",
        [&] {
            Milliseconds total{};
            for (int i = 0; i < 2'000; ++i) {
                const auto start = Clock::now();
                auto stream = worker.stream(DownSmall{1});
                stream.next();
                total += Clock::now() - start;
                stream.response();
            }
            return total / 2'000.0;
        },
        call);
    table.compare(
        "a question and its answer; bare: a call",
        [&] { return Milliseconds{std::chrono::nanoseconds{worker.call(Ask{2'000})}}; }, call);
}

void measure_coroutines(bench::Table& table) {
    Worker blocking{options_of()};
    tether::Worker<AwaitedProtocol> awaited{options_of()};
    const Echo echo{text_of_64_bytes};
    const auto time_of_call = [&](auto& worker) {
        return [&] {
            const bench::Placed here{static_cast<int>(worker.pid()), bench::Placement::two_cores};
            return time_of([&] {
                       for (int i = 0; i < 2'000; ++i) worker.call(echo);
                   }) /
                   2'000.0;
        };
    };
    const auto time_of_item = [&](auto& worker) {
        return [&] {
            const bench::Placed here{static_cast<int>(worker.pid()), bench::Placement::two_cores};
            return time_of([&] {
                       auto stream = worker.stream(DownSmall{100'000});
                       while (stream.next()) {
                       }
                       stream.response();
                   }) /
                   100'000.0;
        };
    };
    blocking.call(echo);
    awaited.call(echo);
    table.compare("a call of an AsyncHandler; bare: of a Handler", time_of_call(awaited),
                  time_of_call(blocking));
    table.compare("an item of 64 bytes of an AsyncHandler; bare: of a Handler",
                  time_of_item(awaited), time_of_item(blocking));
}

void measure_bursts(bench::Table& table) {
    Worker worker{options_of()};
    std::atomic<std::int64_t> heard{0};
    const auto subscription = worker.on<Note>([&](const Note&) { ++heard; });
    worker.call(Echo{});
    const auto one_microsecond = [] { return Milliseconds{0.001}; };
    table.compare(
        "a notification, for its sender, of 10,000; bare: 1 us",
        [&] {
            return Milliseconds{std::chrono::nanoseconds{worker.call(Burst{10'000, true})}};
        },
        one_microsecond);
    table.compare(
        "a progress that is not taken, for its handler; bare: 1 us",
        [&] {
            return Milliseconds{std::chrono::nanoseconds{worker.call(Burst{100'000, false})}};
        },
        one_microsecond);
}

void measure_neighbours(bench::Table& table) {
    Worker worker{options_of(2)};
    const Echo echo{text_of_64_bytes};
    const auto p99 = [&] {
        std::vector<Milliseconds> times;
        for (int i = 0; i < 3'000; ++i) times.push_back(time_of([&] { worker.call(echo); }));
        std::ranges::sort(times);
        return times[times.size() * 99 / 100];
    };
    p99();
    table.compare(
        "a call while a stream runs, 99th percentile; bare: without",
        [&] {
            auto stream = worker.stream(Down{1'000'000'000, 1'000});
            std::atomic<bool> ends{false};
            std::thread consumer{[&] {
                while (!ends && stream.next()) {
                }
            }};
            const auto result = p99();
            ends = true;
            consumer.join();
            return result;
        },
        p99);
}

void measure_growth(bench::Table& table) {
    constexpr std::int64_t mebibyte = 1 << 20;
    constexpr int count = 10 * 1024;
    const auto grow = [&](const std::string& what, auto run) {
        Worker worker{options_of()};
        auto warm = worker.stream(Down{8, mebibyte});
        while (warm.next()) {
        }
        const int pid = static_cast<int>(worker.pid());
        const double before[] = {resident_mebibytes(::getpid()), resident_mebibytes(pid)};
        double most[] = {0, 0};
        run(worker, [&](int i) {
            if (i % 64 != 0) return;
            most[0] = std::max(most[0], resident_mebibytes(::getpid()) - before[0]);
            most[1] = std::max(most[1], resident_mebibytes(pid) - before[1]);
        });
        table.add("10 GiB, " + what + ", growth of the parent; bare: 8 MiB", "MiB", most[0], 8);
        table.add("10 GiB, " + what + ", growth of the worker; bare: 8 MiB", "MiB", most[1], 8);
    };
    grow("a slow reader", [&](Worker& worker, auto look) {
        auto stream = worker.stream(Down{count, mebibyte}, {.timeout = tether::no_timeout});
        for (int i = 0; stream.next(); ++i) {
            if (i % 16 == 0) std::this_thread::sleep_for(1ms);
            look(i);
        }
    });
    grow("a slow writer's reader", [&](Worker& worker, auto look) {
        auto stream = worker.stream(Up{50}, {.timeout = tether::no_timeout});
        const Piece piece{tether::Bytes(mebibyte)};
        for (int i = 0; i < count; ++i) {
            stream.write(piece);
            look(i);
        }
        stream.finish();
        stream.response();
    });
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Streaming, Awaited>(argc, argv))
        return *exit_code;
    const bench::Options options{{argv + 1, argv + argc}, 5};
    bench::Table table{"streams, questions and notifications", options, bench::Unit::microseconds};
    measure_items(table);
    measure_round_trips(table);
    measure_coroutines(table);
    measure_bursts(table);
    measure_neighbours(table);
    measure_growth(table);
    options.write(table.json());
    return 0;
}
