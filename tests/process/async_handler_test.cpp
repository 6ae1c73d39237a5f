// Handlers that wait without a thread, in a process and in a LoopbackWorker. That a caller sees no
// difference otherwise is shown by live_test.cpp, whose tests run over such a handler as well.

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <csignal>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "process/async_protocol.hpp"
#include "process/host_process.hpp"
#include "process/support/worker_under_test.hpp"

namespace tether_test::async_handler_test {
namespace {

using AsyncWorker = tether::Worker<AsyncProtocol>;
using AsyncLoopback = tether::LoopbackWorker<AsyncProtocol, Waiting>;
using AnyAsync = tether::AnyWorker<AsyncProtocol>;

tether::WorkerOptions options_of(unsigned concurrency = 1, unsigned calls_in_work = 0) {
    auto options = options_for({"waits"});
    options.concurrency = concurrency;
    options.calls_in_work = calls_in_work;
    return options;
}

/// A worker of either kind.
struct Site {
    explicit Site(tether::WorkerOptions options = options_of()) {
        if (GENERATE(true, false)) {
            process = std::make_unique<AsyncWorker>(std::move(options));
            any.emplace(*process);
        } else {
            loopback = std::make_unique<AsyncLoopback>(std::move(options));
            any.emplace(*loopback);
        }
    }
    AnyAsync* operator->() { return &*any; }
    void stop() {
        process != nullptr ? static_cast<void>(process->stop())
                           : static_cast<void>(loopback->stop());
    }

