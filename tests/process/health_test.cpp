// A worker that lives and is of no use: stuck, stopped, out of memory, idle; and what the system
// holds it to.

#include <asio/use_future.hpp>

#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include <sys/resource.h>

#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::health_test {
namespace {

using tether::ExitStatus;
using tether::StuckPolicy;

/// Whether the worker's process has been replaced or ended by now, or soon.
bool ends_soon(const TestWorker& worker, std::int64_t pid) {
    return eventually([&] { return worker.pid() != pid; });
}

/// A time in which nothing must happen: long against the grace that these tests set.
constexpr auto while_nothing_happens = 400ms;

tether::WorkerOptions impatient(StuckPolicy::Action action = StuckPolicy::Action::replace) {
    auto options = options_for();
    options.stuck = {.action = action, .grace = 50ms};
    return options;
}

TEST_CASE("a handler that ignores its deadline is replaced with its worker", "[process][F40]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{impatient()};
    worker.call(Nothing{});
    const auto error = error_of([&] {
        worker.call(SpinForever{gate.path(), true}, {.timeout = expires_in_handler});
    });
    CHECK(error.code() == errc::timeout);
    CHECK(error.code() == errc::outcome_unknown);

    CHECK(eventually([&] { return worker.state() == tether::WorkerState::ended; }));

    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.generation() == 2);
    REQUIRE(worker.last_exit().has_value());
    INFO(to_string(*worker.last_exit()));
    CHECK(how(worker.last_exit()->status) == was_killed);
    CHECK(contains(worker.last_exit()->note, "\"spin_forever\""));
    CHECK_FALSE(worker.last_exit()->killed_from_outside);
}

TEST_CASE("a handler that ignores its run timeout is replaced with its worker", "[process][F40]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{impatient()};
    const auto error = error_of([&] {
        worker.call(SpinForever{gate.path(), true}, {.run_timeout = 100ms});
    });
    CHECK(error.code() == errc::timeout);
    CHECK(eventually([&] { return worker.state() == tether::WorkerState::ended; }));
    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.generation() == 2);
}

TEST_CASE("calls behind a stuck handler go to the next process", "[process][F40][F107]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{impatient()};
    worker.call(Nothing{});
    auto stuck = worker.async_call(SpinForever{gate.path(), true}, {.timeout = expires_in_handler},
                                   asio::use_future);
    REQUIRE(gate.hear_entered());
    auto again = worker.async_call(Add{1, 2}, asio::use_future);
    auto not_begun = worker.async_call(Count{}, asio::use_future);

    CHECK(error_of([&] { stuck.get(); }).code() == errc::timeout);
    CHECK(again.get() == 3);
    CHECK(not_begun.get() == 1);
    CHECK(worker.generation() == 2);
}

TEST_CASE("a call that waits behind a long one is not stuck", "[process][F40]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{impatient()};
    auto slow = worker.async_call(Await{gate.path(), true}, {.timeout = tether::no_timeout},
                                  asio::use_future);
    REQUIRE(gate.hear_entered());
    const auto pid = worker.pid();
    CHECK(error_of([&] { worker.call(Count{}, {.timeout = 20ms}); }).code() == errc::timeout);

    CHECK_FALSE(eventually([&] { return worker.pid() != pid; }, while_nothing_happens));

    gate.open();
    CHECK_FALSE(slow.get());
    CHECK(worker.call(Count{}) == 1);  // the one that expired was never begun
    CHECK(worker.generation() == 1);
}

TEST_CASE("a worker that is stopped when a call expires is replaced", "[process][F41]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for(each_transport());
    options.stuck.grace = patience;  // it does not run: there is nothing to wait for
    TestWorker worker{options};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    REQUIRE(::kill(static_cast<::pid_t>(pid), SIGSTOP) == 0);
    REQUIRE(eventually([&] { return process_state(pid) == 'T'; }));

    CHECK(error_of([&] { worker.call(Count{}, {.timeout = 100ms}); }).code() == errc::timeout);

    CHECK(ends_soon(worker, pid));
    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.generation() == 2);
    CHECK(contains(worker.last_exit()->note, "stopped"));
}

