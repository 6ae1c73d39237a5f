// Worker::async_call with every kind of completion token.

#include <asio/associated_allocator.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/execution.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>

#include "process/support/worker_under_test.hpp"
#include "support/asio_moved.hpp"

namespace tether_test::async_call_test {
namespace {

TEST_CASE("a callback on the user's context", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for(each_transport())};
    int completions = 0;
    worker.async_call(Add{1, 2}, [&](std::exception_ptr error, std::int64_t sum) {
        CHECK_FALSE(error);
        CHECK(sum == 3);
        ++completions;
    });
    worker.async_call(Nothing{}, [&](std::exception_ptr error) {
        CHECK_FALSE(error);
        ++completions;
    });
    worker.async_call(Throw{"handler_error"}, [&](std::exception_ptr error, std::int64_t) {
        CHECK_THROWS_AS(std::rethrow_exception(error), RemoteError);
        ++completions;
    });
    CHECK(completions == 0);  // never inside the initiating function

    context.run();

    CHECK(completions == 3);
}

TEST_CASE("nothing completes inside the initiating function", "[process][async]") {
    const Census census;
    asio::io_context context;
    auto options = options_for();
    options.max_message_bytes = 10'000;
    TestWorker worker{context, options};
    bool initiating = false;
    int completions = 0;
    const auto start = [&](auto request, errc expected) {
        initiating = true;
        worker.async_call(std::move(request), [&, expected](std::exception_ptr error, auto&&...) {
            CHECK_FALSE(initiating);
            CHECK(error_of([&] { std::rethrow_exception(error); }).code() == expected);
            ++completions;
        });
        initiating = false;
    };
    // All of these are known to fail at once.
    start(Echo{"", tether::Bytes(10'001)}, errc::message_too_large);
    start(Carry{.value = {.breaks_encoding = true}}, errc::codec);
    worker.stop();
    start(Nothing{}, errc::stopped);
    context.run();
    CHECK(completions == 3);
}

TEST_CASE("a callback without an executor runs on another thread", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    std::promise<std::thread::id> done;
    worker.async_call(Nothing{},
                      [&](std::exception_ptr) { done.set_value(std::this_thread::get_id()); });
    CHECK(done.get_future().get() != std::this_thread::get_id());
}

TEST_CASE("a blocking call where it would deadlock", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    std::promise<errc> result;
    worker.async_call(Nothing{}, [&](std::exception_ptr) {
        try {
            worker.call(Nothing{});
            result.set_value(errc{});
        } catch (const CallError& error) {
            result.set_value(static_cast<errc>(error.code().value()));
        }
    });
    CHECK(result.get_future().get() == errc::would_deadlock);
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("a handler may call the worker again, stop it, and start it", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    std::promise<std::int64_t> result;
    worker.async_call(Nothing{}, [&](std::exception_ptr) {
        worker.async_call(Add{1, 2}, [&](std::exception_ptr, std::int64_t sum) {
            worker.stop();
            worker.restart();
            worker.async_call(Add{sum, 10}, [&](std::exception_ptr, std::int64_t last) {
                worker.kill();
                result.set_value(last);
            });
        });
    });
    CHECK(result.get_future().get() == 13);
}

TEST_CASE("a future", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    auto sum = worker.async_call(Add{1, 2}, asio::use_future);
    auto nothing = worker.async_call(Nothing{}, asio::use_future);
    auto failure = worker.async_call(Throw{"handler_error"}, asio::use_future);
    auto echoed = worker.async_call(Echo{"text", tether::Bytes{"blob"}}, {.timeout = patience},
                                    asio::use_future);
    CHECK(sum.get() == 3);
    nothing.get();
    CHECK_THROWS_AS(failure.get(), RemoteError);
    CHECK(echoed.get().blob.view() == "blob");
}

TEST_CASE("a future on the user's context", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for()};
    auto sum = worker.async_call(Add{1, 2}, asio::use_future);
    context.run();
    REQUIRE(sum.wait_for(0s) == std::future_status::ready);
    CHECK(sum.get() == 3);
}

TEST_CASE("a coroutine", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for(each_transport())};
    std::int64_t sum = 0;
    std::string code;
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            const Add request{1, 2};
            sum = co_await worker.async_call(request, asio::use_awaitable);
            const Nothing nothing;
            co_await worker.async_call(nothing, asio::use_awaitable);
            const Throw failing{"handler_error"};
            try {
                co_await worker.async_call(failing, asio::use_awaitable);
            } catch (const RemoteError& error) {
                code = error.remote_code();
            }
        },
        asio::detached);
    context.run();
    CHECK(sum == 3);
    CHECK(code == "no_file");
}

TEST_CASE("a coroutine that gets errors as values", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for()};
    std::int64_t sum = 0;
    std::exception_ptr failure;
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            const Add request{1, 2};
            const auto [error, answer] =
                co_await worker.async_call(request, moved::as_tuple(asio::use_awaitable));
            if (!error) sum = answer;
            const Throw failing{"handler_error"};
            const auto [remote, nothing] =
                co_await worker.async_call(failing, moved::as_tuple(asio::use_awaitable));
            static_cast<void>(nothing);
            failure = remote;
        },
        asio::detached);
    context.run();
    CHECK(sum == 3);
    REQUIRE(failure);
    CHECK_THROWS_AS(std::rethrow_exception(failure), RemoteError);
}

