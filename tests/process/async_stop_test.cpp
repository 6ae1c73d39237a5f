// An event loop that ends a worker, or waits for its end, without ever blocking.

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "process/support/worker_under_test.hpp"

namespace tether_test::async_stop_test {
namespace {

using tether::ExitReport;
using tether::ExitStatus;
using tether::WorkerState;

/// What a completion handler was given, and on which thread.
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
    [[nodiscard]] std::optional<errc> cause() const {
        const auto* const found = tether::error_of(error);
        return found == nullptr ? std::nullopt : std::optional{found->cause()};
    }
};
using Stopped = Completion<std::optional<ExitStatus>>;
using Ended = Completion<ExitReport>;

/// Runs until no work is left.
void run(asio::io_context& context) {
    context.restart();
    context.run_for(patience);
    REQUIRE(context.stopped());
}

/// Runs until `completion` has come, although nothing keeps the context busy.
template <class T>
void run_until(asio::io_context& context, const Completion<T>& completion) {
    const auto kept_busy = asio::make_work_guard(context);
    context.restart();
    while (completion.count == 0) REQUIRE(context.run_one_for(patience) == 1);
}

// --- async_stop

TEST_CASE("an idle worker is stopped at once, and keeps run() going until then",
          "[process][stop][async]") {
    const Census census;
    asio::io_context context;
    auto options = options_for(each_transport());
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{context, options};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    const Stopwatch watch;
    Stopped stopped;

    worker.async_stop(stopped.handler());
    CHECK(stopped.count == 0);  // never inside the initiating function
    CHECK(error_of([&] { worker.call(Nothing{}); }).code() == errc::stopped);
    run(context);

    CHECK(stopped.count == 1);
    CHECK(stopped.error == nullptr);
    CHECK(how(stopped.value) == exited_well);
    CHECK(stopped.thread == std::this_thread::get_id());
    CHECK(watch.elapsed() < soon);
    CHECK(process_state(pid) == '\0');  // reaped, too
    CHECK(worker.pid() == 0);
    CHECK(worker.state() == WorkerState::stopped);
    const Stopwatch destruction;
    { const auto destroyed = std::move(worker); }
    CHECK(destruction.elapsed() < 500ms * slowness);
}

TEST_CASE("a handler that ignores everything is killed, and nothing blocks meanwhile",
          "[process][stop][async][F22]") {
    const Census census;
    const auto transport = each_transport();
    const bool blocks_signals = GENERATE(false, true);
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    asio::io_context context;
    auto options = options_for(transport);
    options.stop = {.drain = 300ms * slowness, .terminate = 300ms * slowness};
    TestWorker worker{context, options};
    auto pending = worker.async_call(SpinForever{gate.path(), blocks_signals}, asio::use_future);
    REQUIRE(gate.hear_entered());
    Stopped stopped;
    const Stopwatch watch;

    worker.async_stop(stopped.handler());
    CHECK(watch.elapsed() < 300ms * slowness);
    run(context);

    CHECK(how(stopped.value) == was_killed);
    CHECK(watch.elapsed() >= (blocks_signals ? 600ms : 300ms) * slowness);
    CHECK(watch.elapsed() < soon);
    CHECK(error_of([&] { pending.get(); }).code() == errc::stopped);
}

TEST_CASE("the running handler is asked to stop and has its time", "[process][stop][async]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    asio::io_context context;
    auto options = options_for(each_transport());
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{context, options};
    Completion<bool> call;
    worker.async_call(Await{gate.path(), true}, call.handler());
    REQUIRE(gate.hear_entered());
    Stopped stopped;

    worker.async_stop(stopped.handler());
    run(context);

    CHECK(gate.hear(Gate::stopped));
    CHECK(how(stopped.value) == exited_well);
    CHECK(call.count == 1);
    CHECK(call.cause() == errc::stopped);
}

TEST_CASE("steps of no length are skipped by the event loop, too", "[process][stop][async]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.stop = {.drain = 0s, .terminate = 0s};
    TestWorker worker{options};
    auto pending = worker.async_call(SpinForever{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());
    CHECK(how(worker.async_stop(asio::use_future).get()) == was_killed);
    CHECK_THROWS_AS(pending.get(), CallError);
}

TEST_CASE("there may be nothing to stop, or no more", "[process][stop][async]") {
    const Census census;
    auto options = options_for();
    SECTION("no process yet") {
        options.program = "/nonexistent/tool";
        TestWorker worker{options};
        CHECK_FALSE(worker.async_stop(asio::use_future).get().has_value());
    }
    SECTION("it was stopped before") {
        TestWorker worker{options};
        worker.call(Nothing{});
        CHECK(how(worker.stop()) == exited_well);
        CHECK(how(worker.async_stop(asio::use_future).get()) == exited_well);
        worker.restart();
        CHECK(worker.call(Add{1, 2}) == 3);
    }
    SECTION("it crashed before, and is not started again") {
        TestWorker worker{options};
        CHECK_THROWS_AS(worker.call(Exit{7, ""}), CallError);
        CHECK(how(worker.async_stop(asio::use_future).get()) == to_string(ExitStatus::exited(7)));
        CHECK(error_of([&] { worker.call(Nothing{}); }).code() == errc::stopped);
    }
}

TEST_CASE("a worker may be stopped by an event loop while it starts",
          "[process][stop][async][F30]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for({"wait", gate.path()}, transport);
    options.stop = {.drain = 50ms, .terminate = 50ms};
    TestWorker worker{options};
    REQUIRE(gate.hear_entered());
    auto pending = worker.async_call(Nothing{}, asio::use_future);
    const Stopwatch watch;
    CHECK(worker.async_stop(asio::use_future).get().has_value());
    CHECK(watch.elapsed() < soon);
    CHECK(error_of([&] { pending.get(); }).code() == errc::stopped);
}

TEST_CASE("it may be stopped many times at once, and by threads as well",
          "[process][stop][async]") {
    const Census census;
    auto options = options_for(each_transport());
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{options};
    worker.call(Nothing{});
    std::vector<std::future<std::optional<ExitStatus>>> results;
    for (int i = 0; i < 8; ++i) {
        results.push_back(worker.async_stop(asio::use_future));
        results.push_back(std::async(std::launch::async, [&] { return worker.stop(); }));
    }
    for (auto& result : results) CHECK(how(result.get()) == exited_well);
}

TEST_CASE("a stop goes on when the wait for it is cancelled", "[process][stop][async]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    asio::io_context context;
    auto options = options_for(each_transport());
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{context, options};
    worker.async_call(Await{gate.path(), false}, asio::detached);
    REQUIRE(gate.hear_entered());
    asio::cancellation_signal signal;
    Stopped stopped;
    worker.async_stop(asio::bind_cancellation_slot(signal.slot(), stopped.handler()));
    signal.emit(asio::cancellation_type::total);  // it cannot be as if nothing had happened
    context.poll();
    CHECK(stopped.count == 0);

    signal.emit(GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial));
    run_until(context, stopped);

    CHECK(stopped.cause() == errc::cancelled);
    CHECK(worker.pid() != 0);
    gate.open();
    CHECK(eventually([&] { return worker.pid() == 0; }));
    CHECK(worker.last_exit()->status == ExitStatus::exited(0));
    run(context);
    CHECK(stopped.count == 1);
}

TEST_CASE("a context that is destroyed takes the handlers with it, and the stop goes on",
          "[process][stop][async][F34]") {
    const Census census;
    auto token = std::make_shared<int>(1);
    std::optional<asio::io_context> context{std::in_place};
    TestWorker worker{*context, options_for()};
    worker.call(Nothing{});
    worker.async_stop([token](std::exception_ptr, std::optional<ExitStatus>) { FAIL("invoked"); });
    worker.async_wait([token](std::exception_ptr, const ExitReport&) { FAIL("invoked"); });
    SECTION("before it has ended") {}
    SECTION("after it has ended") {
        CHECK(eventually([&] { return worker.pid() == 0; }));
    }
    context.reset();
    CHECK(token.use_count() == 1);
    CHECK(eventually([&] { return worker.pid() == 0; }));
    CHECK(worker.state() == WorkerState::stopped);
}

TEST_CASE("a worker that is destroyed completes what waits for its end", "[process][stop][async]") {
    const Census census;
    asio::io_context context;
    Stopped stopped;
    Ended ended;
    {
        TestWorker worker{context, options_for(each_transport())};
        worker.call(Nothing{});
        worker.async_wait(ended.handler());
        worker.async_stop(stopped.handler());
    }
    run(context);
    CHECK(how(stopped.value) == exited_well);
    CHECK(ended.value.status == ExitStatus::exited(0));
}

TEST_CASE("a handler may destroy the worker that has ended", "[process][stop][async]") {
    const Census census;
    asio::io_context context;
    auto worker = std::make_unique<TestWorker>(context, options_for());
    worker->call(Nothing{});
    auto* const face = worker.get();
    bool done = false;
    face->async_stop([&, worker = std::move(worker)](std::exception_ptr error,
                                                     std::optional<ExitStatus> status) mutable {
        CHECK_FALSE(error);
        CHECK(how(status) == exited_well);
        worker.reset();
        done = true;
    });
    run(context);
    CHECK(done);
}

TEST_CASE("the completion runs on the handler's own executor", "[process][stop][async]") {
    const Census census;
    asio::io_context context;
    asio::io_context other;
    TestWorker worker{context, options_for()};
    const auto strand = asio::make_strand(other);
    bool on_it = false;
    worker.async_stop(
        asio::bind_executor(strand, [&](std::exception_ptr, std::optional<ExitStatus>) {
            on_it = strand.running_in_this_thread();
        }));
    context.poll();
    CHECK_FALSE(context.stopped());  // both are kept busy
    run(other);
    CHECK(on_it);
    run(context);
}

TEST_CASE("an output callback may stop its worker without waiting for it",
          "[process][stop][async]") {
    const Census census;
    std::promise<std::optional<ExitStatus>> status;
    std::atomic<TestWorker*> face{nullptr};
    std::atomic<bool> asked{false};
    auto options = options_for();
    options.output = tether::Output::to([&](const tether::LogRecord&) {
        if (asked.exchange(true)) return;
        face.load()->async_stop([&](std::exception_ptr, std::optional<ExitStatus> how_it_ended) {
            status.set_value(how_it_ended);
        });
    });
    TestWorker worker{options};
    face = &worker;
    try {
        worker.call(Log{1, "stop me"});
    } catch (const CallError& error) {  // it may be stopped before its answer is there
        CHECK(error.cause() == errc::stopped);
    }
    CHECK(how(status.get_future().get()) == exited_well);
}

// --- async_wait

TEST_CASE("a crash is reported to the event loop that waits for it", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for(each_transport())};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    Ended ended;
    worker.async_wait(ended.handler());
    CHECK_THROWS_AS(worker.call(Signal{SIGSEGV, "last words"}), CallError);

