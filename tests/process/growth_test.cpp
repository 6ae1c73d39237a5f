// What has been answered leaves nothing behind, on neither side, however many calls there were and
// though others are always on their way.

#include <asio/use_future.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <stop_token>
#include <string>
#include <utility>

#include <unistd.h>

#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::growth_test {
namespace {

#if !defined(TETHER_TEST_SANITIZED)  // a sanitizer keeps what was freed

/// Counted page by page, unlike the numbers in its status.
std::uint64_t own_kibibytes(std::int64_t pid) {
    const auto memory = read_file("/proc/" + std::to_string(pid) + "/smaps_rollup");
    const auto at = memory.find("Anonymous:");
    REQUIRE(at != std::string::npos);
    return std::stoull(memory.substr(at + 10));
}

/// Keeps 64 calls on their way.
void stream(TestWorker& worker, const Echo& request, int calls) {
    std::deque<std::future<Echoed>> under_way;
    for (int i = 0; i < calls; ++i) {
        under_way.push_back(worker.async_call(request, asio::use_future));
        if (under_way.size() < 64) continue;
        under_way.front().get();
        under_way.pop_front();
    }
    for (auto& one : under_way) one.get();
}

void cancel(TestWorker& worker, int calls) {
    for (int i = 0; i < calls; ++i) {
        std::stop_source stop;
        auto call =
            worker.async_call(Nothing{}, {.stop_token = stop.get_token()}, asio::use_future);
        stop.request_stop();
        try {
            call.get();
        } catch (const CallError& error) {
            CHECK(error.code() == errc::cancelled);
        }
        // The worker must not fall behind: what waits for it is no growth.
        if (i % 64 == 63) worker.call(Nothing{});
    }
    worker.call(Nothing{});
}

struct Load {
    const char* what;
    int calls;
    std::uint64_t allowed;  // more KiB after four times as many calls
    std::function<void(TestWorker&, int)> run;
};

TEST_CASE("memory does not grow with the number of calls", "[process][growth]") {
    const auto load = GENERATE(Load{"one at a time", 5'000, 512,
                                    [](TestWorker& worker, int calls) {
                                        while (calls-- > 0) worker.call(Add{1, 2});
                                    }},
                               Load{"64 on their way", 5'000, 512,
                                    [](TestWorker& worker, int calls) {
                                        stream(worker, {std::string(100, 'x'), {}}, calls);
                                    }},
                               Load{"64 in several frames", 200, 32'768,
                                    [](TestWorker& worker, int calls) {
                                        stream(worker, {"", tether::Bytes{300'000}}, calls);
                                    }},
                               Load{"cancelled", 3'000, 512, cancel});
    const Census census;
    TestWorker worker{options_for()};
    load.run(worker, load.calls);
    const auto parent_before = own_kibibytes(::getpid());
    const auto worker_before = own_kibibytes(worker.pid());
    load.run(worker, 4 * load.calls);
    const auto parent_after = own_kibibytes(::getpid());
    const auto worker_after = own_kibibytes(worker.pid());
    INFO(load.what << ", KiB: parent " << parent_before << " to " << parent_after << ", worker "
                   << worker_before << " to " << worker_after);
    CHECK(parent_after < parent_before + load.allowed);
    CHECK(worker_after < worker_before + load.allowed);
}

#endif

}  // namespace
}  // namespace tether_test::growth_test
