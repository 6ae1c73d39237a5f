// Lets each allocation that a call makes on its caller's thread fail in turn, in a Worker and in a
// LoopbackWorker. Exits with 0 when each such call ended in one way or another, and the next
// worked.

#include <tether/loopback_worker.hpp>
#include <tether/tether.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace {

constexpr int never = -1;
thread_local int allocations_left = never;  // until one fails
std::atomic<int> failures{0};

}  // namespace

void* operator new(std::size_t size) {
    if (allocations_left != never && allocations_left-- == 0) {
        ++failures;
        throw std::bad_alloc{};
    }
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc{};
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

struct Echo {
    static constexpr std::string_view name = "echo";
    using Response = std::string;
    static constexpr bool idempotent = true;
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Echo, text)

struct EchoProtocol {
    static constexpr std::string_view name = "tether.test.starved";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo>;
    using Codec = tether::DirectCodec;
};

class Echoing final : public tether::Handler<EchoProtocol> {
    std::string handle(const Echo& request, tether::CallContext<Echo>&) override {
        return request.text;
    }
};

/// What act() throws is as good as its success, since nothing but memory is missing.
template <class Act>
void starve(int allocations, Act act) {
    allocations_left = allocations;
    try {
        act();
    } catch (const std::exception&) {
    }
    allocations_left = never;
}

template <class AnyWorker>
void call(AnyWorker& worker, const Echo& request, int allocations) {
    starve(allocations, [&] { worker.call(request); });
}

/// Its handler is called, or destroyed where the call was never begun.
template <class AnyWorker>
void async_call(AnyWorker& worker, const Echo& request, int allocations) {
    std::future<void> ended;
    {
        auto done = std::make_shared<std::promise<void>>();
        ended = done->get_future();
        auto handler = [done = std::move(done)](std::exception_ptr, const std::string&) {
            done->set_value();
        };
        starve(allocations, [&] { worker.async_call(request, std::move(handler)); });
    }
    if (ended.wait_for(std::chrono::seconds{30}) != std::future_status::ready) std::abort();
}

/// False: no call in this process fails any more, and yet one does.
template <class AnyWorker, class Call>
bool survives(AnyWorker& worker, std::size_t size, Call one_call) {
    const Echo request{std::string(size, 'x')};
    for (int allocations = 0;; ++allocations) {
        const auto before = failures.load();
        one_call(worker, request, allocations);
        if (failures == before) return true;  // it makes no more than that
        if (worker.call(request) != request.text) return false;
    }
}

template <class AnyWorker>
bool survives(AnyWorker& worker) {
    for (const auto size : {std::size_t{10}, std::size_t{400'000}}) {
        worker.call(Echo{std::string(size, 'x')});
        if (!survives(worker, size, call<AnyWorker>)) return false;
        if (!survives(worker, size, async_call<AnyWorker>)) return false;
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Echoing>(argc, argv)) return *exit_code;
    tether::Worker<EchoProtocol> worker;
    tether::LoopbackWorker<EchoProtocol, Echoing> loopback;
    const bool survived = survives(worker) && survives(loopback);
    std::printf("%d allocations failed\n", failures.load());
    return survived ? 0 : 1;
}