TEST_CASE("a deferred operation does nothing until it is started", "[process][async]") {
    const Census census;
    asio::io_context context;
    const TemporaryFolder folder;
    const auto effect = folder / "effect";
    TestWorker worker{context, options_for(each_transport())};
    auto operation = worker.async_call(SideEffect{effect, 0}, moved::deferred);
    worker.call(Nothing{});
    CHECK(count_lines(effect) == 0);

    std::int64_t lines = 0;
    std::move(operation)([&](std::exception_ptr, std::int64_t answer) { lines = answer; });
    context.run();
    CHECK(lines == 1);
}

TEST_CASE("a call whose result nobody wants", "[process][async]") {
    const Census census;
    const TemporaryFolder folder;
    const auto effect = folder / "effect";
    TestWorker worker{options_for(each_transport())};
    worker.async_call(SideEffect{effect, 0}, asio::detached);
    CHECK(eventually([&] { return count_lines(effect) == 1; }));
    worker.async_call(Throw{"exception"}, asio::detached);
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("a handler that can only be moved", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for()};
    std::int64_t seen = 0;
    auto token = std::make_unique<std::int64_t>(10);
    worker.async_call(Add{1, 2},
                      [&seen, token = std::move(token)](std::exception_ptr, std::int64_t sum) {
                          seen = sum + *token;
                      });
    context.run();
    CHECK(seen == 13);
}

// That of a context; says when it is given something to run.
struct TellingExecutor {
    asio::io_context::executor_type inner;
    const std::function<void()>* told;

    template <class Function>
    void execute(Function function) const {
        (*told)();
        asio::post(inner, std::move(function));
    }
    [[nodiscard]] asio::execution_context& query(asio::execution::context_t) const noexcept {
        return inner.context();
    }
    [[nodiscard]] TellingExecutor require(asio::execution::blocking_t::never_t) const {
        return *this;
    }
    bool operator==(const TellingExecutor&) const noexcept = default;
};

// Whoever it wakes may want the worker at once.
TEST_CASE("an executor is given a completion with no lock held", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    worker.call(Nothing{});
    asio::io_context context;
    const auto kept_busy = asio::make_work_guard(context);
    std::atomic<bool> free = false;
    std::future<tether::WorkerState> looking;
    const std::function<void()> told = [&] {
        looking = std::async(std::launch::async, [&] { return worker.state(); });
        free = looking.wait_for(10s) == std::future_status::ready;
    };
    worker.async_call(Nothing{}, asio::bind_executor(TellingExecutor{context.get_executor(), &told},
                                                     [&](std::exception_ptr error) {
                                                         CHECK_FALSE(error);
                                                         context.stop();
                                                     }));

    context.run();

    CHECK(free);
}

