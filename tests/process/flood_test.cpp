// What a worker sends that was not asked for harms itself only: it is a framing error, whatever it
// is and however fast it comes, and takes no memory of its parent's.

#include <tether/detail/os/os.hpp>

#include <asio/use_future.hpp>

#include <future>
#include <string>
#include <vector>

#include "process/support/worker_under_test.hpp"

namespace tether_test::flood_test {
namespace {

TEST_CASE("a worker that floods its parent is replaced, and others notice nothing",
          "[process][flood][F111]") {
    const Census census;
    const auto transport = each_transport();
    TestWorker other{options_for()};
    other.call(Nothing{});
    for (const std::string kind : {"flood_half", "flood_aborts", "flood_records"}) {
        CAPTURE(kind);
        TestWorker worker{options_for(transport)};
        worker.call(Nothing{});
        const auto before = resident_kibibytes();
        auto flooding = worker.async_call(Meddle{kind}, asio::use_future);
        while (flooding.wait_for(0s) != std::future_status::ready) {
            REQUIRE(other.call(Add{1, 2}, {.timeout = soon}) == 3);
        }
        const auto error = error_of([&] { flooding.get(); });
        INFO(error.what());
        CHECK(error.code() == errc::framing);
        // Those of sanitizers have a shadow.
        CHECK((instrumented || resident_kibibytes() < before + 32 * 1024));
        CHECK(worker.call(Add{1, 2}) == 3);
    }
}

TEST_CASE("a worker that sends its answer byte by byte holds up no deadline",
          "[process][flood][F111]") {
    const Census census;
    const auto transport = each_transport();
    TestWorker other{options_for()};
    other.call(Nothing{});
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto held = other.async_call(Stall{gate.path()}, asio::use_future);
    REQUIRE(gate.hear_entered());
    const auto before = resident_kibibytes();
    auto flooding = worker.async_call(Meddle{"flood_pieces"}, asio::use_future);
    for (auto* called : {&worker, &other}) {
        const Stopwatch time;
        auto expires = called->async_call(Nothing{}, {.timeout = 100ms}, asio::use_future);
        const auto blocking = error_of([&] { called->call(Nothing{}, {.timeout = 100ms}); });
        CHECK(blocking.code() == errc::timeout);
        CHECK(error_of([&] { expires.get(); }).code() == errc::timeout);
        CHECK(time.elapsed() < soon);
    }
    // It claims 64 MiB.
    CHECK((instrumented || resident_kibibytes() < before + 96 * 1024));
    worker.kill();
    CHECK_THROWS_AS(flooding.get(), CallError);
    CHECK(worker.call(Add{1, 2}) == 3);
    gate.open();
    CHECK(held.get());
}

TEST_CASE("a worker that sounds the alarm without end holds up no deadline",
          "[process][flood][F105][F111]") {
    if (!tether::detail::watches_closed_files) return;
    const Census census;
    TestWorker other{options_for()};
    other.call(Nothing{});
    TestWorker worker{options_for({"keep-alarm"})};
    worker.call(Nothing{});
    auto flooding = worker.async_call(Meddle{"flood_alarm"}, asio::use_future);
    for (int i = 0; i < 20; ++i) {
        const Stopwatch time;
        CHECK(other.async_call(Add{1, i}, asio::use_future).get() == 1 + i);
        auto expires = worker.async_call(Nothing{}, {.timeout = 20ms}, asio::use_future);
        CHECK(error_of([&] { expires.get(); }).code() == errc::timeout);
        CHECK(time.elapsed() < soon);
    }
    CHECK(worker.generation() == 1);
    worker.kill();
    CHECK_THROWS_AS(flooding.get(), CallError);
    CHECK(other.generation() == 1);
}

}  // namespace
}  // namespace tether_test::flood_test
