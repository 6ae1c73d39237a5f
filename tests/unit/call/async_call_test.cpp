// Completion tokens, executors, allocators, cancellation and the end of contexts, over a worker
// without a process.
#include <tether/loopback_worker.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/system_executor.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#if __has_include(<asio/deferred.hpp>)
#include <asio/as_tuple.hpp>
#include <asio/deferred.hpp>
#else
#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/deferred.hpp>
#endif

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "unit/loopback/loopback_support.hpp"

namespace async_call_test {

namespace {

using namespace loopback_test;
using namespace std::chrono_literals;
using tether::CallError;
using tether::errc;
using tether::RemoteError;
using tether::WorkerOptions;

#if __has_include(<asio/deferred.hpp>)
using asio::as_tuple;
using asio::deferred;
#else
using asio::experimental::as_tuple;
using asio::experimental::deferred;
#endif

std::error_code code_of(const std::exception_ptr& error) {
    if (error == nullptr) return {};
    try {
        std::rethrow_exception(error);
    } catch (const CallError& call_error) {
        return call_error.code();
    }
}

/// What a completion handler was given, and where.
template <class T>
struct Completion {
    int count = 0;
    std::exception_ptr error{};
    T value{};
    std::thread::id thread{};

    auto handler() {
        return [this](std::exception_ptr failure, T result) {
            ++count;
            error = std::move(failure);
            value = std::move(result);
            thread = std::this_thread::get_id();
        };
    }
};

/// Runs until no work is left, however long it may take.
void run(asio::io_context& context) {
    context.restart();
    context.run_for(tether_test::patience);
    REQUIRE(context.stopped());
}

}  // namespace

TEST_CASE("a callback on a context of one's own") {
    asio::io_context context;
    Worker worker{context};
    Completion<std::string> echo;
    Completion<Sum> sum;
    worker.async_call(Echo{"hello"}, echo.handler());
    worker.async_call(Add{{1, 2}}, {.timeout = 30s}, sum.handler());
    CHECK(echo.count == 0);
    run(context);
    CHECK(echo.count == 1);
    CHECK(echo.error == nullptr);
    CHECK(echo.value == "hello");
    CHECK(echo.thread == std::this_thread::get_id());
    CHECK(sum.value == Sum{3});
}

TEST_CASE("a callback for a response of void takes the error alone") {
    asio::io_context context;
    Worker worker{context};
    int count = 0;
    std::exception_ptr failed;
    worker.async_call(Fail{}, [&](std::exception_ptr error) {
        ++count;
        CHECK(error == nullptr);
    });
    worker.async_call(Fail{"handler"}, [&](std::exception_ptr error) {
        ++count;
        failed = std::move(error);
    });
    run(context);
    CHECK(count == 2);
    CHECK_THROWS_AS(std::rethrow_exception(failed), RemoteError);
}

TEST_CASE("errors arrive in the completion", "[F17]") {
    asio::io_context context;
    Worker worker{context, WorkerOptions{.max_message_bytes = 5000}};
    Completion<std::string> too_large;
    worker.async_call(Echo{std::string(5000, 'x')}, too_large.handler());
    CHECK(too_large.count == 0);  // never inside the initiating function
    run(context);
    CHECK(code_of(too_large.error) == errc::message_too_large);

    worker.stop();
    Completion<std::string> stopped;
    worker.async_call(Echo{"x"}, stopped.handler());
    CHECK(stopped.count == 0);
    run(context);
    CHECK(code_of(stopped.error) == errc::stopped);

    tether::LoopbackWorker<ProtocolWith<tether::JsonCodec>, HandlerWith<tether::JsonCodec>> json{
        context};
    Completion<std::string> codec;
    json.async_call(Echo{"\xff"}, codec.handler());
    CHECK(codec.count == 0);
    run(context);
    CHECK(code_of(codec.error) == errc::codec);
}

TEST_CASE("futures need no context") {
    Worker worker;
    auto echo = worker.async_call(Echo{"hello"}, asio::use_future);
    auto nothing = worker.async_call(Fail{}, asio::use_future);
    auto failed = worker.async_call(Fail{"int"}, asio::use_future);
    auto bytes = worker.async_call(Reverse{tether::Bytes{"abc"}}, {}, asio::use_future);
    CHECK(echo.get() == "hello");
    nothing.get();
    CHECK_THROWS_AS(failed.get(), RemoteError);
    CHECK(bytes.get().view() == "cba");
    auto length = worker.async_call(
        Echo{"four"},
        asio::use_future([](std::exception_ptr, const std::string& text) { return text.size(); }));
    CHECK(length.get() == 4u);
}

TEST_CASE("a future on a context that another thread runs") {
    asio::io_context context;
    Worker worker{context};
    auto echo = worker.async_call(Echo{"hello"}, asio::use_future);
    std::jthread runner{[&] { context.run(); }};
    CHECK(echo.get() == "hello");
}

TEST_CASE("coroutines") {
    asio::io_context context;
    Worker worker{context};
    std::vector<std::string> got;
    const auto talk = [&]() -> asio::awaitable<void> {
        // Named first: GCC 12 destroys temporaries in a co_await expression twice.
        Echo hello{"hello"};
        got.push_back(co_await worker.async_call(hello, asio::use_awaitable));
        Fail fine;
        co_await worker.async_call(fine, asio::use_awaitable);
        Fail handler{"handler"};
        tether::CallOptions<Fail> options{.timeout = 30s};
        try {
            co_await worker.async_call(handler, options, asio::use_awaitable);
        } catch (const RemoteError& error) {
            got.push_back(error.remote_code());
        }
        auto operation = worker.async_call(hello, as_tuple(asio::use_awaitable));
        auto [error, text] = co_await std::move(operation);
        got.push_back(error == nullptr ? text : "error");
        auto failing = worker.async_call(handler, as_tuple(asio::use_awaitable));
        auto [failure] = co_await std::move(failing);
        got.push_back(code_of(failure) == errc::handler ? "handler" : "other");
    };
    asio::co_spawn(context, talk, asio::detached);
    run(context);
    CHECK((got == std::vector<std::string>{"hello", "no_file", "hello", "handler"}));
}

TEST_CASE("many coroutines, timeouts and cancellations at random", "[F54]") {
    asio::io_context context;
    Worker worker{context, WorkerOptions{.concurrency = 3}};
    int settled = 0;
    int wrong = 0;
    std::minstd_rand random{1};
    const auto talk = [&](int id) -> asio::awaitable<void> {
        for (int i = 0; i < 10; ++i) {
            const auto text = std::to_string(id) + ":" + std::to_string(i);
            Echo request{text};
            std::stop_source source;
            tether::CallOptions<Echo> options{.timeout = random() % 3 == 0 ? 100us : 30s,
                                              .stop_token = source.get_token()};
            auto operation = worker.async_call(request, options, as_tuple(asio::use_awaitable));
            if (random() % 5 == 0) source.request_stop();
            auto [error, answer] = co_await std::move(operation);
            ++settled;
            const auto code = code_of(error);
            if (error == nullptr ? answer != text
                                 : code != errc::timeout && code != errc::cancelled) {
                ++wrong;
            }
        }
    };
    for (int id = 0; id < 64; ++id) asio::co_spawn(context, talk(id), asio::detached);
    run(context);
    CHECK(settled == 640);
    CHECK(wrong == 0);
}

TEST_CASE("deferred: nothing happens until it is started") {
    asio::io_context context;
    Worker worker{context};
    Completion<int> completion;
    {
        auto never = worker.async_call(Count{}, deferred);
        static_cast<void>(never);
    }
    auto operation = worker.async_call(Count{}, deferred);
    run(context);
    CHECK(worker.generation() == 0u);
    std::move(operation)(completion.handler());
    run(context);
    CHECK(completion.value == 1);
    auto future = worker.async_call(Count{}, deferred)(asio::use_future);
    run(context);
    CHECK(future.get() == 2);
}

TEST_CASE("as_tuple and detached") {
    asio::io_context context;
    Worker worker{context};
    std::string got;
    auto handler = [&](std::tuple<std::exception_ptr, std::string> result) {
        got = std::get<0>(result) == nullptr ? std::get<1>(result) : "error";
    };
    worker.async_call(Echo{"hello"}, as_tuple(handler));
    worker.async_call(Fail{"std"}, asio::detached);
    worker.async_call(Count{}, asio::detached);
    run(context);
    CHECK(got == "hello");
    CHECK(worker.call(Count{}) == 2);
}

TEST_CASE("move-only handlers, and requests that are moved in") {
    asio::io_context context;
    Worker worker{context};
    int count = 0;
    auto owned = std::make_unique<int>(7);
    tether::Bytes blob{std::size_t{100'000}};
    std::fill(blob.begin(), blob.end(), std::byte{'b'});
    const auto* where = blob.data();
    worker.async_call(Reverse{std::move(blob)},
                      [owned = std::move(owned), &count](std::exception_ptr, tether::Bytes bytes) {
                          count += *owned + static_cast<int>(bytes.size());
                      });
    CHECK(where != nullptr);
    run(context);
    CHECK(count == 100'007);
}

namespace {

/// Counts the allocations of those that use it.
template <class T>
struct CountingAllocator {
    using value_type = T;
    explicit CountingAllocator(std::atomic<int>* the_live, std::atomic<int>* the_total) noexcept
        : live(the_live), total(the_total) {}
    template <class U>
    CountingAllocator(const CountingAllocator<U>& other) noexcept  // NOLINT: converts, as it must
        : live(other.live), total(other.total) {}
    T* allocate(std::size_t count) {
        ++*live;
        ++*total;
        return static_cast<T*>(::operator new(count * sizeof(T)));
    }
    void deallocate(T* pointer, std::size_t) noexcept {
        --*live;
        ::operator delete(pointer);
    }
    template <class U>
    bool operator==(const CountingAllocator<U>& other) const noexcept {
        return live == other.live;
    }
    std::atomic<int>* live;
    std::atomic<int>* total;
};

struct AllocatingHandler {
    using allocator_type = CountingAllocator<std::byte>;
    allocator_type allocator;
    Completion<int>* completion;
    int* live_at_completion;
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator; }
    void operator()(std::exception_ptr error, int value) const {
        *live_at_completion = *allocator.live;
        completion->handler()(std::move(error), value);
    }
};

}  // namespace

TEST_CASE("the associated allocator is used, and has all back before the handler is called") {
    asio::io_context context;
    Worker worker{context};
    std::atomic<int> live{0};
    std::atomic<int> total{0};
    Completion<int> completion;
    int live_at_completion = -1;
    worker.async_call(Count{}, AllocatingHandler{CountingAllocator<std::byte>{&live, &total},
                                                 &completion, &live_at_completion});
    run(context);
    CHECK(completion.value == 1);
    CHECK(total > 0);
    CHECK(live == 0);
    CHECK(live_at_completion == 0);
}

TEST_CASE("the associated executor runs the completion, both contexts are kept busy") {
    asio::io_context context;
    asio::io_context other;
    Worker worker{context};
    stage().reset();
    Completion<bool> completion;
    worker.async_call(Wait{}, asio::bind_executor(other, completion.handler()));
    REQUIRE(stage().entered.wait_for(1));
    context.poll();
    other.poll();
    CHECK_FALSE(context.stopped());
    CHECK_FALSE(other.stopped());
    stage().open.add();
    run(other);
    CHECK(completion.count == 1);
    run(context);
    CHECK(completion.count == 1);
}

TEST_CASE("a strand as the associated executor") {
    asio::thread_pool pool{3};
    Worker worker{pool.get_executor(), WorkerOptions{.concurrency = 3}};
    auto strand = asio::make_strand(pool);
    int unguarded = 0;  // the strand guards it; the thread sanitizer looks on
    tether_test::Tally done;
    for (int i = 0; i < 200; ++i) {
        worker.async_call(Count{}, asio::bind_executor(strand, [&](std::exception_ptr, int) {
                              ++unguarded;
                              done.add();
                          }));
    }
    REQUIRE(done.wait_for(200));
    pool.join();
    CHECK(unguarded == 200);
}

TEST_CASE("a strand over the worker's own executor") {
    Worker worker;
    const auto strand = asio::make_strand(worker.get_executor());
    tether_test::Tally done;
    std::atomic<int> on_it = 0;
    for (int i = 0; i < 20; ++i) {
        worker.async_call(Count{}, asio::bind_executor(strand, [&](std::exception_ptr, int) {
                              on_it += strand.running_in_this_thread() ? 1 : 0;
                              done.add();
                          }));
    }
    REQUIRE(done.wait_for(20));
    CHECK(on_it == 20);
}

TEST_CASE("executors without a context of one's own") {
    tether_test::Tally done;
    Worker worker{asio::any_io_executor{asio::system_executor{}}};
    bool returned = false;
    bool inside = false;
    worker.async_call(Count{}, [&](std::exception_ptr, int) { done.add(); });
    worker.stop();
    std::mutex mutex;
    {
        const std::scoped_lock lock{mutex};
        worker.async_call(Count{}, [&](std::exception_ptr, int) {
            {
                const std::scoped_lock inner{mutex};
                inside = !returned;
            }
            done.add();  // last: the test may end at once, and its mutex with it
        });
        returned = true;
    }
    CHECK(done.wait_for(2));
    CHECK_FALSE(inside);

    Worker background;
    background.async_call(
        Count{},
        asio::bind_executor(asio::system_executor{}, [&](std::exception_ptr, int) { done.add(); }));
    CHECK(done.wait_for(3));
}

TEST_CASE("a pending call keeps run() going, an idle worker does not", "[F34][F35]") {
    stage().reset();
    asio::io_context context;
    Worker worker{context, WorkerOptions{.call_timeout = tether::no_timeout}};
    context.run();
    CHECK(context.stopped());

    context.restart();
    Completion<bool> completion;
    worker.async_call(Wait{}, completion.handler());
    REQUIRE(stage().entered.wait_for(1));
    context.poll();
    CHECK_FALSE(context.stopped());
    stage().open.add();
    run(context);
    CHECK(completion.count == 1);
    CHECK(worker.state() == tether::WorkerState::ready);
}

TEST_CASE("deadlines of async calls", "[F40]") {
    stage().reset();
    asio::io_context context;
    Worker worker{context};
    Completion<bool> slow;
    Completion<bool> queued;
    Completion<int> long_one;
    worker.async_call(Wait{}, {.timeout = 60ms}, slow.handler());
    worker.async_call(Wait{}, {.timeout = 20ms}, queued.handler());
    worker.async_call(Count{}, {.timeout = tether::no_timeout}, long_one.handler());
    run(context);
    CHECK(code_of(slow.error) == errc::timeout);
    CHECK(code_of(queued.error) == errc::timeout);
    CHECK(long_one.error == nullptr);
    CHECK(long_one.value == 1);
    Completion<bool> never;
    worker.async_call(Wait{}, {.timeout = -1s}, never.handler());
    run(context);
    CHECK(code_of(never.error) == errc::timeout);
}

TEST_CASE("the cancellation slot ends a call at once, and tells its handler") {
    stage().reset();
    asio::io_context context;
    Worker worker{context};
    asio::cancellation_signal signal;
    Completion<bool> completion;
    worker.async_call(Wait{}, asio::bind_cancellation_slot(signal.slot(), completion.handler()));
    REQUIRE(stage().entered.wait_for(1));
    SECTION("terminal") { signal.emit(asio::cancellation_type::terminal); }
    SECTION("partial") { signal.emit(asio::cancellation_type::partial); }
    SECTION("both and total") { signal.emit(asio::cancellation_type::all); }
    run(context);
    CHECK(code_of(completion.error) == errc::cancelled);
    CHECK(completion.count == 1);
    CHECK(stage().stopped.wait_for(1));
    CHECK_FALSE(signal.slot().has_handler());
    signal.emit(asio::cancellation_type::all);
}

TEST_CASE("total cancellation works only before the request has left") {
    stage().reset();
    asio::io_context context;
    Worker worker{context};
    asio::cancellation_signal running_signal;
    asio::cancellation_signal queued_signal;
    Completion<bool> running;
    Completion<int> queued;
    worker.async_call(Wait{},
                      asio::bind_cancellation_slot(running_signal.slot(), running.handler()));
    REQUIRE(stage().entered.wait_for(1));
    worker.async_call(Count{},
                      asio::bind_cancellation_slot(queued_signal.slot(), queued.handler()));
    queued_signal.emit(asio::cancellation_type::total);
    running_signal.emit(asio::cancellation_type::total);
    while (queued.count == 0) context.run_one_for(tether_test::patience);
    CHECK(code_of(queued.error) == errc::cancelled);
    CHECK(running.count == 0);
    stage().open.add();
    run(context);
    CHECK(running.error == nullptr);
    CHECK_FALSE(running.value);
    CHECK(worker.call(Count{}) == 1);  // no trace of the other
}

TEST_CASE("a stop token cancels an async call") {
    stage().reset();
    asio::io_context context;
    Worker worker{context};
    std::stop_source source;
    Completion<bool> completion;
    SECTION("while it runs") {
        worker.async_call(Wait{}, {.stop_token = source.get_token()}, completion.handler());
        REQUIRE(stage().entered.wait_for(1));
        source.request_stop();
    }
    SECTION("before it was made") {
        source.request_stop();
        worker.async_call(Wait{}, {.stop_token = source.get_token()}, completion.handler());
        CHECK(completion.count == 0);
    }
    run(context);
    CHECK(completion.count == 1);
    CHECK(code_of(completion.error) == errc::cancelled);
}

TEST_CASE("cancelling a coroutine") {
    stage().reset();
    asio::io_context context;
    Worker worker{context};
    asio::cancellation_signal signal;
    std::error_code code;
    const auto talk = [&]() -> asio::awaitable<void> {
        Wait wait;
        auto operation = worker.async_call(wait, as_tuple(asio::use_awaitable));
        auto [error, stopped] = co_await std::move(operation);
        code = code_of(error);
    };
    asio::co_spawn(context, talk, asio::bind_cancellation_slot(signal.slot(), asio::detached));
    std::jthread canceller{[&] {
        if (!stage().entered.wait_for(1)) return;
        asio::post(context, [&] { signal.emit(asio::cancellation_type::terminal); });
    }};
    run(context);
    CHECK(code == errc::cancelled);
}

TEST_CASE("handlers are dropped with their context, and never invoked", "[F34]") {
    stage().reset();
    int invoked = 0;
    auto token = std::make_shared<int>(1);
    std::optional<asio::io_context> context{std::in_place};
    Worker worker{*context};
    SECTION("while the handler runs") {
        worker.async_call(Wait{}, [token, &invoked](std::exception_ptr, bool) { ++invoked; });
        REQUIRE(stage().entered.wait_for(1));
    }
    SECTION("while it is queued") {
        worker.async_call(Wait{}, [&](std::exception_ptr, bool) { ++invoked; });
        REQUIRE(stage().entered.wait_for(1));
        worker.async_call(Count{}, [token, &invoked](std::exception_ptr, int) { ++invoked; });
    }
    SECTION("when it was settled, but nobody ran the context") {
        worker.async_call(Count{}, [token, &invoked](std::exception_ptr, int) { ++invoked; });
        CHECK(worker.call(Count{}) == 2);  // behind it
    }
    CHECK(token.use_count() == 2);
    context.reset();
    CHECK(token.use_count() == 1);
    stage().open.add();
    worker.stop();
    CHECK(invoked == 0);
}

TEST_CASE("handlers are dropped with the context of their associated executor", "[F34]") {
    stage().reset();
    auto token = std::make_shared<int>(1);
    asio::io_context context;
    Worker worker{context};
    int invoked = 0;
    {
        asio::io_context other;
        worker.async_call(
            Wait{},
            asio::bind_executor(other, [token, &invoked](std::exception_ptr, bool) { ++invoked; }));
        REQUIRE(stage().entered.wait_for(1));
    }
    CHECK(token.use_count() == 1);
    CHECK(stage().stopped.wait_for(1));  // nobody waits for it any more
    run(context);                        // and it keeps nobody busy
    CHECK(invoked == 0);
}

TEST_CASE("a suspended coroutine is destroyed with its context", "[F34]") {
    stage().reset();
    auto token = std::make_shared<int>(1);
    std::optional<asio::io_context> context{std::in_place};
    Worker worker{*context};
    const auto talk = [&worker](std::shared_ptr<int>) -> asio::awaitable<void> {
        Wait wait;
        co_await worker.async_call(wait, asio::use_awaitable);
    };
    asio::co_spawn(*context, talk(token), asio::detached);
    context->poll();
    REQUIRE(stage().entered.wait_for(1));
    CHECK(token.use_count() == 2);
    context.reset();
    CHECK(token.use_count() == 1);
}

TEST_CASE("a handler that owns its worker goes with the context", "[F34]") {
    stage().reset();
    {
        asio::io_context context;
        auto worker = std::make_shared<Worker>(context);
        auto* face = worker.get();
        face->async_call(Wait{}, [worker = std::move(worker)](std::exception_ptr, bool) {});
        REQUIRE(stage().entered.wait_for(1));
    }
    CHECK(stage().destroyed.value() == 1);
}

TEST_CASE("a handler may make the next call, and end its worker") {
    asio::io_context context;
    auto worker = std::make_unique<Worker>(context);
    int rounds = 0;
    std::function<void(std::exception_ptr, int)> next = [&](std::exception_ptr, int count) {
        ++rounds;
        if (count < 50) {
            worker->async_call(Count{}, next);
        } else {
            worker.reset();
        }
    };
    worker->async_call(Count{}, next);
    run(context);
    CHECK(rounds == 50);
    CHECK(worker == nullptr);
}

TEST_CASE("a handler that throws throws out of run()") {
    asio::io_context context;
    Worker worker{context};
    worker.async_call(Count{}, [](std::exception_ptr, int) { throw std::logic_error("mine"); });
    CHECK_THROWS_AS(context.run(), std::logic_error);
    CHECK(worker.call(Count{}) == 2);
}

TEST_CASE("a worker that ends settles each of its async calls once", "[F54]") {
    stage().reset();
    asio::io_context context;
    std::optional<Worker> worker{std::in_place, context};
    std::vector<Completion<bool>> completions(10);
    for (auto& completion : completions) worker->async_call(Wait{}, completion.handler());
    REQUIRE(stage().entered.wait_for(1));
    SECTION("destroyed") { worker.reset(); }
    SECTION("stopped") { worker->stop(); }
    SECTION("killed") { worker->kill(); }
    const auto expected = worker && worker->state() != tether::WorkerState::stopped
                              ? errc::worker_killed
                              : errc::stopped;
    run(context);
    for (const auto& completion : completions) {
        CHECK(completion.count == 1);
        CHECK(code_of(completion.error) == expected);
    }
}

}  // namespace async_call_test