    std::unique_ptr<AsyncWorker> process;
    std::unique_ptr<AsyncLoopback> loopback;
    std::optional<AnyAsync> any;
};

constexpr std::int64_t for_ever = 600'000;

std::vector<std::future<std::int64_t>> nap(Site& site, int count, std::int64_t ms) {
    std::vector<std::future<std::int64_t>> naps;
    for (int i = 0; i < count; ++i) {
        naps.push_back(site->async_call(Nap{ms}, asio::use_future));
    }
    return naps;
}

std::future<std::int64_t> nap(AsyncWorker& worker, std::int64_t ms) {
    return worker.async_call(Nap{ms}, asio::use_future);
}

TEST_CASE("many calls wait on one thread", "[process][async_handler]") {
    Site site;
    std::stop_source source;
    std::vector<std::future<std::int64_t>> naps;
    for (int i = 0; i < 500; ++i) {
        naps.push_back(
            site->async_call(Nap{for_ever}, {.stop_token = source.get_token()}, asio::use_future));
    }
    CHECK(eventually([&] { return site->call(CountNaps{}).most == 500; }));
    CHECK(site->call(CountNaps{}).threads == 1);
    source.request_stop();
    for (auto& nap : naps) CHECK_THROWS_AS(nap.get(), CallError);
}

TEST_CASE("calls of coroutines run on as many threads as concurrency says",
          "[process][async_handler]") {
    Site site{options_of(3)};
    REQUIRE(eventually([&] {
        for (auto& done : nap(site, 60, 1)) done.get();
        return site->call(CountNaps{}).threads == 3;
    }));
    CHECK(site->call(CountNaps{}).threads == 3);
}

TEST_CASE("calls_in_work bounds the calls that are begun", "[process][async_handler]") {
    Site site{options_of(2, 5)};
    for (auto& done : nap(site, 40, 5)) CHECK(done.get() == 5);
    CHECK(site->call(CountNaps{}).most == 5);
}

TEST_CASE("a call that waits for its turn can be cancelled", "[process][async_handler]") {
    Site site{options_of(1, 1)};
    auto first = nap(site, 1, 300);
    std::stop_source source;
    auto second =
        site->async_call(Nap{for_ever}, {.stop_token = source.get_token()}, asio::use_future);
    auto third = nap(site, 1, 1);
    source.request_stop();
    CHECK_THROWS_AS(second.get(), CallError);
    CHECK(third.front().get() == 1);
    CHECK(first.front().get() == 300);
    CHECK(site->call(CountNaps{}).cancelled == 0);
}

TEST_CASE("a coroutine that waits is cancelled with its call", "[process][async_handler]") {
    Site site;
    CHECK(site->call(CountNaps{}).now == 0);  // its worker is there
    const auto cancelled = [&](std::int64_t count) {
        return eventually([&] {
            const auto naps = site->call(CountNaps{});
            return naps.cancelled == count && naps.now == 0;
        });
    };
    SECTION("by its timeout") {
        CHECK(error_of([&] {
                  site->call(Nap{for_ever}, {.timeout = expires_in_handler});
              }).cause() == errc::timeout);
    }
    SECTION("by its run timeout") {
        CHECK(error_of([&] { site->call(Nap{for_ever}, {.run_timeout = 50ms}); }).cause() ==
              errc::timeout);
    }
    SECTION("by a stop token") {
        std::stop_source source;
        auto done =
            site->async_call(Nap{for_ever}, {.stop_token = source.get_token()}, asio::use_future);
        REQUIRE(eventually([&] { return site->call(CountNaps{}).now == 1; }));
        source.request_stop();
        CHECK_THROWS_AS(done.get(), CallError);
    }
    CHECK(cancelled(1));
}

TEST_CASE("a worker whose calls wait is stopped", "[process][async_handler]") {
    Site site;
    auto naps = nap(site, 20, for_ever);
    REQUIRE(eventually([&] { return site->call(CountNaps{}).now == 20; }));
    site.stop();
    for (auto& done : naps) CHECK_THROWS_AS(done.get(), CallError);
    if (site.process == nullptr) return;
    const auto report = site.process->last_exit();
    REQUIRE(report);
    CHECK(to_string(report->status) == "exited with code 0");
}

TEST_CASE("a worker whose calls wait ends with its parent's connection",
          "[process][async_handler]") {
    AsyncWorker worker{options_of()};
    auto done = worker.async_call(Nap{for_ever}, asio::use_future);
    REQUIRE(eventually([&] { return worker.call(CountNaps{}).now == 1; }));
    worker.kill();
    CHECK_THROWS_AS(done.get(), CallError);
    CHECK(worker.call(Nap{1}) == 1);
}

TEST_CASE("what a coroutine throws is its caller's error", "[process][async_handler]") {
    Site site;
    const bool before = GENERATE(true, false);
    try {
        site->call(Fail{before});
        FAIL("no error");
    } catch (const RemoteError& error) {
        CHECK(error.causes().front().message == "no more of this");
    }
    CHECK(site->call(Nap{1}) == 1);
}

TEST_CASE("a coroutine asks several questions at once", "[process][async_handler]") {
    Site site;
    const auto asked = std::make_shared<std::atomic<int>>(0);
    SECTION("and has all answers") {
        site->provide<Wish>([](const Wish& wish) { return wish.number; });
        CHECK(site->call(AskAll{100, 0}) == 4950);
        CHECK(site->call(AskAll{3000, 0}) == 4498500);  // more than may be open at once
    }
    SECTION("and the parent provides no answer") {
        CHECK_THROWS_AS(site->call(AskAll{3, 0}), RemoteError);
    }
    SECTION("and one has no answer in time") {
        // The function has its executor to itself, where it waits until the end.
        std::promise<void> over;
        std::thread runner;
        asio::io_context context;
        auto work = asio::make_work_guard(context);
        runner = std::thread{[&] { context.run(); }};
        site->provide<Wish>(context.get_executor(),
                            [&, future = over.get_future().share()](const Wish&) {
                                future.wait();
                                return std::int64_t{1};
                            });
        const auto text = [&]() -> std::string {
            try {
                site->call(AskAll{2, 50});
            } catch (const std::exception& error) {
                return error.what();
            }
            return {};
        }();
        CHECK(text.find("no answer within 50 ms") != text.npos);
        over.set_value();
        work.reset();
        runner.join();
    }
    CHECK(site->call(Nap{1}) == 1);
}

TEST_CASE("a call of a coroutine sends one item at a time", "[process][async_handler]") {
    Site site;
    auto stream = site->stream(Crowd{});
    int items = 0;
    for (const auto& item : stream) items += item.empty() ? 0 : 1;
    CHECK(items == 1);
    CHECK(stream.response() == "a call has one operation of a kind at a time");
}

TEST_CASE("an item of a coroutine that is too large is its handler's error",
          "[process][async_handler]") {
    auto options = options_of();
    options.max_message_bytes = 4096;
    Site site{options};
    auto stream = site->stream(TooLarge{5000});
    CHECK_FALSE(stream.next());
    CHECK(stream.response().find("the limit is 4096") != std::string::npos);
    CHECK(site->call(Nap{1}) == 1);
}

TEST_CASE("a wait that begins when its worker is being stopped", "[process][async_handler]") {
    Site site{options_of(2)};
    auto stream = site->stream(Late{});
    REQUIRE(eventually([&] { return site->call(CountNaps{}).now == 1; }));
    site.stop();
    CHECK_THROWS_AS(stream.response(), CallError);
    if (site.process == nullptr) return;
    CHECK(to_string(site.process->last_exit()->status) == "exited with code 0");
}

TEST_CASE("a coroutine that was never told to stop is answered", "[process][async_handler]") {
    AsyncWorker worker{options_of()};
    std::promise<void> begun;
    const auto on_progress = [&](const Plod::Progress&) { begun.set_value(); };
    auto done = worker.async_call(Plod{300}, {.on_progress = on_progress}, asio::use_future);
    begun.get_future().get();
    REQUIRE(::kill(static_cast<::pid_t>(worker.pid()), SIGTERM) == 0);
    CHECK(done.get() == 300);
    CHECK(worker.generation() == 1);
}

TEST_CASE("a coroutine that ignores its end takes no other call with it",
          "[process][async_handler]") {
    auto options = options_of();
    options.stuck.grace = 50ms;
    AsyncWorker worker{options};
    CHECK(worker.call(Nap{1}) == 1);  // it is there
    auto healthy = nap(worker, 1500 * slowness);
    CHECK(error_of([&] {
              worker.call(Ignore{for_ever}, {.timeout = expires_in_handler});
          }).cause() == errc::timeout);
    CHECK(healthy.get() == 1500 * slowness);
    CHECK(worker.call(Nap{1}) == 1);
    CHECK(worker.generation() == 2);
}

TEST_CASE("a worker whose coroutine has no memory is replaced", "[process][async_handler]") {
    AsyncWorker worker{options_of()};
    CHECK_THROWS_AS(worker.call(Exhaust{}), CallError);
    CHECK(worker.call(Nap{1}) == 1);
    CHECK(worker.generation() == 2);
}

TEST_CASE("thousands of calls wait for their turn", "[process][async_handler]") {
    auto options = options_for({"dozes"});
    options.calls_in_work = 1;
    tether::Worker<PlainAsyncProtocol> worker{options};
    std::vector<std::future<std::int64_t>> all;
    for (int i = 0; i < 5000; ++i) all.push_back(worker.async_call(Doze{0}, asio::use_future));
    for (auto& done : all) CHECK(done.get() == 0);
}

TEST_CASE("a coroutine's parent that has no room for a call says so at once",
          "[process][async_handler]") {
    Site site{options_of(2, 1)};
    site->provide<Wish>([&](const Wish& wish) { return site->call(Nap{wish.number}); });
    try {
        site->call(AskAll{1, 0});
        FAIL("no error");
    } catch (const RemoteError& error) {
        CHECK(std::string{error.what()}.find("no other for this call") != std::string::npos);
    }
}

TEST_CASE("a coroutine may call its parent's worker again by a question",
          "[process][async_handler]") {
    Site site;
    site->provide<Wish>([&](const Wish& wish) { return site->call(Nap{wish.number}); });
    CHECK(site->call(AskAll{3, 0}) == 3);
}

TEST_CASE("one that computes holds up its thread, not the reading", "[process][async_handler]") {
    Site site;
    CHECK(site->call(CountNaps{}).now == 0);  // its worker is there
    CHECK(error_of([&] { site->call(Toil{for_ever}, {.timeout = expires_in_handler}); }).cause() ==
          errc::timeout);
    CHECK(site->call(Nap{1}) == 1);
}

TEST_CASE("a plain protocol may be served by coroutines", "[process][async_handler]") {
    auto options = options_for({"dozes"});
    tether::Worker<PlainAsyncProtocol> worker{options};
    std::vector<std::future<std::int64_t>> all;
    for (int i = 0; i < 200; ++i) all.push_back(worker.async_call(Doze{20}, asio::use_future));
    for (auto& done : all) CHECK(done.get() == 20);
    tether::LoopbackWorker<PlainAsyncProtocol, PlainAsyncHandler> loopback;
    CHECK(loopback.call(Doze{2}) == 2);
}

TEST_CASE("workers whose calls wait are killed again and again", "[process][async_handler]") {
    auto options = options_of(2, 64);
    options.restart.budget = 1'000'000;
    options.restart.initial_pause = 1ms;
    options.restart.max_pause = 5ms;
    AsyncWorker worker{options};
    for (int round = 0; round < 30; ++round) {
        std::vector<std::future<std::int64_t>> naps;
        for (int i = 0; i < 100; ++i) {
            naps.push_back(worker.async_call(Nap{i % 7}, asio::use_future));
        }
        if (const auto pid = static_cast<::pid_t>(worker.pid()); pid != 0) ::kill(pid, SIGKILL);
        for (auto& done : naps) {
            try {
                done.get();
            } catch (const CallError& error) {
                const bool killed = error.cause() == errc::worker_killed ||
                                    error.cause() == errc::start_failed;  // while it started
                CHECK(killed);
            }
        }
    }
    CHECK(worker.call(Nap{1}) == 1);
}

}  // namespace
}  // namespace tether_test::async_handler_test
