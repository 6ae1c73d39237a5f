// Cancelling calls: by stop token, by cancellation slot, at every stage.

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/use_future.hpp>

#include <future>
#include <stop_token>
#include <thread>

#include "process/support/worker_under_test.hpp"

namespace tether_test::cancellation_test {
namespace {

TEST_CASE("a call that is cancelled before it is made leaves no trace", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    const auto effect = folder / "effect";
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    std::stop_source source;
    source.request_stop();

    const auto error = error_of([&] {
        worker.call(SideEffect{effect, 0}, {.stop_token = source.get_token()});
    });
    CHECK(error.code() == errc::cancelled);
    CHECK(error.code() == std::errc::operation_canceled);
    auto result = worker.async_call(SideEffect{effect, 0}, {.stop_token = source.get_token()},
                                    asio::use_future);
    CHECK(error_of([&] { result.get(); }).code() == errc::cancelled);

    worker.call(Nothing{});
    CHECK(count_lines(effect) == 0);
}

TEST_CASE("a stop token ends a running call at once and tells its handler", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    std::stop_source source;

    SECTION("a blocking call") {
        auto result = std::async(std::launch::async, [&] {
            return error_of([&] {
                worker.call(Await{gate.path(), true}, {.stop_token = source.get_token()});
            });
        });
        REQUIRE(gate.hear_entered());
        source.request_stop();
        const auto error = result.get();
        INFO(error.what());
        CHECK(error.code() == errc::cancelled);
        CHECK(error.code() == errc::outcome_unknown);
        CHECK(contains(error.what(), "await"));
    }
    SECTION("an async call") {
        auto result = worker.async_call(Await{gate.path(), true},
                                        {.stop_token = source.get_token()}, asio::use_future);
        REQUIRE(gate.hear_entered());
        source.request_stop();
        CHECK(error_of([&] { result.get(); }).code() == errc::cancelled);
    }
    CHECK(gate.hear(Gate::stopped));
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 1);
}

TEST_CASE("cancelling does not wait for the handler", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    std::stop_source source;
    auto result = std::async(std::launch::async, [&] {
        return error_of([&] {
            worker.call(Await{gate.path(), false}, {.stop_token = source.get_token()});
        });
    });
    REQUIRE(gate.hear_entered());
    const Stopwatch watch;
    source.request_stop();
    CHECK(result.get().code() == errc::cancelled);
    CHECK(watch.elapsed() < soon);

    gate.open();
    CHECK(worker.call(Add{1, 2}) == 3);  // and not the late answer
}

TEST_CASE("the handler's stop_token() runs callbacks", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    for (int round = 0; round < 3; ++round) {
        std::stop_source source;
        auto result = worker.async_call(AwaitToken{gate.path()}, {.stop_token = source.get_token()},
                                        asio::use_future);
        REQUIRE(gate.hear_entered());
        source.request_stop();
        CHECK(error_of([&] { result.get(); }).code() == errc::cancelled);
        CHECK(gate.hear(Gate::stopped));
    }
    // A deadline is told in the same way.
    CHECK(error_of([&] {
              worker.call(AwaitToken{gate.path()}, {.timeout = expires_in_handler});
          }).code() == errc::timeout);
    CHECK(gate.hear(Gate::stopped));
}

// The worker has seen all cancellations so far when it has told a running handler of a later one.
class Barrier {
public:
    explicit Barrier(TestWorker& worker, Gate& gate)
        : gate_(gate),
          call_(worker.async_call(Await{gate.path(), false}, {.stop_token = source_.get_token()},
                                  asio::use_future)) {
        REQUIRE(gate_.hear_entered());
    }
    void pass() {
        source_.request_stop();
        CHECK(error_of([&] { call_.get(); }).code() == errc::cancelled);
        REQUIRE(gate_.hear(Gate::stopped));
        gate_.open();
    }

private:
    std::stop_source source_;
    Gate& gate_;
    std::future<bool> call_;
};

TEST_CASE("a request that waits in the worker is not handled once cancelled", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const auto effect = folder / "effect";
    TestWorker worker{options_for(transport)};
    Barrier barrier{worker, gate};
    std::stop_source source;
    auto second = worker.async_call(SideEffect{effect, 0}, {.stop_token = source.get_token()},
                                    asio::use_future);
    auto third = worker.async_call(Add{1, 2}, asio::use_future);

    source.request_stop();
    CHECK(error_of([&] { second.get(); }).code() == errc::cancelled);
    barrier.pass();

    CHECK(third.get() == 3);
    CHECK(count_lines(effect) == 0);
}

TEST_CASE("thousands of cancelled requests", "[process][cancel]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const auto effect = folder / "effect";
    TestWorker worker{options_for(each_transport())};
    Barrier barrier{worker, gate};
    std::stop_source source;
    std::vector<std::future<std::int64_t>> cancelled;
    for (int i = 0; i < 3000; ++i) {
        cancelled.push_back(worker.async_call(
            SideEffect{effect, 0}, {.stop_token = source.get_token()}, asio::use_future));
    }

    source.request_stop();
    for (auto& result : cancelled) {
        REQUIRE(error_of([&] { result.get(); }).code() == errc::cancelled);
    }
    barrier.pass();

    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(count_lines(effect) == 0);
}

TEST_CASE("the cancellation slot ends a call", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    using Type = asio::cancellation_type;
    for (const auto type : {Type::terminal, Type::partial, Type::all}) {
        const TemporaryFolder folder;
        Gate gate{folder / "gate"};
        asio::io_context context;
        TestWorker worker{context, options_for(transport)};
        asio::cancellation_signal signal;
        int completions = 0;
        std::exception_ptr failure;
        worker.async_call(
            Await{gate.path(), true},
            asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error, bool) {
                ++completions;
                failure = error;
            }));
        REQUIRE(gate.hear_entered());
        signal.emit(type);
        CHECK(completions == 0);  // never inside emit
        context.run_for(patience);