/// Lets a call expire while its worker is stopped, and continues that. False: the machine was too
/// busy for any of it to come in time.
bool expires_while_stopped(TestWorker& worker, Gate& gate) {
    constexpr auto timeout = 1000ms;
    worker.call(Nothing{});
    const Stopwatch since_the_call;
    auto call = worker.async_call(AwaitToken{gate.path()}, {.timeout = timeout}, asio::use_future);
    const bool entered = gate.hear(Gate::entered, timeout);
    const auto pid = worker.pid();
    if (entered) ::kill(static_cast<::pid_t>(pid), SIGSTOP);
    const bool stopped = entered && eventually([&] { return process_state(pid) == 'T'; });
    const bool in_time = since_the_call.elapsed() < timeout - 200ms;
    CHECK(error_of([&] { call.get(); }).code() == errc::timeout);
    const auto state = process_state(pid);
    ::kill(static_cast<::pid_t>(pid), SIGCONT);
    if (!stopped || !in_time || since_the_call.elapsed() > timeout + 100ms) return false;
    CHECK(state == 'T');  // no record has continued it
    return true;
}

TEST_CASE("a worker that is stopped only for a moment when a call expires is asked to give it up",
          "[process][F2][F41]") {
    using Action = StuckPolicy::Action;
    const auto action = GENERATE(Action::replace, Action::report, Action::keep);
    const Census census;
    const TemporaryFolder folder;
    auto options = options_for();
    options.stuck = {.action = action, .grace = patience};
    TestWorker worker{options};
    for (int attempt = 0; attempt < 20; ++attempt) {
        Gate gate{folder / ("gate" + std::to_string(attempt))};
        if (!expires_while_stopped(worker, gate)) continue;
        const auto pid = worker.pid();
        CHECK(gate.hear(Gate::stopped, patience));
        worker.call(Nothing{});
        CHECK(worker.pid() == pid);
        return;
    }
    WARN("not tried: the machine is too busy");
}

/// Lets a call expire while its worker is stopped, keeps the background thread from looking for
/// long, as if the parent were stopped as well, and continues the worker soon after that thread.
/// False: not soon enough.
bool is_continued_after_the_parent(TestWorker& worker) {
    worker.call(Nothing{});
    const auto pid = worker.pid();
    BackgroundThreadHeld background{worker};
    ::kill(static_cast<::pid_t>(pid), SIGSTOP);
    CHECK(eventually([&] { return process_state(pid) == 'T'; }));
    CHECK(error_of([&] { worker.call(Nothing{}, {.timeout = 20ms}); }).code() == errc::timeout);
    CHECK_FALSE(eventually([&] { return worker.pid() != pid; }, 1000ms));

    const Stopwatch since_the_parent;
    background.release();
    const bool replaced = eventually([&] { return worker.pid() != pid; }, 50ms);
    ::kill(static_cast<::pid_t>(pid), SIGCONT);
    if (since_the_parent.elapsed() >= 150ms) return false;
    CHECK_FALSE(replaced);
    return true;
}

TEST_CASE("a parent that was stopped together with its worker may be continued first",
          "[process][F2][F41]") {
    const Census census;
    auto options = options_for();
    options.stuck.grace = patience;
    options.restart.budget = 100;
    TestWorker worker{options};
    for (int attempt = 0; attempt < 20; ++attempt) {
        worker.call(Nothing{});
        const auto pid = worker.pid();
        if (!is_continued_after_the_parent(worker)) continue;
        worker.call(Nothing{});
        CHECK(worker.pid() == pid);
        return;
    }
    WARN("not tried: the machine is too busy");
}

TEST_CASE("a worker that stays stopped may be kept", "[process][F41]") {
    const Census census;
    auto options = impatient(StuckPolicy::Action::keep);
    TestWorker worker{options};
    worker.call(Nothing{});
    const auto pid = worker.pid();
    REQUIRE(::kill(static_cast<::pid_t>(pid), SIGSTOP) == 0);
    REQUIRE(eventually([&] { return process_state(pid) == 'T'; }));
    CHECK_THROWS_AS(worker.call(Count{}, {.timeout = 50ms}), CallError);
    CHECK_FALSE(eventually([&] { return process_state(pid) != 'T'; }, while_nothing_happens));
    REQUIRE(::kill(static_cast<::pid_t>(pid), SIGCONT) == 0);
    worker.call(Nothing{});
    CHECK(worker.pid() == pid);
}