    run_until(context, ended);

    CHECK(ended.error == nullptr);
    CHECK(ended.value.status == ExitStatus::signaled(SIGSEGV));
    CHECK(ended.value.pid == pid);
    CHECK(ended.value.generation == 1);
    CHECK(contains(ended.value.stderr_tail, "last words"));
    CHECK(ended.thread == std::this_thread::get_id());
}

TEST_CASE("whatever ends the process ends the wait", "[process][async]") {
    const Census census;
    auto options = options_for();
    const std::string way = GENERATE("kill", "restart", "stop", "stranger", "idle");
    CAPTURE(way);
    if (way == "idle") options.idle_timeout = 50ms;
    TestWorker worker{options};
    worker.call(Nothing{});
    auto ended = worker.async_wait(asio::use_future);
    if (way == "kill") worker.kill();
    if (way == "restart") worker.restart();
    if (way == "stop") worker.stop();
    if (way == "stranger") ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);
    const auto report = ended.get();
    CHECK(report.generation == 1);
    const bool by_force = way == "kill" || way == "stranger";
    CHECK(to_string(report.status) == (by_force ? was_killed : exited_well));
}

TEST_CASE("to wait for the end keeps no run() going, and no worker", "[process][async][F35]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for()};
    Ended ended;
    worker.async_wait(ended.handler());
    context.run();  // returns although it waits
    CHECK(ended.count == 0);

    worker.stop();
    run_until(context, ended);
    CHECK(ended.value.status == ExitStatus::exited(0));
}