TEST_CASE("the handler's own executor", "[process][async]") {
    const Census census;
    asio::io_context context;
    asio::io_context other;
    TestWorker worker{context, options_for()};
    bool done = false;
    worker.async_call(Nothing{}, asio::bind_executor(other, [&](std::exception_ptr) {
                          CHECK(other.get_executor().running_in_this_thread());
                          done = true;
                      }));
    std::thread runs_context{[&] { context.run(); }};
    other.run();
    runs_context.join();
    CHECK(done);
}

TEST_CASE("a strand keeps completions apart", "[process][async]") {
    const Census census;
    asio::thread_pool pool{2};
    TestWorker worker{pool.get_executor(), options_for(each_transport())};
    auto strand = asio::make_strand(pool);
    int inside = 0;
    int done = 0;
    bool apart = true;
    for (int i = 0; i < 100; ++i) {
        worker.async_call(Nothing{}, asio::bind_executor(strand, [&](std::exception_ptr) {
                              apart = apart && ++inside == 1;
                              --inside;
                              ++done;
                          }));
    }
    pool.join();
    CHECK(apart);
    CHECK(done == 100);
}

// Counts what is allocated and given back through it.
template <class T>
struct CountingAllocator {
    using value_type = T;
    explicit CountingAllocator(std::atomic<int>& the_balance, std::atomic<int>& the_total)
        : balance(&the_balance), total(&the_total) {}
    template <class U>
    CountingAllocator(const CountingAllocator<U>& other)
        : balance(other.balance), total(other.total) {}
    T* allocate(std::size_t size) {
        ++*balance;
        ++*total;
        return std::allocator<T>{}.allocate(size);
    }
    void deallocate(T* pointer, std::size_t size) {
        --*balance;
        std::allocator<T>{}.deallocate(pointer, size);
    }
    template <class U>
    bool operator==(const CountingAllocator<U>& other) const {
        return balance == other.balance;
    }
    std::atomic<int>* balance;
    std::atomic<int>* total;
};

struct WithAllocator {
    using allocator_type = CountingAllocator<void>;
    [[nodiscard]] allocator_type get_allocator() const { return allocator_type{*balance, *total}; }
    void operator()(std::exception_ptr) const { *balance_at_completion = balance->load(); }
    std::atomic<int>* balance;
    std::atomic<int>* total;
    int* balance_at_completion;
};

TEST_CASE("the handler's allocator, free again before the handler runs", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for()};
    std::atomic<int> balance{0};
    std::atomic<int> total{0};
    int balance_at_completion = -1;
    worker.async_call(Nothing{}, WithAllocator{&balance, &total, &balance_at_completion});
    context.run();
    CHECK(total > 0);
    CHECK(eventually([&] { return balance == 0; }));
    CHECK(balance_at_completion >= 0);
}

// That of a context; takes a mutex whenever it is used or copied.
struct LockingExecutor {
    LockingExecutor(asio::io_context& context, std::mutex& the_mutex)
        : inner(context.get_executor()), mutex(&the_mutex) {}
    LockingExecutor(const LockingExecutor& other) noexcept
        : inner(other.inner), mutex(other.mutex) {
        const std::scoped_lock lock{*mutex};
    }
    LockingExecutor& operator=(const LockingExecutor&) = delete;
    ~LockingExecutor() = default;

    template <class Function>
    void execute(Function function) const {
        { const std::scoped_lock lock{*mutex}; }  // the allocator takes it as well
        asio::post(inner, std::move(function));
    }
    [[nodiscard]] asio::execution_context& query(asio::execution::context_t) const noexcept {
        return inner.context();
    }
    [[nodiscard]] LockingExecutor require(asio::execution::blocking_t::never_t) const {
        return *this;
    }
    bool operator==(const LockingExecutor& other) const noexcept { return mutex == other.mutex; }

    asio::io_context::executor_type inner;
    std::mutex* mutex;
};

