// Handlers that call the worker that they serve.
#include <tether/loopback_worker.hpp>

#include <chrono>
#include <cstdint>
#include <string_view>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace loopback_deadlock_test {

namespace {

using namespace std::chrono_literals;
using tether::CallError;
using tether::errc;

/// The handler calls its own worker so many times, one within the other; the innermost answers 0.
struct Dive {
    static constexpr std::string_view name = "dive";
    using Response = int;
    int depth{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Dive, depth)

struct DiveProtocol {
    static constexpr std::string_view name = "test.dive";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Dive>;
};

class Diver;
using DiveWorker = tether::LoopbackWorker<DiveProtocol, Diver>;
DiveWorker* the_worker = nullptr;

class Diver final : public tether::Handler<DiveProtocol> {
public:
    int handle(const Dive& request, tether::CallContext<Dive>&) override;
};

int Diver::handle(const Dive& request, tether::CallContext<Dive>&) {
    if (request.depth == 0) return 0;
    try {
        return 1 + the_worker->call(Dive{request.depth - 1}, {.timeout = 60s});
    } catch (const CallError& error) {
        if (error.code() == errc::would_deadlock) return -100;
        throw;
    }
}

}  // namespace

TEST_CASE("a handler that would wait for itself is told at once") {
    for (const int concurrency : {1, 2, 5}) {
        CAPTURE(concurrency);
        DiveWorker worker{tether::WorkerOptions{.concurrency = static_cast<unsigned>(concurrency)}};
        the_worker = &worker;
        const auto start = std::chrono::steady_clock::now();
        CHECK(worker.call(Dive{0}) == 0);
        CHECK(worker.call(Dive{concurrency - 1}) == concurrency - 1);
        CHECK(worker.call(Dive{concurrency}) == concurrency - 1 - 100);
        CHECK(worker.call(Dive{1000}) == concurrency - 1 - 100);
        CHECK(worker.call(Dive{concurrency - 1}) == concurrency - 1);  // none is left counted
        CHECK((std::chrono::steady_clock::now() - start < 20s));
    }
}

TEST_CASE("handlers that call their worker at the same time never wait for ever") {
    DiveWorker worker{tether::WorkerOptions{.concurrency = 4}};
    the_worker = &worker;
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::jthread> callers;
    for (int thread = 0; thread < 6; ++thread) {
        callers.emplace_back([&] {
            for (int i = 0; i < 50; ++i) static_cast<void>(worker.call(Dive{i % 5}));
        });
    }
    callers.clear();
    CHECK((std::chrono::steady_clock::now() - start < 30s));
    CHECK(worker.call(Dive{3}) == 3);
}

}  // namespace loopback_deadlock_test