TEST_CASE("without a process the wait completes at once", "[process][async]") {
    const Census census;
    asio::io_context context;
    auto options = options_for();
    Ended ended;
    SECTION("with the report of the last") {
        TestWorker worker{context, options};
        CHECK_THROWS_AS(worker.call(Exit{7, ""}), CallError);
        worker.async_wait(ended.handler());
        CHECK(ended.count == 0);  // never inside the initiating function
        run_until(context, ended);
        CHECK(ended.value.status == ExitStatus::exited(7));
        CHECK(worker.call(Add{1, 2}) == 3);  // nothing was started for the wait, nor stopped

        Ended next;
        worker.async_wait(next.handler());
        worker.kill();
        run_until(context, next);
        CHECK(next.value.generation == 2);
    }
    SECTION("with why there never was one") {
        options.program = "/nonexistent/tool";
        TestWorker worker{context, options};
        worker.async_wait(ended.handler());
        run_until(context, ended);
        CHECK(ended.cause() == errc::start_failed);
        CHECK(error_of([&] { worker.call(Nothing{}); }).code() == errc::start_failed);
    }
}

TEST_CASE("the wait can be cancelled, the worker lives on", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for()};
    worker.call(Nothing{});
    asio::cancellation_signal signal;
    Ended cancelled;
    Ended other;
    worker.async_wait(asio::bind_cancellation_slot(signal.slot(), cancelled.handler()));
    worker.async_wait(other.handler());

    signal.emit(GENERATE(asio::cancellation_type::terminal, asio::cancellation_type::partial,
                         asio::cancellation_type::total));
    CHECK(cancelled.count == 0);  // never inside emit
    run_until(context, cancelled);

    CHECK(cancelled.cause() == errc::cancelled);
    CHECK_FALSE(signal.slot().has_handler());
    CHECK(worker.call(Add{1, 2}) == 3);
    worker.stop();
    run_until(context, other);
    CHECK(other.error == nullptr);
    CHECK(cancelled.count == 1);
}