TEST_CASE("a stuck worker may be kept", "[process][F40]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = impatient(StuckPolicy::Action::keep);
    options.stop = {.drain = 10ms, .terminate = 10ms};
    TestWorker worker{options};
    worker.call(Nothing{});
    CHECK_THROWS_AS(worker.call(SpinForever{gate.path(), true}, {.timeout = expires_in_handler}),
                    CallError);
    const auto pid = worker.pid();
    CHECK_FALSE(eventually([&] { return worker.pid() != pid; }, while_nothing_happens));
}

/// The warnings in a worker's output.
class Warnings {
public:
    [[nodiscard]] tether::Output output() {
        return tether::Output::to([this](const tether::LogRecord& record) {
            const std::scoped_lock lock{mutex_};
            if (record.severity == tether::Severity::warning) lines_.emplace_back(record.text);
        });
    }
    [[nodiscard]] std::vector<std::string> lines() {
        const std::scoped_lock lock{mutex_};
        return lines_;
    }

private:
    std::mutex mutex_;
    std::vector<std::string> lines_;
};

TEST_CASE("a stuck worker may be reported", "[process][F40]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    Warnings warnings;
    auto options = impatient(StuckPolicy::Action::report);
    options.stop = {.drain = 10ms, .terminate = 10ms};
    options.output = warnings.output();
    TestWorker worker{options};
    worker.call(Nothing{});
    CHECK_THROWS_AS(worker.call(SpinForever{gate.path(), true}, {.timeout = expires_in_handler}),
                    CallError);
    const auto pid = worker.pid();
    CHECK(eventually([&] { return !warnings.lines().empty(); }));
    CHECK_FALSE(eventually([&] { return worker.pid() != pid; }, while_nothing_happens));
    CHECK(warnings.lines().size() == 1);
    CHECK(contains(warnings.lines().at(0), "after its deadline"));
}

/// A worker of which only the handler's thread runs. Null where a debugger's means are refused.
std::unique_ptr<TestWorker> frozen_worker(tether::WorkerOptions options) {
    options.stuck.silence = 200ms;
    auto worker = std::make_unique<TestWorker>(options);
    const auto refused = worker->call(Meddle{"freeze"});
    if (refused == 0) return worker;
    WARN("skipped: threads cannot be held: " << std::generic_category().message(int(refused)));
    return nullptr;
}

TEST_CASE("a worker that hangs as a whole is replaced", "[process][F41]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const auto worker = frozen_worker(impatient());
    if (!worker) return;
    CHECK(worker->call(Count{}) == 1);  // no handler needs the other threads
    const auto pid = worker->pid();

    const Await wait{gate.path(), false};
    CHECK(error_of([&] { worker->call(wait, {.timeout = expires_in_handler}); }).code() ==
          errc::timeout);

    CHECK(ends_soon(*worker, pid));
    CHECK(worker->call(Count{}) == 1);
    CHECK(contains(worker->last_exit()->note, "guard thread has not answered for 200 ms"));
}

TEST_CASE("the heartbeat finds a worker that hangs without waiting for a deadline",
          "[process][F41]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = impatient();
    options.call_timeout = tether::no_timeout;
    options.stuck.heartbeat = 50ms;
    const auto worker = frozen_worker(options);
    if (!worker) return;
    const auto error = error_of([&] { worker->call(Await{gate.path(), false}); });
    CHECK(error.code() == errc::worker_stuck);
    CHECK(error.code() == errc::outcome_unknown);
    CHECK(contains(error.what(), "guard thread"));
    CHECK(worker->call(Count{}) == 1);
}

