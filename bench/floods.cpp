// What a worker does to its parent that sends without end what was not asked for: how late the
// deadlines of its own calls and of another worker's are meanwhile, what memory and processor time
// it takes, and when it is ended. Beside the same without a flood. Each flood has a parent of its
// own. Linux.
//
//     tether_bench_floods [--rounds=N] [--json=FILE] [--only=TEXT]

#include <tether/tether.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <future>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Clock;
using bench::Milliseconds;

constexpr std::uint64_t max_message_bytes = std::uint64_t{64} << 20;

// --- The hostile worker

/// Sends what `kind` says until its parent has had enough, or for ten seconds.
struct Flood {
    static constexpr std::string_view name = "flood";
    using Response = void;
    std::string kind{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Flood, kind)

/// Waits until it is cancelled.
struct Idle {
    static constexpr std::string_view name = "idle";
    using Response = void;
};

/// Answers at once.
struct Nothing {
    static constexpr std::string_view name = "nothing";
    using Response = void;
};

struct FloodProtocol {
    static constexpr std::string_view name = "tether.bench.floods";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Flood, Idle, Nothing>;
};

/// A socket of this process: the control channel announces its input by a signal, the connection
/// does not.
int find_socket(bool control) {
    for (int fd = 3; fd < 4096; ++fd) {
        struct ::stat status {};
        if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) continue;
        if (((::fcntl(fd, F_GETFL) & O_ASYNC) != 0) == control) return fd;
    }
    throw std::runtime_error("a socket was not found");
}

void put(std::string& out, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>((value >> (8 * i)) & 0xff);
}

enum Type : std::uint8_t { response = 4, data = 6, abort_message = 7, running = 17 };

std::string frame(Type type, bool more, std::uint64_t number, const std::string& body) {
    std::string out;
    put(out, body.size(), 4);
    put(out, type, 1);
    put(out, more ? 1 : 0, 1);
    put(out, 0, 2);  // the index of Flood
    put(out, number, 8);
    return out + body;
}

/// The beginning of an answer: its size is only claimed.
std::string half(std::uint64_t number, std::uint64_t payload, std::uint32_t blobs = 0) {
    std::string body;
    put(body, payload, 8);
    put(body, 0, 8);
    put(body, blobs, 4);
    put(body, 0, 4);
    for (std::uint32_t i = 0; i < blobs; ++i) put(body, 1024, 8);
    return frame(response, true, number, body + "\xc0");
}

/// Writes the same again and again.
void repeat(int fd, const std::string& bytes, Clock::time_point end) {
    std::string many;
    while (many.size() < 64 * 1024) many += bytes;
    while (Clock::now() < end) {
        for (std::size_t at = 0; at < many.size();) {
            const auto written = ::write(fd, many.data() + at, many.size() - at);
            if (written <= 0) {  // the parent has had enough, and ends this process
                std::this_thread::sleep_until(end);
                return;
            }
            at += static_cast<std::size_t>(written);
        }
    }
}

class Flooding final : public tether::Handler<FloodProtocol> {
    void handle(const Flood& request, tether::CallContext<Flood>& call) override {
        const auto end = Clock::now() + 10s;
        const auto& kind = request.kind;
        const auto own = call.id();
        const auto connection = [&](const std::string& bytes) {
            repeat(find_socket(false), bytes, end);
        };
        if (kind == "halves") connection(half(own, max_message_bytes) + half(own + 1, 1 << 20));
        if (kind == "aborts") {
            connection(half(own, max_message_bytes) + frame(abort_message, false, own, ""));
        }
        if (kind == "blobs") connection(half(own + 1'000'000, 1, 4096));
        if (kind == "records") {
            std::string record;
            put(record, 9, 4);
            put(record, running, 1);
            put(record, own, 8);
            repeat(find_socket(true), record, end);
        }
        if (kind == "bytes" || kind == "late bytes") {
            if (kind == "late bytes") std::this_thread::sleep_for(60ms);
            const auto opened = half(own, max_message_bytes);
            if (::write(find_socket(false), opened.data(), opened.size()) > 0) {
                connection(frame(data, true, own, "x"));
            }
        }
        if (kind == "stdout") repeat(STDOUT_FILENO, std::string(99, 'x') + '\n', end);
        if (kind == "stderr") repeat(STDERR_FILENO, std::string(1024, 'x'), end);  // one line
        if (kind == "none") idle(call);
    }
    void handle(const Idle&, tether::CallContext<Idle>& call) override { idle(call); }
    void handle(const Nothing&, tether::CallContext<Nothing>&) override {}

