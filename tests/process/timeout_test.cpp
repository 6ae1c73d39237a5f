// Deadlines: which one counts, who learns of it, and what becomes of late answers.

#include <asio/use_future.hpp>

#include <csignal>
#include <future>
#include <stop_token>

#include <sys/time.h>

#include "process/support/worker_under_test.hpp"

namespace tether_test::timeout_test {
namespace {

TEST_CASE("a call ends at its deadline", "[process][timeout][F40]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    const Stopwatch watch;

    const auto error = error_of([&] {
        worker.call(Await{gate.path(), true}, {.timeout = expires_in_handler});
    });

    INFO(error.what());
    CHECK(watch.elapsed() >= expires_in_handler);
    CHECK(watch.elapsed() < expires_in_handler + soon);
    CHECK(error.code() == errc::timeout);
    CHECK(error.code() == std::errc::timed_out);
    CHECK(error.code() == errc::outcome_unknown);
    CHECK(error.report() == nullptr);
    CHECK(contains(error.what(), "await"));
    CHECK(contains(error.what(), "child"));
    // The handler is told.
    CHECK(gate.hear_entered());
    CHECK(gate.hear(Gate::stopped));
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 1);
}

/// SIGALRM every millisecond, for as long as it lives; system calls that it interrupts are not
/// started again.
class Alarms {
public:
    Alarms() {
        struct ::sigaction action {};
        action.sa_handler = [](int) {};
        ::sigaction(SIGALRM, &action, &before_);
        const ::itimerval each_millisecond{{0, 1000}, {0, 1000}};
        ::setitimer(ITIMER_REAL, &each_millisecond, nullptr);
    }
    Alarms(const Alarms&) = delete;
    Alarms& operator=(const Alarms&) = delete;
    ~Alarms() {
        const ::itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        ::sigaction(SIGALRM, &before_, nullptr);
    }

private:
    struct ::sigaction before_ {};
};

TEST_CASE("signals neither end a call nor put off its deadline", "[process][timeout][F40]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    const Alarms alarms;
    for (int i = 0; i < 100; ++i) CHECK(worker.call(Add{i, 1}) == i + 1);
    const Stopwatch watch;
    const auto error = error_of([&] {
        worker.call(Await{gate.path(), true}, {.timeout = expires_in_handler});
    });
    CHECK(error.code() == errc::timeout);
    CHECK(watch.elapsed() < expires_in_handler + soon);
}

TEST_CASE("an async call ends at its deadline", "[process][timeout][F40]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    const Stopwatch watch;
    auto late = worker.async_call(Await{gate.path(), true}, {.timeout = expires_in_handler},
                                  asio::use_future);
    // Their deadlines neither end others nor keep others from ending.
    auto later = worker.async_call(Await{gate.path(), true},
                                   {.timeout = expires_in_handler + 100ms}, asio::use_future);
    auto fine = worker.async_call(Add{1, 2}, asio::use_future);

    CHECK(error_of([&] { late.get(); }).code() == errc::timeout);
    CHECK(watch.elapsed() >= expires_in_handler);
    CHECK(error_of([&] { later.get(); }).code() == errc::timeout);
    CHECK(watch.elapsed() >= expires_in_handler + 100ms);
    CHECK(watch.elapsed() < expires_in_handler + soon);
    CHECK(fine.get() == 3);
    CHECK(gate.hear(Gate::stopped));
}

TEST_CASE("a late answer never reaches a later call", "[process][timeout][F40]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    auto timeout = 5ms;
    for (int late = 0; late < 30;) {
        const auto error = error_of([&] {
            worker.call(Await{gate.path(), false}, {.timeout = timeout});
        });
        REQUIRE(error.code() == errc::timeout);
        // One handler runs at a time: this answer does not come before the late one.
        auto next = worker.async_call(Add{late, 1}, asio::use_future);
        bool entered = false;
        REQUIRE(eventually([&] {
            entered = gate.hear(Gate::entered, 1ms);
            return entered || next.wait_for(0ms) == std::future_status::ready;
        }));
        if (entered) gate.open();
        REQUIRE(next.get() == late + 1);
        if (entered) {
            ++late;
        } else {
            timeout *= 2;  // on a busy machine it was over before the handler could begin
        }
    }
    CHECK(worker.generation() == 1);
}

TEST_CASE("a request that waits behind another one can time out, too", "[process][timeout]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    std::stop_source source;
    auto first = worker.async_call(Await{gate.path(), false}, {.stop_token = source.get_token()},
                                   asio::use_future);
    REQUIRE(gate.hear_entered());

    const auto effect = folder / "effect";
    CHECK(error_of([&] {
              worker.call(SideEffect{effect, 0}, {.timeout = 50ms});
          }).code() == errc::timeout);
    // The worker has learned of that once it has learned of this.
    source.request_stop();
    CHECK(error_of([&] { first.get(); }).code() == errc::cancelled);
    REQUIRE(gate.hear(Gate::stopped));
    gate.open();

    // Its turn comes after it was given up: the handler does not run any more.
    worker.call(Nothing{});
    CHECK(count_lines(effect) == 0);
}

TEST_CASE("which timeout counts", "[process][timeout][F42]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const auto transport = each_transport();

    SECTION("the worker's, where nothing else is said") {
        auto options = options_for(transport);
        options.call_timeout = 100ms;
        TestWorker worker{options};
        CHECK(error_of([&] { worker.call(Await{gate.path(), true}); }).code() == errc::timeout);
        auto result = worker.async_call(Await{gate.path(), true}, asio::use_future);
        CHECK(error_of([&] { result.get(); }).code() == errc::timeout);
    }
    SECTION("the request type's before the worker's") {
        TestWorker worker{options_for(transport)};
        worker.call(Nothing{});
        const Stopwatch watch;
        CHECK(error_of([&] { worker.call(AwaitBriefly{gate.path()}); }).code() == errc::timeout);
        CHECK(watch.elapsed() >= 150ms);
        CHECK(watch.elapsed() < soon);
    }
    SECTION("the call's before the request type's") {
        TestWorker worker{options_for(transport)};
        worker.call(Nothing{});
        auto result =
            worker.async_call(AwaitBriefly{gate.path()}, {.timeout = patience}, asio::use_future);
        REQUIRE(gate.hear_entered());
        CHECK(result.wait_for(300ms) == std::future_status::timeout);
        gate.open();
        CHECK_FALSE(result.get());
    }
}

TEST_CASE("the handler sees the deadline", "[process][timeout]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    worker.call(Nothing{});

    const auto left = worker.call(TimeLeft{}, {.timeout = 10'000ms});
    CHECK(left > 5'000);
    CHECK(left <= 10'000);
    CHECK(worker.call(TimeLeft{}, {.timeout = tether::no_timeout}) == -1);
    const std::int64_t year = std::int64_t{365} * 24 * 3600 * 1000;
    const auto long_left = worker.call(TimeLeft{}, {.timeout = std::chrono::hours{365 * 24}});
    CHECK(long_left > year - 60'000);
    CHECK(long_left <= year);
}

TEST_CASE("a run timeout counts from the start of the handler", "[process][timeout]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(each_transport())};
    auto first = worker.async_call(Await{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());

    // It waits for longer than its handler may run.
    auto second = worker.async_call(Add{1, 2}, {.run_timeout = 50ms}, asio::use_future);
    CHECK(second.wait_for(150ms) == std::future_status::timeout);
    gate.open();
    first.get();
    CHECK(second.get() == 3);
    CHECK(worker.call(TimeLeft{}, {.timeout = 10'000ms, .run_timeout = 1'000'000ms}) <= 10'000);
    const auto left = worker.call(TimeLeft{}, {.run_timeout = 20'000ms});
    CHECK(left > 10'000);
    CHECK(left <= 20'000);
}

TEST_CASE("a handler that runs for too long is told to stop, and its caller learns of it",
          "[process][timeout]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(transport);
    options.concurrency = GENERATE(1u, 3u);
    TestWorker worker{options};
    worker.call(Nothing{});
    const Stopwatch watch;

    const auto error = error_of([&] {
        worker.call(Await{gate.path(), true}, {.run_timeout = 100ms});
    });

    INFO(error.what());
    CHECK(error.code() == errc::timeout);
    CHECK(error.code() == errc::outcome_unknown);
    CHECK(contains(error.what(), "run_timeout of 100 ms"));
    CHECK(watch.elapsed() >= 100ms);
    CHECK(watch.elapsed() < soon);
    CHECK(gate.hear_entered());
    CHECK(gate.hear(Gate::stopped));
    auto result =
        worker.async_call(AwaitToken{gate.path()}, {.run_timeout = 100ms}, asio::use_future);
    CHECK(error_of([&] { result.get(); }).code() == errc::timeout);
    CHECK(gate.hear_entered());
    CHECK(gate.hear(Gate::stopped));
    CHECK(worker.call(Add{1, 2}, {.run_timeout = tether::no_timeout}) == 3);
    CHECK(worker.generation() == 1);
}

TEST_CASE("no timeout is no timeout, and huge ones do not wrap", "[process][timeout][F42]") {
    const Census census;
    auto options = options_for(each_transport());
    options.call_timeout = tether::no_timeout;
    options.start_timeout = tether::no_timeout;
    options.orphan_grace = tether::no_timeout;
    options.restart.window = tether::no_timeout;
    options.stop = {.drain = tether::no_timeout, .terminate = tether::no_timeout};
    TestWorker worker{options};

    CHECK(worker.call(TimeLeft{}) == -1);
    CHECK(worker.async_call(TimeLeft{}, asio::use_future).get() == -1);
    const auto longest = tether::no_timeout - tether::Duration{1};
    CHECK(worker.call(Add{1, 2}, {.timeout = longest}) == 3);
    CHECK(worker.async_call(Add{1, 2}, {.timeout = longest}, asio::use_future).get() == 3);
    worker.kill();
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(how(worker.stop()) == exited_well);
}

TEST_CASE("a timeout of any duration is never shorter than it says", "[process][timeout][F95]") {
    const Census census;
    const auto forever = std::chrono::milliseconds::max();
    auto options = options_for(each_transport());
    options.start_timeout = forever;
    options.call_timeout = std::chrono::hours{24L * 365 * 300};
    options.stop = {.drain = forever, .terminate = forever};
    options.orphan_grace = forever;
    options.restart = {.window = forever, .max_pause = forever};
    options.stuck = {.grace = forever, .silence = forever, .heartbeat = forever};
    options.idle_timeout = forever;
    options.limits.cpu_time = forever;
    TestWorker worker{options};

    CHECK(worker.call(TimeLeft{}) == -1);
    CHECK(worker.call(TimeLeft{}, {.timeout = forever}) == -1);
    CHECK(worker.call(TimeLeft{}, {.run_timeout = std::chrono::seconds::max()}) == -1);
    CHECK(worker
              .async_call(TimeLeft{}, {.timeout = std::chrono::duration<float>::max()},
                          asio::use_future)
              .get() == -1);
    const auto left = worker.call(TimeLeft{}, {.timeout = 100.5s});
    CHECK(left > 50'000);
    CHECK(left <= 100'500);
    CHECK(how(worker.stop()) == exited_well);
}

TEST_CASE("no time is no time", "[process][timeout]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(each_transport())};
    worker.call(Nothing{});
    for (const auto timeout :
         {tether::Duration{0}, tether::Duration{-5}, tether::Duration::min()}) {
        const Stopwatch watch;
        const auto error = error_of([&] {
            worker.call(Await{gate.path(), true}, {.timeout = timeout});
        });
        CHECK(error.code() == errc::timeout);
        CHECK(error.code() != errc::outcome_unknown);  // nothing was sent
        auto result =
            worker.async_call(Await{gate.path(), true}, {.timeout = timeout}, asio::use_future);
        CHECK(error_of([&] { result.get(); }).code() == errc::timeout);
        CHECK(watch.elapsed() < soon);
    }
}

TEST_CASE("a call times out while the worker starts", "[process][timeout]") {
    const Census census;
    auto options = options_for({"hang"}, each_transport());
    options.stop = {.drain = 50ms, .terminate = 50ms};
    TestWorker worker{options};
    const Stopwatch watch;

    const auto error = error_of([&] { worker.call(Nothing{}, {.timeout = 100ms}); });

    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::timeout);
    CHECK(contains(error.what(), "starting"));
}

TEST_CASE("a call to a stopped process times out", "[process][timeout][F41]") {
    const Census census;
    const auto transport = each_transport();
    auto options = options_for(transport);
    options.stuck.action = tether::StuckPolicy::Action::keep;
    TestWorker worker{options};
    worker.call(Nothing{});
    const auto pid = static_cast<::pid_t>(worker.pid());
    const auto stop_process = [&] {
        ::kill(pid, SIGSTOP);
        REQUIRE(eventually([&] { return process_state(pid) == 'T'; }));
    };

    stop_process();
    CHECK(error_of([&] { worker.call(Nothing{}, {.timeout = 100ms}); }).code() == errc::timeout);
    ::kill(pid, SIGCONT);  // if the cancellation has not done that
    CHECK(worker.call(Add{1, 2}) == 3);

    stop_process();
    auto result = worker.async_call(Nothing{}, {.timeout = 100ms}, asio::use_future);
    CHECK(error_of([&] { result.get(); }).code() == errc::timeout);
    CHECK(worker.generation() == 1);

    stop_process();
    worker.kill();
    CHECK(process_state(pid) == '\0');
}

TEST_CASE("a call that gives up in the middle of a large request", "[process][timeout]") {
    const Census census;
    const auto transport = each_transport();
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});
    const auto pid = static_cast<::pid_t>(worker.pid());
    // More than the sockets take: those of TCP grow to 32 MiB on recent kernels.
    const std::size_t size = transport == tether::Transport::tcp ? 48 << 20 : 16 << 20;
    for (int round = 0; round < 3; ++round) {
        ::kill(pid, SIGSTOP);
        REQUIRE(eventually([&] { return process_state(pid) == 'T'; }));
        {
            const Echo large{"", patterned(size)};
            const auto error = error_of([&] { worker.call(large, {.timeout = 100ms}); });
            INFO(error.what());
            CHECK(error.code() == errc::timeout);
            CHECK(error.code() != errc::outcome_unknown);  // it never had all of it
        }
        auto result =
            worker.async_call(Echo{"", patterned(size)}, {.timeout = 100ms}, asio::use_future);
        CHECK(error_of([&] { result.get(); }).code() == errc::timeout);
        ::kill(pid, SIGCONT);
        // Nothing of it is left on the wire that could harm others.
        CHECK(worker.call(Add{round, 2}) == round + 2);
        const auto end = worker.last_exit();
        INFO((end ? to_string(*end) : std::string{}));
        REQUIRE(worker.pid() == pid);
        CHECK(is_patterned(worker.call(Echo{"", patterned(100'000)}).blob));
    }
    CHECK(worker.generation() == 1);
}

TEST_CASE("an answer that has arrived wins over a deadline that passed meanwhile",
          "[process][timeout][F43]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    const auto effect = folder / "effect";
    TestWorker worker{options_for(transport)};
    worker.call(Nothing{});

    BackgroundThreadHeld background{worker};  // which would have to read the answer
    const auto deadline = Clock::now() + 300ms;
    auto result = worker.async_call(SideEffect{effect, 0}, {.timeout = 300ms}, asio::use_future);
    const bool done = eventually([&] { return count_lines(effect) == 1; }, 250ms);
    const bool passed = eventually([&] { return Clock::now() > deadline + 50ms; });
    background.release();

    CHECK(passed);
    if (done) {
        CHECK(result.get() == 1);
    } else {
        WARN("the machine is too slow for this test");
        try {
            result.get();
        } catch (const CallError& error) {
            CHECK(error.code() == errc::timeout);
        }
    }
}

}  // namespace
}  // namespace tether_test::timeout_test
