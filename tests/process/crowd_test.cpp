// Very many calls are in flight, and something settles them all at once: what that takes grows with
// their number, and each is settled.

#include <tether/loopback_worker.hpp>

#include <asio/use_future.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "process/support/worker_under_test.hpp"

namespace tether_test::crowd_test {
namespace {

constexpr int crowd = 10'000;

std::uint64_t peak_kibibytes() {
    const auto status = read_file("/proc/self/status");
    const auto at = status.find("VmHWM:");
    return at == std::string::npos ? 0 : std::stoull(status.substr(at + 6));
}

// The most memory that this process has had since.
class Peak {
public:
    Peak() {
        std::ofstream{"/proc/self/clear_refs"} << 5;
        before_ = peak_kibibytes();
    }
    [[nodiscard]] std::uint64_t growth_kibibytes() const { return peak_kibibytes() - before_; }

private:
    std::uint64_t before_ = 0;
};

// What became of many calls. It keeps their errors, as futures would.
class Results {
public:
    void take(const std::exception_ptr& error) {
        const std::scoped_lock lock{mutex_};
        ++settled_;
        if (error) errors_.push_back(error);
    }
    [[nodiscard]] int settled() const {
        const std::scoped_lock lock{mutex_};
        return settled_;
    }
    [[nodiscard]] int failed() const {
        const std::scoped_lock lock{mutex_};
        return static_cast<int>(errors_.size());
    }
    [[nodiscard]] std::size_t longest_text() const {
        const std::scoped_lock lock{mutex_};
        std::size_t longest = 0;
        for (const auto& error : errors_) {
            try {
                std::rethrow_exception(error);
            } catch (const std::exception& failure) {
                longest = std::max(longest, std::string_view{failure.what()}.size());
            }
        }
        return longest;
    }

private:
    mutable std::mutex mutex_;
    int settled_ = 0;
    std::vector<std::exception_ptr> errors_;
};

// `failures`: how many of the crowd fail; the others are answered by the next process.
void check_all_settled(const Results& results, const Peak& peak, std::optional<int> failures) {
    CHECK(eventually([&] { return results.settled() == crowd; }, 3 * patience));
    CHECK(results.settled() == crowd);
    CHECK(results.failed() == failures.value_or(results.failed()));
    CHECK(results.longest_text() < 4096);
    CHECK((instrumented || peak.growth_kibibytes() < 64 * 1024));
}

// --- Workers

// What stands in the way of the crowd: a call that waits at the gate, and what comes after that.
struct Scene {
    Gate& gate;
    TestWorker& worker;
    std::stop_source& cancel;
};

struct End {
    const char* name;
    std::function<void(tether::WorkerOptions&)> prepare;
    std::function<void(TestWorker&)> before_the_crowd;  // the next call after the one that waits
    std::function<void(Scene)> act;
    std::optional<int> failures;
    tether::CallOptions<Number> options{};
};

void expect_failure(std::future<bool>& call) {
    try {
        call.get();
    } catch (const CallError& error) {
        CHECK(std::string_view{error.what()}.size() < 4096);
    }
}

template <class Request>
void send(TestWorker& worker, Request request) {
    worker.async_call(std::move(request), [](const std::exception_ptr&, auto&&...) {});
}

const auto nothing_more = [](tether::WorkerOptions&) {};
const auto no_other_call = [](TestWorker&) {};
const auto open_gate = [](const Scene& scene) { scene.gate.open(); };
const auto no_restart = [](tether::WorkerOptions& options) { options.restart.budget = 0; };
const auto stop_at_once = [](tether::WorkerOptions& options) {
    options.stop = {.drain = 0s, .terminate = 0s};
};

std::vector<End> ends() {
    const auto kill_process = [](const Scene& scene) {
        ::kill(static_cast<::pid_t>(scene.worker.pid()), SIGKILL);
    };
    const auto meddle = [](const char* kind) {
        return [kind](TestWorker& worker) { send(worker, Meddle{kind}); };
    };
    return {
        {"SIGKILL", no_restart, no_other_call, kill_process, crowd},
        {"SIGKILL, and they go on", nothing_more, no_other_call, kill_process, 0},
        {"abort", no_restart,
         [](TestWorker& worker) {
             send(worker, Signal{SIGABRT, {}});
         },
         open_gate, crowd},
        {"exit", no_restart,
         [](TestWorker& worker) {
             send(worker, Exit{3, "the last words"});
         },
         open_gate, crowd},
        {"framing", no_restart, meddle("garbage"), open_gate, crowd},
        {"a closed connection", no_restart, meddle("close"), open_gate,
         std::nullopt},  // what it has begun may be answered
        {"stop()", stop_at_once, no_other_call, [](const Scene& scene) { scene.worker.stop(); },
         crowd},
        {"kill()", nothing_more, no_other_call, [](const Scene& scene) { scene.worker.kill(); }, 0},
        {"restart()", stop_at_once, no_other_call,
         [](const Scene& scene) { scene.worker.restart(); }, 0},
        {"a deadline of all",
         nothing_more,
         no_other_call,
         [](const Scene&) {},
         crowd,
         {.timeout = 3s * slowness}},
        {"cancellation of all", nothing_more, no_other_call,
         [](const Scene& scene) { scene.cancel.request_stop(); }, crowd},
    };
}

TEST_CASE("10,000 calls are settled by whatever ends them", "[process][crowd][F90]") {
    const Census census;
    for (const auto& end : ends()) {
        CAPTURE(end.name);
        auto options = options_for();
        end.prepare(options);
        const TemporaryFolder folder;
        Gate gate{folder / "gate"};
        std::stop_source cancel;
        Results results;
        TestWorker worker{options};
        auto blocker = worker.async_call(Stall{gate.path()}, asio::use_future);
        REQUIRE(gate.hear_entered());
        end.before_the_crowd(worker);
        auto call_options = end.options;
        call_options.stop_token = cancel.get_token();
        for (int i = 0; i < crowd; ++i) {
            worker.async_call(
                Number{}, call_options,
                [&](const std::exception_ptr& error, std::uint64_t) { results.take(error); });
        }
        const Peak peak;
        end.act({gate, worker, cancel});
        check_all_settled(results, peak, end.failures);
        gate.open();
        expect_failure(blocker);
    }
}

TEST_CASE("10,000 calls are settled when their worker is replaced as stuck",
          "[process][crowd][F90]") {
    const Census census;
    auto options = options_for();
    options.restart.budget = 0;
    options.stuck.grace = 50ms;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    Results results;
    TestWorker worker{options};
    auto blocker =
        worker.async_call(Stall{gate.path()}, {.timeout = 4s * slowness}, asio::use_future);
    REQUIRE(gate.hear_entered());
    for (int i = 0; i < crowd; ++i) {
        worker.async_call(
            Number{}, [&](const std::exception_ptr& error, std::uint64_t) { results.take(error); });
    }
    const Peak peak;
    check_all_settled(results, peak, crowd);
    CHECK(error_of([&] { blocker.get(); }).code() == errc::timeout);
}

TEST_CASE("10,000 calls are settled when their worker does not start", "[process][crowd][F90]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    for (const bool killed : {true, false}) {
        CAPTURE(killed);
        auto options = options_for({"wait-in-constructor", gate.path()});
        options.restart.budget = 0;
        if (!killed) options.start_timeout = 3s * slowness;
        Results results;
        TestWorker worker{options};
        for (int i = 0; i < crowd; ++i) {
            worker.async_call(Number{}, [&](const std::exception_ptr& error, std::uint64_t) {
                results.take(error);
            });
        }
        REQUIRE(gate.hear_entered());
        const Peak peak;
        if (killed) {
            for (const auto pid : children_of_this_process()) {
                ::kill(static_cast<::pid_t>(pid), SIGKILL);
            }
        }
        check_all_settled(results, peak, crowd);
    }
}

#if !defined(TETHER_TEST_SANITIZED)  // a sanitizer owns the address space

TEST_CASE("a host without memory to spare survives the crash of a worker with 10,000 calls",
          "[process][crowd][F90]") {
    const Census census;
    CHECK(std::system(TETHER_HOSTS_DIR "/crowded") == 0);
}

#endif

// --- LoopbackWorker

struct Hold {
    static constexpr std::string_view name = "hold";
    using Response = void;
};
struct Pass {
    static constexpr std::string_view name = "pass";
    using Response = void;
};
struct HoldProtocol {
    static constexpr std::string_view name = "test.crowd.hold";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Hold, Pass>;
};

std::atomic<int> held{0};

class Holding final : public tether::Handler<HoldProtocol> {
    void handle(const Hold&, tether::CallContext<Hold>& call) override {
        ++held;
        static_cast<void>(eventually([&] { return call.stop_requested(); }, 10 * patience));
    }
    void handle(const Pass&, tether::CallContext<Pass>&) override {}
};
using HoldingWorker = tether::LoopbackWorker<HoldProtocol, Holding>;

TEST_CASE("10,000 calls of a LoopbackWorker are settled by whatever ends them",
          "[process][crowd][F90]") {
    struct LoopbackEnd {
        const char* name;
        std::function<void(HoldingWorker&, std::stop_source&)> act;
        tether::CallOptions<Pass> options{};
    };
    const LoopbackEnd loopback_ends[] = {
        {"stop()", [](HoldingWorker& worker, std::stop_source&) { worker.stop(); }},
        {"kill()", [](HoldingWorker& worker, std::stop_source&) { worker.kill(); }},
        {"restart()", [](HoldingWorker& worker, std::stop_source&) { worker.restart(); }},
        {"a deadline of all", [](HoldingWorker&, std::stop_source&) {}, {.timeout = 3s * slowness}},
        {"cancellation of all",
         [](HoldingWorker&, std::stop_source& cancel) { cancel.request_stop(); }},
    };
    for (const auto& end : loopback_ends) {
        CAPTURE(end.name);
        held = 0;
        std::stop_source cancel;
        Results results;
        HoldingWorker worker;
        auto blocker = worker.async_call(Hold{}, asio::use_future);
        REQUIRE(eventually([&] { return held == 1; }));
        auto options = end.options;
        options.stop_token = cancel.get_token();
        for (int i = 0; i < crowd; ++i) {
            worker.async_call(Pass{}, options,
                              [&](const std::exception_ptr& error) { results.take(error); });
        }
        const Peak peak;
        end.act(worker, cancel);
        check_all_settled(results, peak, crowd);
        worker.stop();
        CHECK_THROWS_AS(blocker.get(), CallError);
    }
}

}  // namespace
}  // namespace tether_test::crowd_test