    template <class Call>
    static void idle(const Call& call) {
        while (!call.stop_requested()) std::this_thread::sleep_for(1ms);
    }
};

using Worker = tether::Worker<FloodProtocol>;

// --- The parent

double kibibytes(const char* which) {
    return bench::status_number(bench::proc_folder(::getpid()), which);
}

double processor_seconds() {
    ::rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const ::timeval& time) {
        return double(time.tv_sec) + double(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

constexpr auto timeout = 100ms;

/// How late the call was that has ended by its deadline.
class Lateness {
public:
    /// Nothing: it has ended by something else.
    std::optional<Milliseconds> after(const std::exception_ptr& error) const {
        try {
            if (error) std::rethrow_exception(error);
        } catch (const tether::CallError& failure) {
            if (failure.code() == tether::errc::timeout) return Clock::now() - start_ - timeout;
        }
        return std::nullopt;
    }

private:
    Clock::time_point start_ = Clock::now();
};

/// The later of a blocking and an async call to a worker.
std::optional<Milliseconds> lateness(Worker& worker) {
    std::promise<std::optional<Milliseconds>> asynchronous;
    const Lateness late;
    worker.async_call(Idle{}, {.timeout = timeout}, [&](const std::exception_ptr& error) {
        asynchronous.set_value(late.after(error));
    });
    std::exception_ptr error;
    try {
        worker.call(Idle{}, {.timeout = timeout});
    } catch (...) {
        error = std::current_exception();
    }
    const auto blocking = late.after(error);
    const auto other = asynchronous.get_future().get();
    if (!blocking || !other) return blocking ? blocking : other;
    return std::max(*blocking, *other);
}

/// Has a worker flood again whenever it was ended.
class Flooder {
public:
    Flooder(Worker& worker, std::string kind) : worker_(worker), kind_(std::move(kind)) { call(); }
    Flooder(const Flooder&) = delete;
    Flooder& operator=(const Flooder&) = delete;
    ~Flooder() {
        over_ = true;
        worker_.stop();
        ended_.get_future().get();
    }
    [[nodiscard]] int floods() const noexcept { return floods_; }
    /// How long it took until a flood was ended as `errc::framing`, for each that was.
    [[nodiscard]] std::vector<Milliseconds> refusals() const {
        const std::scoped_lock lock{mutex_};
        return refusals_;
    }

private:
    void call() {
        ++floods_;
        tether::CallOptions<Flood> options;
        if (kind_ == "late bytes") options.timeout = 50ms;
        worker_.async_call(Flood{kind_}, options,
                           [this, start = Clock::now()](const std::exception_ptr& error) {
                               on_end(error, Clock::now() - start);
                           });
    }
    void on_end(const std::exception_ptr& error, Milliseconds time) {
        try {
            if (error) std::rethrow_exception(error);
        } catch (const tether::CallError& failure) {
            const std::scoped_lock lock{mutex_};
            if (failure.code() == tether::errc::framing) refusals_.push_back(time);
        }
        if (over_) return ended_.set_value();
        call();
    }

    Worker& worker_;
    const std::string kind_;
    std::atomic<bool> over_{false};
    std::atomic<int> floods_{0};
    mutable std::mutex mutex_;
    std::vector<Milliseconds> refusals_;
    std::promise<void> ended_;
};

/// Says in one line: growth in KiB, processor time in per cent, floods, how many of them were
/// refused, after how many microseconds; then pairs of microseconds: how late one of its own
/// deadlines was (-1: it was ended earlier), and one of another worker's.
int be_host(const std::string& kind, int rounds) {
    tether::WorkerOptions options;
    options.output = tether::Output::discard();
    options.stop = {.drain = 0s, .terminate = 0s};
    options.restart = {.budget = tether::RestartPolicy::unlimited,
                       .initial_pause = tether::Duration::zero(),
                       .max_pause = tether::Duration::zero()};
    options.max_message_bytes = max_message_bytes;
    Worker worker{options};
    options.concurrency = 4;
    Worker other{options};
    worker.call(Nothing{});
    other.call(Nothing{});
    static_cast<void>(lateness(other));
    std::ofstream{"/proc/self/clear_refs"} << 5;  // the peak begins here
    const auto memory = kibibytes("VmHWM:");
    const auto processor = processor_seconds();
    const auto start = Clock::now();
    std::vector<int> late;
    const auto note = [&](const std::optional<Milliseconds>& time) {
        late.push_back(time ? std::max(0, int(*time / 1us)) : -1);
    };
    Flooder flooder{worker, kind};
    for (int i = 0; i < rounds; ++i) {
        auto own = std::async(std::launch::async, [&] { return lateness(worker); });
        const auto others = lateness(other);
        note(own.get());
        note(others);
    }
    const Milliseconds time = Clock::now() - start;
    // The median: a flood may have to wait behind a call that was sent again.
    auto refusals = flooder.refusals();
    std::ranges::sort(refusals);
    const auto until_refused = refusals.empty() ? Milliseconds{0} : refusals[refusals.size() / 2];
    std::printf("%d %d %d %d %d", int(kibibytes("VmHWM:") - memory),
                int(100e3 * (processor_seconds() - processor) / time.count()), flooder.floods(),
                int(refusals.size()), int(until_refused / 1us));
    for (const int value : late) std::printf(" %d", value);
    std::puts("");
    std::fflush(stdout);
    return 0;
}

// --- What is measured

struct Measured {
    double growth = 0;  // MiB
    double processor = 0;
    double floods = 0;
    double refused = 0;
    double until_refused = 0;   // ms
    std::vector<double> own{};  // ms
    std::vector<double> others{};
};

Measured measure(const std::string& kind, int rounds) {
    bench::Host host{{"flood", kind, std::to_string(rounds)}};
    const auto numbers = host.read_numbers();
    Measured result{numbers.at(0) / 1024.0, numbers.at(1) / 100.0, double(numbers.at(2)),
                    double(numbers.at(3)), numbers.at(4) / 1000.0};
    for (std::size_t i = 5; i + 1 < numbers.size(); i += 2) {
        if (numbers[i] >= 0) result.own.push_back(numbers[i] / 1000.0);
        if (numbers[i + 1] >= 0) result.others.push_back(numbers[i + 1] / 1000.0);
    }
    return result;
}

nlohmann::json measure_all(const bench::Options& options) {
    const std::pair<const char*, const char*> kinds[] = {
        {"halves", "halves of answers"},
        {"aborts", "opens and aborts"},
        {"blobs", "answers to nobody, of 4,096 blobs"},
        {"records", "records on the control channel"},
        {"bytes", "its own answer, a byte to a frame"},
        {"late bytes", "the same, when the call was given up"},
        {"stdout", "lines on stdout"},
        {"stderr", "one endless line on stderr"}};
    bench::Table table{"a flood of ...; bare: none", options};
    const auto none = measure("none", options.rounds());
    // A flood keeps two cores busy. What that alone costs where there are no more than two.
    const std::string busy = "nothing, beside two busy cores";
    if (table.wants(busy)) {
        const bench::Load load{2};
        const auto beside = measure("none", options.rounds());
        table.show(busy + ": lateness of its own deadlines", beside.own, none.own);
        table.show(busy + ": of another worker's", beside.others, none.others);
    }
    for (const auto& [kind, text] : kinds) {
        const std::string what = text;
        if (!table.wants(what)) continue;
        const auto flood = measure(kind, options.rounds());
        const auto row = [&](const std::string& name, const std::vector<double>& late,
                             const std::vector<double>& bare) {
            if (late.empty()) return table.leave_out(what + name, "its calls ended before");
            table.show(what + name, late, bare);
        };
        row(": lateness of its own deadlines", flood.own, none.own);
        row(": of another worker's", flood.others, none.others);
        table.add(what + ": memory", "MiB", flood.growth, none.growth);
        table.add(what + ": processors used", "", flood.processor, none.processor);
        table.add(what + ": floods", "", flood.floods, none.floods);
        table.add(what + ": ended as framing", "", flood.refused, none.refused);
        table.add(what + ": ... after", "ms", flood.until_refused, none.until_refused);
    }
    return table.json();
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Flooding>(argc, argv)) return *exit_code;
    const std::vector<std::string> arguments{argv + 1, argv + argc};
    if (arguments.size() == 3 && arguments[0] == "flood") {
        return be_host(arguments[1], std::atoi(arguments[2].c_str()));
    }
    const bench::Options options{arguments, 20};
    options.write(measure_all(options));
    return 0;
}