TEST_CASE("the heartbeat finds a worker that is stopped", "[process][F41]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.call_timeout = tether::no_timeout;
    options.stuck.heartbeat = 50ms;
    TestWorker worker{options};
    auto answer = worker.async_call(Await{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());
    const auto pid = worker.pid();
    REQUIRE(eventually([&] {  // a probe that is on its way continues it
        if (worker.pid() == pid) ::kill(static_cast<::pid_t>(pid), SIGSTOP);
        return answer.wait_for(100ms) == std::future_status::ready;
    }));
    const auto error = error_of([&] { answer.get(); });
    CHECK(error.code() == errc::worker_stuck);
    CHECK(contains(error.what(), "stopped by a signal while it had calls to answer"));
    CHECK(worker.call(Count{}) == 1);
}

TEST_CASE("the heartbeat leaves a busy worker alone", "[process][F41]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.stuck.heartbeat = 5ms;
    options.stuck.silence = patience;
    TestWorker worker{options};
    auto answer = worker.async_call(Await{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());
    const auto pid = worker.pid();
    CHECK_FALSE(eventually([&] { return worker.pid() != pid; }, while_nothing_happens));
    gate.open();
    CHECK_FALSE(answer.get());
    CHECK(worker.generation() == 1);
}

TEST_CASE("a worker that hangs as a whole may be reported, once", "[process][F41]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    Warnings warnings;
    auto options = impatient(StuckPolicy::Action::report);
    options.stuck.heartbeat = 20ms;
    options.stop = {.drain = 10ms, .terminate = 10ms};
    options.output = warnings.output();
    const auto worker = frozen_worker(options);
    if (!worker) return;
    auto answer = worker->async_call(Await{gate.path(), false}, asio::use_future);
    CHECK(eventually([&] { return !warnings.lines().empty(); }));
    const auto pid = worker->pid();
    CHECK_FALSE(eventually([&] { return worker->pid() != pid; }, while_nothing_happens));
    gate.open();
    CHECK_FALSE(answer.get());
    CHECK(warnings.lines().size() == 1);
    CHECK(contains(warnings.lines().at(0), "guard thread"));
}

TEST_CASE("with several handlers a stuck worker finishes the others first", "[process][F40]") {
    const Census census;
    const TemporaryFolder folder;
    Gate stuck{folder / "stuck"};
    Gate gate{folder / "gate"};
    auto options = impatient();
    options.concurrency = 2;
    TestWorker worker{options};
    auto slow = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    const auto pid = worker.pid();
    CHECK_THROWS_AS(worker.call(SpinForever{stuck.path(), false}, {.timeout = expires_in_handler}),
                    CallError);
    auto next = worker.async_call(Count{}, asio::use_future);
    CHECK_FALSE(eventually([&] { return worker.pid() != pid; }, while_nothing_happens));

    gate.open();

    CHECK_FALSE(slow.get());
    CHECK(next.get() == 1);
    CHECK(ends_soon(worker, pid));
    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.generation() == 2);
}

TEST_CASE("the heartbeat watches a worker that takes no more calls", "[process][F41][F88]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = impatient();
    options.concurrency = 2;
    options.call_timeout = tether::no_timeout;
    options.stuck.heartbeat = 50ms;
    TestWorker worker{options};
    auto last = worker.async_call(Await{gate.path(), false}, asio::use_future);
    REQUIRE(gate.hear_entered());
    const auto pid = worker.pid();
    CHECK_THROWS_AS(worker.call(Throw{"bad_alloc"}), tether::RemoteError);  // it shall leave
    REQUIRE(eventually([&] {  // a probe that is on its way continues it
        if (worker.pid() == pid) ::kill(static_cast<::pid_t>(pid), SIGSTOP);
        return last.wait_for(100ms) == std::future_status::ready;
    }));
    CHECK(error_of([&] { last.get(); }).code() == errc::worker_exited);
    CHECK(worker.call(Count{}) == 1);
}

TEST_CASE("a worker whose handler ran out of memory answers and leaves", "[process][F88][F17]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    REQUIRE(worker.call(Count{}) == 1);
    const auto pid = worker.pid();
    try {
        worker.call(Throw{"bad_alloc"});
        FAIL("no error");
    } catch (const RemoteError& error) {
        CHECK(error.remote_code() == "bad_alloc");
    }

    CHECK(worker.call(Count{}) == 1);

    CHECK(worker.pid() != pid);
    CHECK(worker.generation() == 2);
    CHECK(how(worker.last_exit()->status) == exited_well);
    CHECK(contains(to_string(*worker.last_exit()), "ran out of memory"));
}

TEST_CASE("an idle worker is stopped, and started by the next call", "[process][F87]") {
    const Census census;
    auto options = options_for(each_transport());
    options.idle_timeout = 50ms;
    options.stop = {.drain = patience, .terminate = patience};
    TestWorker worker{options};
    REQUIRE(worker.call(Count{}) == 1);
    REQUIRE(eventually([&] { return worker.state() == tether::WorkerState::ended; }));
    CHECK(how(worker.last_exit()->status) == exited_well);
    CHECK(contains(worker.last_exit()->note, "no call for 50 ms"));

    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.generation() == 2);
}

TEST_CASE("a worker with a call is not idle", "[process][F87]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.idle_timeout = 30ms;
    TestWorker worker{options};
    auto slow = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    const auto pid = worker.pid();
    CHECK_FALSE(eventually([&] { return worker.pid() != pid; }, while_nothing_happens));
    gate.open();
    CHECK_FALSE(slow.get());
}