TEST_CASE("many waits, ends and cancellations at once", "[process][async][F54]") {
    const Census census;
    auto options = options_for();
    options.restart.budget = 100'000;
    TestWorker worker{options};
    std::vector<std::future<ExitReport>> waits;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 50; ++round) {
                auto wait = worker.async_wait(asio::use_future);
                const std::scoped_lock lock{mutex};
                waits.push_back(std::move(wait));
            }
        });
    }
    threads.emplace_back([&] {
        for (int round = 0; round < 10; ++round) {
            static_cast<void>(worker.async_stop(asio::use_future).get());
            worker.restart();
        }
    });
    threads.emplace_back([&] {
        for (int round = 0; round < 10; ++round) worker.kill();
    });
    for (auto& thread : threads) thread.join();
    worker.stop();
    for (auto& wait : waits) CHECK(wait.get().generation > 0);
}

// --- Coroutines

TEST_CASE("a coroutine waits for the end and stops the worker", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker worker{context, options_for(each_transport())};
    std::uint64_t generation = 0;
    std::string end;
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            const Exit request{7, ""};
            worker.async_call(request, asio::detached);
            auto wait = worker.async_wait(asio::use_awaitable);
            const ExitReport report = co_await std::move(wait);
            generation = report.generation;
            const Nothing nothing;
            auto call = worker.async_call(nothing, asio::use_awaitable);
            co_await std::move(call);
            auto stop = worker.async_stop(asio::use_awaitable);
            end = how(co_await std::move(stop));
        },
        asio::detached);
    run(context);
    CHECK(generation == 1);
    CHECK(end == exited_well);
}

// Asio's way to say the token only once.
using Awaited = asio::use_awaitable_t<>::as_default_on_t<TestWorker>;

TEST_CASE("the executor says which token is the default", "[process][async]") {
    const Census census;
    asio::io_context context;
    Awaited worker{context, options_for(each_transport())};
    static_assert(std::is_same_v<Awaited::protocol_type, TestProtocol>);
    std::int64_t sum = 0;
    errc cause{};
    std::string end;
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            const Add request{1, 2};
            sum = co_await worker.async_call(request);
            const Throw failing{"handler_error"};
            const tether::CallOptions<Throw> options{.timeout = 30s};
            try {
                co_await worker.async_call(failing, options);
            } catch (const CallError& error) {
                cause = error.cause();
            }
            end = how(co_await worker.async_stop());
            const auto report = co_await worker.async_wait();
            if (report.status != ExitStatus::exited(0)) end += ", and not";
        },
        asio::detached);
    run(context);
    CHECK(sum == 3);
    CHECK(cause == errc::handler);
    CHECK(end == exited_well);
    // Any other token does as well.
    worker.restart();
    Completion<std::int64_t> completion;
    worker.async_call(Add{3, 4}, completion.handler());
    run(context);
    CHECK(completion.value == 7);
}

TEST_CASE("a worker may be given another default token", "[process][async]") {
    const Census census;
    asio::io_context context;
    TestWorker plain{context, options_for()};
    CHECK(plain.call(Count{}) == 1);
    Awaited worker{std::move(plain)};
    std::int64_t count = 0;
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> {
            const Count request;
            count = co_await worker.async_call(request);
        },
        asio::detached);
    run(context);
    CHECK(count == 2);
}

}  // namespace
}  // namespace tether_test::async_stop_test