// Takes a mutex for whatever it does.
template <class T>
struct LockingAllocator {
    using value_type = T;
    explicit LockingAllocator(std::mutex& the_mutex) : mutex(&the_mutex) {}
    template <class U>
    LockingAllocator(const LockingAllocator<U>& other) : mutex(other.mutex) {}
    T* allocate(std::size_t size) {
        const std::scoped_lock lock{*mutex};
        return std::allocator<T>{}.allocate(size);
    }
    void deallocate(T* pointer, std::size_t size) {
        const std::scoped_lock lock{*mutex};
        std::allocator<T>{}.deallocate(pointer, size);
    }
    template <class U>
    bool operator==(const LockingAllocator<U>& other) const {
        return mutex == other.mutex;
    }
    std::mutex* mutex;
};

// Calls a worker again and again until it is told to stop.
struct LockingChain {
    using executor_type = LockingExecutor;
    using allocator_type = LockingAllocator<void>;
    struct State {
        TestWorker& worker;
        asio::io_context context{};
        std::mutex mutex{};
        std::atomic<bool> done{false};
        std::atomic<int> answers{0};
        std::atomic<int> ended{0};
    };

    [[nodiscard]] executor_type get_executor() const { return {state->context, state->mutex}; }
    [[nodiscard]] allocator_type get_allocator() const { return allocator_type{state->mutex}; }
    void operator()(std::exception_ptr error) const {
        if (!error) ++state->answers;
        if (error || state->done) {
            ++state->ended;
        } else {
            start(*state);
        }
    }
    static void start(State& state) { state.worker.async_call(Nothing{}, LockingChain{&state}); }

    State* state;
};

// Whichever thread reads the answers of the async calls, it must not wait for that mutex while it
// holds a lock that the other callers need, nor while they rely on it to read theirs.
TEST_CASE("a caller may hold a mutex that the executors of other calls take", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    LockingChain::State state{worker};
    const auto kept_busy = asio::make_work_guard(state.context);
    for (int i = 0; i < 4; ++i) LockingChain::start(state);
    std::thread runs_context{[&] { state.context.run(); }};
    std::vector<std::thread> others;
    for (int i = 0; i < 2; ++i) {
        others.emplace_back([&] {
            while (!state.done) worker.call(Nothing{});
        });
    }
    int right = 0;
    for (std::int64_t i = 0; i < 200; ++i) {
        const std::scoped_lock lock{state.mutex};
        right += worker.call(Add{i, 1}) == i + 1;
    }
    CHECK(right == 200);
    CHECK(eventually([&] { return state.answers > 100; }));
    state.done = true;
    for (auto& other : others) other.join();
    CHECK(eventually([&] { return state.ended == 4; }));
    state.context.stop();
    runs_context.join();
}

TEST_CASE("the request is kept until it is sent", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    std::vector<std::future<Echoed>> results;
    for (int i = 0; i < 4; ++i) {
        auto request = std::make_unique<Echo>();
        request->blob = patterned(4 << 20);
        request->text = std::to_string(i);
        results.push_back(worker.async_call(std::move(*request), asio::use_future));
    }
    for (std::size_t i = 0; i < results.size(); ++i) {
        const auto echoed = results[i].get();
        CHECK(echoed.text == std::to_string(i));
        CHECK(echoed.blob.size() == 4 << 20);
        CHECK(is_patterned(echoed.blob));
    }
}

TEST_CASE("blocking and async calls share a worker", "[process][async]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    std::vector<std::future<std::int64_t>> results;
    for (std::int64_t i = 0; i < 200; ++i) {
        results.push_back(worker.async_call(Add{i, 1000}, asio::use_future));
        REQUIRE(worker.call(Add{i, 1}) == i + 1);
    }
    for (std::int64_t i = 0; i < 200; ++i) {
        REQUIRE(results[static_cast<std::size_t>(i)].get() == i + 1000);
    }
}

TEST_CASE("a worker that is destroyed settles its calls", "[process][async]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    std::future<bool> running;
    std::future<std::int64_t> waiting;
    {
        TestWorker worker{options_for(transport)};
        running = worker.async_call(Await{gate.path(), true}, asio::use_future);
        REQUIRE(gate.hear_entered());
        waiting = worker.async_call(Add{1, 2}, asio::use_future);
    }
    CHECK(error_of([&] { running.get(); }).code() == errc::stopped);
    CHECK(error_of([&] { waiting.get(); }).code() == errc::stopped);
}

}  // namespace
}  // namespace tether_test::async_call_test
