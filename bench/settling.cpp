// What it takes to settle very many calls at once: their worker is killed and all of them fail, or
// go on to the next process, beside the same calls answered. In time and in memory, for each of 100
// to 100,000 of them. Each measurement is a process of its own. Linux.
//
//     tether_bench_settling [--rounds=N] [--json=FILE] [--only=TEXT]

#include <tether/tether.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <future>
#include <semaphore>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <unistd.h>

#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Clock;
using bench::Milliseconds;

// --- The worker

/// Logs a line when it has begun. Returns once it is cancelled, so that the calls behind it are
/// answered.
struct Block {
    static constexpr std::string_view name = "block";
    using Response = void;
};

/// Answers with the process id of the worker.
struct Who {
    static constexpr std::string_view name = "who";
    using Response = int;
};

struct CrowdProtocol {
    static constexpr std::string_view name = "tether.bench.settling";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Block, Who>;
    using Codec = tether::DirectCodec;
};

class Blocking final : public tether::Handler<CrowdProtocol> {
    void handle(const Block&, tether::CallContext<Block>& call) override {
        call.log(tether::Severity::info, "begun");
        while (!call.stop_requested()) std::this_thread::sleep_for(20us);
    }
    int handle(const Who&, tether::CallContext<Who>&) override { return ::getpid(); }
};

using Worker = tether::Worker<CrowdProtocol>;

// --- The host: it measures once

double resident_kibibytes(const char* which) {
    return bench::status_number(bench::proc_folder(::getpid()), which);
}

/// Counts what has been settled, on Tether's background thread, and keeps the errors, as futures
/// would.
class Crowd {
public:
    explicit Crowd(std::size_t count) : left_(count) { errors_.reserve(count); }

    void send(Worker& worker) {
        for (auto i = left_; i > 0; --i) {
            worker.async_call(Who{}, [this](const std::exception_ptr& error, int) { take(error); });
        }
    }
    void wait() { done_.get_future().get(); }
    [[nodiscard]] std::size_t failed() const noexcept { return errors_.size(); }

private:
    void take(const std::exception_ptr& error) {
        if (error) errors_.push_back(error);
        if (--left_ == 0) done_.set_value();
    }

    std::size_t left_;
    std::vector<std::exception_ptr> errors_;
    std::promise<void> done_;
};

/// Says how many microseconds it took to settle all, how many KiB more that needed at its peak, and
/// how many KiB they had needed before.
int be_host(const std::string& how, std::size_t count) {
    tether::WorkerOptions options;
    options.restart.budget = how == "fail" ? 0 : 5;
    std::counting_semaphore<> begun{0};
    options.output = tether::Output::to([&](const tether::LogRecord&) { begun.release(); });
    Worker worker{options};
    const int pid = worker.call(Who{});
    Crowd first{1};
    first.send(worker);
    first.wait();
    std::stop_source release;
    worker.async_call(Block{}, {.stop_token = release.get_token()}, [](std::exception_ptr) {});
    begun.acquire();  // otherwise it would go on to the next process
    const auto before = resident_kibibytes("VmRSS:");
    Crowd crowd{count};
    crowd.send(worker);
    std::ofstream{"/proc/self/clear_refs"} << 5;  // the peak begins here
    const auto in_flight = resident_kibibytes("VmRSS:");
    const auto start = Clock::now();
    if (how == "answer") {
        release.request_stop();
    } else {
        ::kill(pid, SIGKILL);
    }
    crowd.wait();
    const auto time = Clock::now() - start;
    const auto peak = resident_kibibytes("VmHWM:");
    if (crowd.failed() != (how == "fail" ? count : 0)) return 1;
    std::printf("%d %d %d\n", int(time / 1us), std::max(0, int(peak - in_flight)),
                int(in_flight - before));
    std::fflush(stdout);
    return 0;
}

// --- What is measured

/// What the hosts have said, for one way to settle so many calls.
class Case {
public:
    Case(std::string how, std::size_t count) : how_(std::move(how)), count_(count) {}

    /// Of one call.
    Milliseconds time() {
        bench::Host host{{"settle", how_, std::to_string(count_)}};
        const auto numbers = host.read_numbers();
        growth_.push_back(numbers.at(1));
        in_flight_.push_back(numbers.at(2));
        return std::chrono::microseconds{numbers.at(0)} / double(count_);
    }
    [[nodiscard]] double growth_bytes() const { return per_call(growth_); }
    [[nodiscard]] double in_flight_bytes() const { return per_call(in_flight_); }

private:
    [[nodiscard]] double per_call(std::vector<int> kibibytes) const {
        if (kibibytes.empty()) return 0;
        std::ranges::sort(kibibytes);
        return kibibytes[kibibytes.size() / 2] * 1024.0 / double(count_);
    }

    std::string how_;
    std::size_t count_;
    std::vector<int> growth_;
    std::vector<int> in_flight_;
};

nlohmann::json measure_all(const bench::Options& options) {
    constexpr std::size_t counts[] = {100, 1'000, 10'000, 100'000};
    bench::Table table{"time and memory of one call", options, bench::Unit::microseconds};
    for (const auto count : counts) {
        const auto number = std::to_string(count) + " calls in flight: ";
        Case fails{"fail", count};
        Case goes_on{"go on", count};
        Case answered{"answer", count};
        const auto compare = [&](const std::string& what, Case& one) {
            table.compare(
                number + what + "; bare: answered", [&] { return one.time(); },
                [&] { return answered.time(); });
        };
        compare("the worker is killed, all fail", fails);
        compare("the worker is killed, all go on to the next", goes_on);
        if (count < 1000) continue;  // less than what the process has at hand
        const auto add = [&](const std::string& what, const Case& one) {
            const auto bare = answered.growth_bytes();
            if (one.in_flight_bytes() > 0) {
                table.add(number + what + ", more memory; bare: answered", "B", one.growth_bytes(),
                          bare);
            }
        };
        add("all fail", fails);
        add("all go on", goes_on);
    }
    for (const std::string how : {"fail", "go on", "answer"}) {
        Case many{how, 100'000};
        Case few{how, 1'000};
        table.compare(
            "growth: " + how + ", one of 100000 calls; bare: one of 1000",
            [&] { return many.time(); }, [&] { return few.time(); });
        if (many.in_flight_bytes() == 0) continue;
        table.add("growth: " + how + ", more memory, one of 100000; bare: one of 1000", "B",
                  many.growth_bytes(), few.growth_bytes());
        table.add("growth: " + how + ", memory in flight, one of 100000; bare: one of 1000", "B",
                  many.in_flight_bytes(), few.in_flight_bytes());
    }
    return table.json();
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Blocking>(argc, argv)) return *exit_code;
    const std::vector<std::string> arguments{argv + 1, argv + argc};
    if (arguments.size() == 3 && arguments[0] == "settle") {
        return be_host(arguments[1], std::stoul(arguments[2]));
    }
    const bench::Options options{arguments, 9};
    options.write(measure_all(options));
    return 0;
}
