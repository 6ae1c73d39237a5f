// Counts what a small call allocates, on both sides, once they have warmed up. Exits with 0 when
// that is nothing.

#include <tether/tether.hpp>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string_view>

namespace {

std::atomic<std::int64_t> allocations{0};

}  // namespace

void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc{};
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

/// Has no members, and so no need of a document to encode it.
struct Nothing {
    static constexpr std::string_view name = "nothing";
    using Response = void;
};

/// How often the worker has allocated.
struct Allocations {
    static constexpr std::string_view name = "allocations";
    using Response = std::int64_t;
};

struct CountingProtocol {
    static constexpr std::string_view name = "tether.test.allocations";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Nothing, Allocations>;
};

class Counting final : public tether::Handler<CountingProtocol> {
    void handle(const Nothing&, tether::CallContext<Nothing>&) override {}
    std::int64_t handle(const Allocations&, tether::CallContext<Allocations>&) override {
        return allocations;
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Counting>(argc, argv)) return *exit_code;
    tether::Worker<CountingProtocol> worker;
    const auto call_often = [&] {
        for (int i = 0; i < 1000; ++i) worker.call(Nothing{});
    };
    call_often();
    worker.call(Allocations{});
    const auto asked = worker.call(Allocations{});
    const auto for_asking = worker.call(Allocations{}) - asked;

    const auto before_there = worker.call(Allocations{});
    const auto before_here = allocations.load();
    call_often();
    const auto here = allocations.load() - before_here;
    const auto there = worker.call(Allocations{}) - before_there - for_asking;

    std::printf("1000 calls: %lld allocations here, %lld in the worker\n",
                static_cast<long long>(here), static_cast<long long>(there));
    return here == 0 && there == 0 ? 0 : 1;
}
