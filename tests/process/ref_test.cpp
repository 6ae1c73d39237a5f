// Who keeps an io_context running, and what happens when that is destroyed first.

#include <asio/any_io_executor.hpp>
#include <asio/bind_executor.hpp>
#include <asio/execution.hpp>
#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_future.hpp>

#include <future>
#include <memory>
#include <thread>

#include "process/support/worker_under_test.hpp"

namespace tether_test::ref_test {
namespace {

TEST_CASE("an idle worker does not keep run() going", "[process][ref][F34]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for(each_transport())};
    const Stopwatch watch;
    CHECK(context.run() == 0);

    bool done = false;
    worker.async_call(Nothing{}, [&](std::exception_ptr) { done = true; });
    context.restart();
    context.run();
    CHECK(done);
    worker.call(Nothing{});  // a blocking call needs no context
    context.restart();
    CHECK(context.run() == 0);
    CHECK(watch.elapsed() < patience);
    CHECK(worker.state() == tether::WorkerState::ready);
}

TEST_CASE("a pending call keeps run() going until it is answered", "[process][ref][F35]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    asio::io_context context;
    TestWorker worker{context, options_for(transport)};
    bool done = false;
    worker.async_call(Await{gate.path(), true}, {.timeout = tether::no_timeout},
                      [&](std::exception_ptr error, bool) { done = !error; });
    auto returned = std::async(std::launch::async, [&] { context.run(); });
    REQUIRE(gate.hear_entered());

    CHECK(returned.wait_for(100ms) == std::future_status::timeout);
    CHECK_FALSE(context.stopped());
    gate.open();

    REQUIRE(returned.wait_for(patience) == std::future_status::ready);
    CHECK(done);
}

TEST_CASE("ref() keeps run() going, unref() lets it return", "[process][ref]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for()};
    worker.ref();
    worker.ref();  // not counted
    auto returned = std::async(std::launch::async, [&] { context.run(); });
    worker.call(Nothing{});
    CHECK(returned.wait_for(100ms) == std::future_status::timeout);

    worker.unref();

    CHECK(returned.wait_for(patience) == std::future_status::ready);
    worker.unref();
}

TEST_CASE("destroying a worker takes its ref() along", "[process][ref]") {
    const Census census;
    asio::io_context context;
    std::optional<TestWorker> worker{std::in_place, context, options_for()};
    worker->ref();
    auto returned = std::async(std::launch::async, [&] { context.run(); });
    CHECK(returned.wait_for(50ms) == std::future_status::timeout);
    worker.reset();
    CHECK(returned.wait_for(patience) == std::future_status::ready);
}

// Tells when it is destroyed, and whether it was called.
struct Tell {
    std::shared_ptr<int> alive = std::make_shared<int>(0);
    bool* called;
    void operator()(std::exception_ptr, bool) const { *called = true; }
};

TEST_CASE("destroying the context drops its pending handlers", "[process][ref]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto context = std::make_unique<asio::io_context>();
    TestWorker worker{*context, options_for(transport)};
    bool called = false;
    Tell tell{.called = &called};
    const std::weak_ptr<int> handler = tell.alive;
    worker.async_call(Await{gate.path(), true}, std::move(tell));
    REQUIRE(gate.hear_entered());

    context.reset();

    CHECK(handler.expired());  // destroyed with the context, not invoked
    CHECK_FALSE(called);
    CHECK(gate.hear(Gate::stopped));  // and the call is cancelled
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("destroying a handler's own context drops it", "[process][ref]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto context = std::make_unique<asio::io_context>();
    TestWorker worker{options_for()};
    bool called = false;
    Tell tell{.called = &called};
    const std::weak_ptr<int> handler = tell.alive;
    worker.async_call(Await{gate.path(), true}, asio::bind_executor(*context, std::move(tell)));
    REQUIRE(gate.hear_entered());

    context.reset();

    CHECK(handler.expired());
    CHECK_FALSE(called);
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("completions that wait in a context go with it", "[process][ref]") {
    const Census census;
    auto context = std::make_unique<asio::io_context>();
    TestWorker worker{*context, options_for(each_transport())};
    bool called = false;
    const auto alive = std::make_shared<int>(0);
    for (int i = 0; i < 10; ++i) {
        worker.async_call(Nothing{}, [&, alive](std::exception_ptr) { called = true; });
    }
    worker.call(Nothing{});  // those before it are answered, but nobody runs the context
    context.reset();
    CHECK(eventually([&] { return alive.use_count() == 1; }));
    CHECK_FALSE(called);
}

TEST_CASE("the context may be destroyed before the worker", "[process][ref]") {
    const Census census;
    const ProcessMark mark;
    {
        auto context = std::make_unique<asio::io_context>();
        auto options = options_for(each_transport());
        mark.put_into(options);
        TestWorker worker{*context, options};
        worker.ref();
        worker.call(Nothing{});
        context.reset();
        CHECK(worker.call(Add{1, 2}) == 3);
        worker.ref();
        worker.unref();
        worker.restart();
        CHECK(worker.call(Add{1, 2}) == 3);
    }
    CHECK(mark.all_gone());
}

TEST_CASE("a context destroyed in the middle of answers", "[process][ref]") {
    const Census census;
    TestWorker idle{options_for()};
    for (int round = 0; round < 50; ++round) {
        auto context = std::make_unique<asio::io_context>();
        const auto alive = std::make_shared<int>(0);
        TestWorker worker{*context, options_for()};
        for (int i = 0; i < 20; ++i) {
            worker.async_call(Add{i, 1}, [alive](std::exception_ptr, std::int64_t) {});
        }
        if (round % 2 == 0) context->run_for(std::chrono::microseconds{100} * round);
        context.reset();
        REQUIRE(eventually([&] { return alive.use_count() == 1; }));
    }
}

// An executor of one's own, whose copies can be counted.
struct CountedExecutor {
    asio::io_context::executor_type inner;
    std::shared_ptr<int> copies;

    [[nodiscard]] asio::execution_context& query(asio::execution::context_t) const noexcept {
        return inner.context();
    }
    [[nodiscard]] CountedExecutor require(asio::execution::blocking_t::never_t) const {
        return *this;
    }
    template <class F>
    void execute(F function) const {
        asio::post(inner, std::move(function));
    }
    friend bool operator==(const CountedExecutor& a, const CountedExecutor& b) noexcept {
        return a.inner == b.inner;
    }
};

TEST_CASE("a destroyed context takes a ref() along, wherever the worker lies in memory",
          "[process][ref]") {
    const Census census;
    auto options = options_for();
    options.program = "/nonexistent/worker";
    for (int round = 0; round < 20; ++round) {
        const auto copies = std::make_shared<int>(0);
        auto context = std::make_unique<asio::io_context>();
        const asio::any_io_executor executor{CountedExecutor{context->get_executor(), copies}};
        // Those before it lay where it will lie.
        for (int i = 0; i < round; ++i) {
            TestWorker worker{executor, options};
            worker.ref();
        }
        CHECK(copies.use_count() == 2);
        std::optional<TestWorker> worker{std::in_place, executor, options};
        const auto idle = copies.use_count();
        worker->ref();
        REQUIRE(copies.use_count() > idle);

        context.reset();

        CHECK(copies.use_count() == 3);  // here, in `executor` and in the worker's own
        worker->ref();
        CHECK(copies.use_count() == 3);
        worker.reset();
        CHECK(copies.use_count() == 2);
    }
}

TEST_CASE("run() on several threads", "[process][ref]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for(each_transport())};
    std::atomic<int> answered{0};
    for (int i = 0; i < 200; ++i) {
        worker.async_call(Add{i, 1}, [&, i](std::exception_ptr error, std::int64_t sum) {
            if (!error && sum == i + 1) ++answered;
        });
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { context.run(); });
    for (auto& thread : threads) thread.join();
    CHECK(answered == 200);
}

}  // namespace
}  // namespace tether_test::ref_test