        CHECK(completions == 1);
        CHECK(error_of([&] { std::rethrow_exception(failure); }).code() == errc::cancelled);
        CHECK(gate.hear(Gate::stopped));
        signal.emit(type);  // nobody is there any more
    }
}

TEST_CASE("total cancellation spares what has left", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    asio::io_context context;
    TestWorker worker{context, options_for(transport)};
    asio::cancellation_signal signal;
    std::optional<bool> answer;
    worker.async_call(
        Await{gate.path(), true},
        asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr error, bool stop_seen) {
            if (!error) answer = stop_seen;
        }));
    REQUIRE(gate.hear_entered());

    signal.emit(asio::cancellation_type::total);
    context.run_for(100ms);
    CHECK_FALSE(answer.has_value());
    gate.open();
    context.run_for(patience);

    CHECK(answer == false);
}

TEST_CASE("a call that waits for the next start can be cancelled", "[process][cancel]") {
    const Census census;
    auto options = options_for({"abort"}, each_transport());
    options.restart.budget = 100;
    options.restart.initial_pause = patience;
    options.restart.max_pause = patience;
    TestWorker worker{options};
    CHECK_THROWS_AS(worker.call(Nothing{}), CallError);
    CHECK_THROWS_AS(worker.call(Nothing{}), CallError);
    std::stop_source source;

    SECTION("a blocking call") {
        auto result = std::async(std::launch::async, [&] {
            return error_of([&] { worker.call(Nothing{}, {.stop_token = source.get_token()}); });
        });
        CHECK(result.wait_for(50ms) == std::future_status::timeout);
        source.request_stop();
        CHECK(result.get().code() == errc::cancelled);
    }
    SECTION("an async call") {
        auto result =
            worker.async_call(Nothing{}, {.stop_token = source.get_token()}, asio::use_future);
        CHECK(result.wait_for(50ms) == std::future_status::timeout);
        source.request_stop();
        CHECK(error_of([&] { result.get(); }).code() == errc::cancelled);
    }
    SECTION("an async call, by stop()") {
        auto result = worker.async_call(Nothing{}, asio::use_future);
        CHECK(result.wait_for(50ms) == std::future_status::timeout);
        worker.stop();
        CHECK(error_of([&] { result.get(); }).code() == errc::stopped);
    }
    SECTION("by its own deadline") {
        auto result = worker.async_call(Nothing{}, {.timeout = 50ms}, asio::use_future);
        CHECK(error_of([&] { result.get(); }).code() == errc::timeout);
        CHECK(error_of([&] { worker.call(Nothing{}, {.timeout = 50ms}); }).code() == errc::timeout);
    }
}

TEST_CASE("cancelling in the middle of a large request", "[process][cancel]") {
    const Census census;
    const auto transport = each_transport();
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    const auto pid = static_cast<::pid_t>(worker.pid());
    ::kill(pid, SIGSTOP);
    REQUIRE(eventually([&] { return process_state(pid) == 'T'; }));
    std::stop_source source;
    auto first = worker.async_call(Echo{"", patterned(16 << 20)},
                                   {.stop_token = source.get_token()}, asio::use_future);
    auto second = std::async(std::launch::async, [&] {
        const Echo large{"", patterned(16 << 20)};
        return error_of([&] { worker.call(large, {.stop_token = source.get_token()}); });
    });
    auto third = worker.async_call(Echo{"third", patterned(2 << 20)}, asio::use_future);
    CHECK(second.wait_for(100ms) == std::future_status::timeout);

    source.request_stop();
    CHECK(error_of([&] { first.get(); }).code() == errc::cancelled);
    CHECK(second.get().code() == errc::cancelled);
    ::kill(pid, SIGCONT);

    const auto answer = third.get();
    CHECK(answer.text == "third");
    CHECK(is_patterned(answer.blob));
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 1);
}

TEST_CASE("cancelling some of many disturbs no other", "[process][cancel]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(each_transport());
    options.concurrency = 8;
    TestWorker worker{options};
    std::stop_source source;
    std::vector<std::future<bool>> cancelled;
    std::vector<std::future<bool>> spared;
    for (int i = 0; i < 4; ++i) {
        cancelled.push_back(worker.async_call(
            Await{gate.path(), true}, {.stop_token = source.get_token()}, asio::use_future));
        spared.push_back(worker.async_call(Await{gate.path(), true}, asio::use_future));
    }
    for (int i = 0; i < 8; ++i) REQUIRE(gate.hear_entered());

    source.request_stop();
    for (auto& result : cancelled) {
        CHECK(error_of([&] { result.get(); }).code() == errc::cancelled);
    }
    for (int i = 0; i < 4; ++i) CHECK(gate.hear(Gate::stopped));
    gate.open(4);
    for (auto& result : spared) CHECK_FALSE(result.get());
}

}  // namespace
}  // namespace tether_test::cancellation_test