TEST_CASE("limits are set in the worker", "[process][limits]") {
    const Census census;
    auto options = options_for();
    options.limits = {.cpu_time = 1000s, .core_bytes = 0, .nice = 7};
    TestWorker worker{options};
    worker.call(Nothing{});
    const auto pid = static_cast<::pid_t>(worker.pid());
    ::rlimit limit{};
    REQUIRE(::prlimit(pid, RLIMIT_CPU, nullptr, &limit) == 0);
    CHECK(limit.rlim_cur == 1000);
    REQUIRE(::prlimit(pid, RLIMIT_CORE, nullptr, &limit) == 0);
    CHECK(limit.rlim_cur == 0);
    CHECK(::getpriority(PRIO_PROCESS, static_cast<::id_t>(pid)) == 7);
    worker.stop();
    CHECK(worker.last_exit()->limits == options.limits);
}

TEST_CASE("a limit that the system refuses fails the start", "[process][limits]") {
    const std::string as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups ";
    if (std::system((as_nobody + "test -x " TETHER_MISBEHAVING_CHILD " 2>/dev/null").c_str()) !=
        0) {
        WARN("not tried: no right to become another user, or that one cannot see the build");
        return;
    }
    const Census census;
    auto options = options_for(each_transport());
    options.program = "setpriv";
    options.arguments = {"--reuid=65534", "--regid=65534", "--clear-groups",
                         TETHER_MISBEHAVING_CHILD};
    options.limits.nice = -5;
    TestWorker worker{options};
    const auto error = error_of([&] { worker.call(Nothing{}); });
    INFO(error.what());
    CHECK(error.code() == errc::start_failed);
    CHECK(contains(error.what(), "could not set the nice value to -5"));

    options.limits.nice = 5;
    worker.restart(options);
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("a handler that needs more memory than allowed fails, its caller learns why",
          "[process][limits][F77]") {
#if defined(TETHER_TEST_SANITIZED)
    WARN("skipped: a sanitizer needs more address space than any limit");
#else
    const Census census;
    auto options = options_for();
    options.limits.memory_bytes = std::uint64_t{512} * 1024 * 1024;
    TestWorker worker{options};
    try {
        worker.call(Make{std::int64_t{2} * 1024 * 1024 * 1024});
        FAIL("no error");
    } catch (const RemoteError& error) {
        CHECK(error.remote_code() == "bad_alloc");
    }
    CHECK(worker.call(Count{}) == 1);
    CHECK(contains(to_string(*worker.last_exit()), "limited to memory 512 MiB"));
#endif
}

TEST_CASE("a handler that computes longer than allowed is ended by the system",
          "[process][limits][F77]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto options = options_for();
    options.limits = {.cpu_time = 1s, .core_bytes = 0};
    TestWorker worker{options};
    const auto error = error_of([&] { worker.call(SpinForever{gate.path(), false}); });
    INFO(error.what());
    CHECK(error.code() == errc::worker_killed);
    CHECK(error.report()->status == ExitStatus::signaled(SIGXCPU));
    CHECK(contains(error.what(), "limited to CPU time 1 s"));
}

TEST_CASE("limits that contradict themselves are refused at once", "[process][limits]") {
    auto options = options_for();
    options.limits.nice = 40;
    CHECK_THROWS_AS(TestWorker{options}, std::invalid_argument);
    options.limits = {.memory_bytes = 0};
    CHECK_THROWS_AS(TestWorker{options}, std::invalid_argument);
    options.limits = {.cpu_time = 0s};
    CHECK_THROWS_AS(TestWorker{options}, std::invalid_argument);
}

TEST_CASE("a SIGKILL that nobody here sent is told apart", "[process][F77]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for()};
    auto pending = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    REQUIRE(::kill(static_cast<::pid_t>(worker.pid()), SIGKILL) == 0);
    const auto error = error_of([&] { pending.get(); });
    INFO(error.what());
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->killed_from_outside);
    CHECK((contains(error.what(), "out-of-memory") || contains(error.what(), "lack of memory")));

    worker.call(Nothing{});
    worker.kill();
    REQUIRE(eventually([&] { return worker.last_exit()->generation == 2; }));
    CHECK_FALSE(worker.last_exit()->killed_from_outside);
}

}  // namespace
}  // namespace tether_test::health_test
