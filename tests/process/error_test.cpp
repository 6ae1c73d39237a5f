// Nine ways in which a call can fail, told apart, each with its evidence (F77-F82).

#include <asio/use_future.hpp>

#include <future>

#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::error_test {
namespace {

constexpr const char* last_words = "reading rules\nthe reason is a broken rule\n";

// What every error of a worker's death has.
void check_evidence(const CallError& error, const TestWorker& worker, std::int64_t pid) {
    INFO(error.what());
    REQUIRE(error.report() != nullptr);
    const auto& report = *error.report();
    CHECK(report.worker == "child");
    CHECK(report.pid == pid);
    CHECK(report.generation == 1);
    CHECK(report.stderr_tail == last_words);
    REQUIRE(report.calls_in_flight.size() == 1);
    CHECK(report.calls_in_flight[0].id == 1);
    CHECK(contains(error.what(), "the reason is a broken rule"));
    CHECK(contains(error.what(), report.calls_in_flight[0].request));
    CHECK(contains(error.what(), std::to_string(pid)));
    const auto last = worker.last_exit();
    REQUIRE(last.has_value());
    CHECK(last->pid == report.pid);
    CHECK(last->status == report.status);
}

TEST_CASE("the peak memory in a report is the worker's, never its parent's",
          "[process][error][F77]") {
    const Census census;
    constexpr std::int64_t much = 64 * 1024 * 1024;
    TestWorker worker{options_for()};
    CHECK(worker.call(Make{much}).size() == much);
    worker.stop();
    CHECK(worker.last_exit()->peak_memory_bytes > much);
    // Now this process has held as much, and lends it to the next one when that is started.
    worker.restart();
    CHECK(worker.call(Add{1, 2}) == 3);
    worker.stop();
    CHECK(worker.last_exit()->peak_memory_bytes == 0);
}

TEST_CASE("a worker that exits in a call", "[process][error][F77]") {
    const Census census;
    const auto transport = each_transport();
    for (const int code : {3, 0}) {
        CAPTURE(code);
        TestWorker worker{options_for(transport)};
        const auto pid = worker.pid();
        const Stopwatch watch;
        const auto error = error_of([&] { worker.call(Exit{code, last_words}); });

        CHECK(watch.elapsed() < soon);
        CHECK(error.code() == errc::worker_exited);
        CHECK(error.code() == errc::outcome_unknown);
        check_evidence(error, worker, pid);
        CHECK(error.report()->status == tether::ExitStatus::exited(code));
        CHECK(contains(error.what(), "exited with code " + std::to_string(code)));
    }
}

TEST_CASE("a worker that a signal ends in a call", "[process][error][F77]") {
    const Census census;
    const auto transport = each_transport();
    for (const int number : {SIGABRT, SIGSEGV, SIGKILL, SIGBUS, SIGTERM}) {
        CAPTURE(number);
        TestWorker worker{options_for(transport)};
        const auto pid = worker.pid();
        const Stopwatch watch;
        const auto error = error_of([&] { worker.call(Signal{number, last_words}); });

        CHECK(watch.elapsed() < soon);
        CHECK(error.code() == errc::worker_killed);
        CHECK(error.code() == errc::outcome_unknown);
        check_evidence(error, worker, pid);
        CHECK(error.report()->status == tether::ExitStatus::signaled(number));
        CHECK(contains(error.what(), "signal " + std::to_string(number)));
    }
}

TEST_CASE("killed from outside in a call, the caller learns at once", "[process][error]") {
    const Census census;
    const auto transport = each_transport();
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(transport)};
    worker.call(Print{true, last_words, 1});
    const auto pid = worker.pid();
    auto result = std::async(std::launch::async, [&] {
        return error_of([&] { worker.call(Await{gate.path(), true}); });
    });
    REQUIRE(gate.hear_entered());

    const Stopwatch watch;
    ::kill(static_cast<::pid_t>(pid), SIGKILL);
    const auto error = result.get();

    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK(error.code() == errc::worker_killed);
    REQUIRE(error.report() != nullptr);
    CHECK(error.report()->status == tether::ExitStatus::signaled(SIGKILL));
    CHECK(error.report()->stderr_tail == last_words);
    REQUIRE(error.report()->calls_in_flight.size() == 1);
    CHECK(error.report()->calls_in_flight[0].request == "await");
    CHECK(contains(error.what(), "SIGKILL"));
}

TEST_CASE("all calls in flight are in the report", "[process][error]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    TestWorker worker{options_for(each_transport())};
    auto first = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    auto second = worker.async_call(Number{}, asio::use_future);
    auto third = worker.async_call(SideEffect{folder / "effect", 0}, asio::use_future);
    ::kill(static_cast<::pid_t>(worker.pid()), SIGKILL);

    const auto error = error_of([&] { first.get(); });
    REQUIRE(error.report() != nullptr);
    REQUIRE(error.report()->calls_in_flight.size() == 3);
    CHECK(error.report()->calls_in_flight[0].request == "await");
    CHECK(error.report()->calls_in_flight[1].request == "number");
    CHECK(error.report()->calls_in_flight[2].request == "side_effect");
    CHECK_NOTHROW(second.get());  // they had not begun
    CHECK(third.get() == 1);
}

// Bytes on the connection that are no message.
TEST_CASE("garbage on the connection", "[process][error][F15][F16]") {
    const Census census;
    const auto transport = each_transport();
    for (const std::string kind :
         {"garbage", "wrong_number", "wrong_type", "wrong_frame", "huge"}) {
        CAPTURE(kind);
        TestWorker worker{options_for(transport)};
        worker.call(Nothing{});
        const auto pid = worker.pid();
        const Stopwatch watch;
        const auto error = error_of([&] { worker.call(Meddle{kind}); });

        INFO(error.what());
        CHECK(watch.elapsed() < soon);
        CHECK(error.code() == errc::framing);
        CHECK(error.code() == std::errc::protocol_error);
        REQUIRE(error.report() != nullptr);
        CHECK(error.report()->pid == pid);
        CHECK_FALSE(error.report()->note.empty());
        // It is replaced.
        CHECK(worker.call(Add{1, 2}) == 3);
        CHECK(worker.generation() == 2);
        CHECK_FALSE(is_running(pid));
    }
}

TEST_CASE("garbage fails all that is pending", "[process][error][F15]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    worker.call(Nothing{});
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto first = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    auto second = worker.async_call(Meddle{"garbage"}, asio::use_future);
    auto third = worker.async_call(Number{}, asio::use_future);
    gate.open();

    CHECK_FALSE(first.get());  // its answer came before
    CHECK(error_of([&] { second.get(); }).code() == errc::framing);
    CHECK(error_of([&] { third.get(); }).code() == errc::framing);
}

TEST_CASE("what was good before the garbage counts", "[process][error][F14]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    worker.call(Nothing{});
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto zeroth = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    auto first = worker.async_call(Meddle{"good_good_bad"}, asio::use_future);
    auto second = worker.async_call(Meddle{"nothing"}, asio::use_future);
    auto third = worker.async_call(Number{}, asio::use_future);
    gate.open();

    CHECK_FALSE(zeroth.get());
    CHECK(first.get() == 1);
    CHECK(second.get() == 1);
    CHECK(error_of([&] { third.get(); }).code() == errc::framing);
}

TEST_CASE("an answer that comes twice", "[process][error][F16]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    worker.call(Nothing{});

    CHECK(worker.call(Meddle{"twice"}) == 1);  // the first answer is as good as any

    // The second one ends the connection; calls settle all the same, with an answer from this
    // worker or the next, or with the error, but not with another call's answer.
    bool replaced = false;
    for (int i = 0; i < 20 && !replaced; ++i) {
        try {
            REQUIRE(worker.call(Add{i, 1}) == i + 1);
        } catch (const CallError& error) {
            INFO(error.what());
            CHECK(error.code() == errc::framing);
        }
        replaced = worker.generation() == 2;
    }
    CHECK(replaced);
}

TEST_CASE("a worker that closes its connection", "[process][error]") {
    const Census census;
    auto options = options_for(each_transport());
    options.stop = {.drain = 100ms, .terminate = 100ms};
    TestWorker worker{options};
    worker.call(Nothing{});
    const Stopwatch watch;
    const auto error = error_of([&] { worker.call(Meddle{"close"}); });

    INFO(error.what());
    CHECK(watch.elapsed() < soon);
    CHECK((error.code() == errc::framing || error.code() == errc::worker_exited));
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("a worker that exits with half an answer sent", "[process][error]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    const auto error = error_of([&] { worker.call(Meddle{"half"}); });

    INFO(error.what());
    CHECK(error.code() == errc::worker_exited);
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("an answer to a request that is still being sent", "[process][error]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    auto first = worker.async_call(Await{gate.path(), true}, asio::use_future);
    REQUIRE(gate.hear_entered());
    auto meddling = worker.async_call(Meddle{"answer_next"}, asio::use_future);
    // Too much for the socket: most of it has not left when its answer comes.
    auto large = worker.async_call(Echo{"", patterned(16 << 20)}, asio::use_future);
    gate.open();

    CHECK_FALSE(first.get());
    CHECK_THROWS_AS(large.get(), CallError);  // the false answer is no Echoed
    try {
        const auto answer = meddling.get();
        CHECK(answer == 1);
    } catch (const CallError& error) {
        CHECK(error.code() == errc::framing);
    }
    // The worker gets the rest of the request and answers it again, or is replaced.
    for (int i = 0; i < 3; ++i) {
        try {
            const auto sum = worker.call(Add{1, 2});
            CHECK(sum == 3);
        } catch (const CallError& error) {
            CHECK(error.code() == errc::framing);
        }
    }
}

TEST_CASE("what a handler throws arrives", "[process][error][F17][F80]") {
    const Census census;
    const auto transport = each_transport();
    TestWorker worker{options_for(transport)};
    const auto remote = [&](const std::string& kind) {
        try {
            worker.call(Throw{kind});
        } catch (const RemoteError& error) {
            return error;
        }
        FAIL("no RemoteError for " << kind);
        throw std::logic_error("not reached");
    };

    SECTION("a HandlerError") {
        const auto error = remote("handler_error");
        CHECK(error.code() == errc::handler);
        CHECK(error.code() != errc::outcome_unknown);
        CHECK(error.remote_code() == "no_file");
        CHECK(error.message() == "a file name is needed");
        CHECK(error.causes().size() == 1);
        CHECK(contains(error.what(), "a file name is needed"));
        CHECK(contains(error.what(), "throw"));
        CHECK(contains(error.what(), "child"));
        CHECK(error.report() == nullptr);
    }
    SECTION("a system_error") {
        const auto error = remote("system");
        CHECK(error.remote_code() == "generic:2");
        CHECK(contains(error.message(), "open config.toml"));
    }
    SECTION("nested exceptions") {
        const auto error = remote("nested");
        REQUIRE(error.causes().size() == 3);
        CHECK(error.remote_code() == "bad_rules");
        CHECK(error.causes()[0].message == "linting is impossible");
        CHECK(error.causes()[1].code == "exception");
        CHECK(error.causes()[1].message == "the rules cannot be read");
        CHECK(error.causes()[2].code == "generic:13");
        CHECK(contains(error.what(), "open rules.json"));
    }
    SECTION("anything else") {
        CHECK(remote("exception").remote_code() == "exception");
        CHECK(remote("int").remote_code() == "unknown");
        CHECK(remote("not_utf8").message() == "bytes \xff\xfe\x80 of \xc3");
        CHECK(remote("long").message() == std::string(1'000'000, 'e'));
    }
    // The worker is none the worse for it.
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 1);
}

TEST_CASE("what is hardly an exception is one error, too", "[process][error][F94]") {
    const Census census;
    auto options = options_for();
    options.concurrency = GENERATE(1U, 3U);
    TestWorker worker{options};
    const auto causes = [&](const std::string& kind) {
        try {
            worker.call(Throw{kind});
        } catch (const RemoteError& error) {
            return error.causes();
        }
        FAIL("no RemoteError for " << kind);
        throw std::logic_error("not reached");
    };
    CHECK(causes("null").at(0).message.empty());
    CHECK(causes("enormous").at(0).message == std::string(std::size_t{1} << 20, 'e'));
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 1);
    // That one cannot go on. The answer comes first.
    CHECK(contains(causes("end_thread").at(0).message, "ended its thread"));
    CHECK(eventually([&] { return worker.last_exit().has_value(); }, patience));
    CHECK(worker.last_exit()->status == tether::ExitStatus::exited(1));
    CHECK(worker.call(Add{1, 2}) == 3);
}

TEST_CASE("a handler whose destructor throws ends its worker in order", "[process][error][F94]") {
    const Census census;
    TestWorker worker{options_for({"throw-in-destructor"})};
    worker.call(Nothing{});
    worker.stop();
    REQUIRE(worker.last_exit().has_value());
    CHECK(worker.last_exit()->status == tether::ExitStatus::exited(1));
    CHECK(contains(worker.last_exit()->stderr_tail, "destructor threw: it is not done"));
}

TEST_CASE("a value that cannot be encoded or decoded", "[process][error][F17]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    const auto failing = [&](const Carry& request) {
        const auto error = error_of([&] { worker.call(request); });
        CHECK(error.code() == errc::codec);
        CHECK(contains(error.what(), "carry"));
        return std::string{error.what()};
    };

    CHECK(contains(failing({.value = {.breaks_encoding = true}}), "breaks when it is encoded"));
    CHECK(contains(failing({.value = {.breaks_decoding = true}}), "breaks when it is decoded"));
    CHECK(contains(failing({.answer_breaks_encoding = true}), "breaks when it is encoded"));
    CHECK(contains(failing({.answer_breaks_decoding = true}), "breaks when it is decoded"));

    worker.call(Carry{});
    CHECK(worker.generation() == 1);
}

TEST_CASE("a message that is too large fails its own call only", "[process][error][F12]") {
    const Census census;
    auto options = options_for(each_transport());
    options.max_message_bytes = 1 << 20;
    TestWorker worker{options};
    const auto check = [](const CallError& error) {
        INFO(error.what());
        CHECK(error.code() == errc::message_too_large);
        CHECK(error.code() == std::errc::message_size);
        CHECK(contains(error.what(), std::to_string(1 << 20)));  // the limit
    };

    SECTION("a request") {
        check(error_of([&] { worker.call(Echo{"", tether::Bytes((1 << 20) + 1)}); }));
        check(error_of([&] { worker.call(Echo{std::string((1 << 20) + 1, 'x'), {}}); }));
    }
    SECTION("an async request") {
        auto result = worker.async_call(Echo{"", tether::Bytes((1 << 20) + 1)}, asio::use_future);
        check(error_of([&] { result.get(); }));
    }
    SECTION("an answer") {
        check(error_of([&] { worker.call(Make{(1 << 20) + 1}); }));
    }
    // The limit itself is allowed, and the worker lives on.
    CHECK(worker.call(Make{1 << 20}).size() == 1 << 20);
    CHECK(worker.generation() == 1);
}

TEST_CASE("the nine causes differ", "[process][error][F77]") {
    const Census census;
    const TemporaryFolder folder;
    Gate gate{folder / "gate"};
    const auto fail = [&](auto request, tether::CallOptions<decltype(request)> call_options = {}) {
        TestWorker worker{options_for()};
        const auto error = error_of([&] { worker.call(request, call_options); });
        std::string key = std::to_string(error.code().value() & 0xff);
        if (const auto* report = error.report()) key += " " + to_string(report->status);
        return key;
    };
    std::vector<std::string> causes{
        fail(Exit{3, {}}),
        fail(Exit{0, {}}),
        fail(Signal{SIGABRT, {}}),
        fail(Signal{SIGSEGV, {}}),
        fail(Signal{SIGKILL, {}}),
        fail(Meddle{"garbage"}),
        fail(Throw{"exception"}),
        fail(Carry{.answer_breaks_encoding = true}),
        fail(Await{gate.path(), true}, {.timeout = 50ms}),
    };
    std::sort(causes.begin(), causes.end());
    CAPTURE(causes);
    CHECK(std::unique(causes.begin(), causes.end()) == causes.end());
}

TEST_CASE("a program that writes to the control channel is no worker", "[process][error]") {
    const Census census;
    const ProcessMark mark;
    auto options = options_for({"-c", "printf '\\000\\000\\000\\000abcdef' >&3; exec sleep 1000"},
                               each_transport());
    options.program = "/bin/sh";
    mark.put_into(options);
    {
        TestWorker worker{options};
        const Stopwatch watch;
        const auto error = error_of([&] { worker.call(Nothing{}); });
        INFO(error.what());
        CHECK(error.code() == errc::framing);
        CHECK(contains(error.what(), "control channel"));
        CHECK(watch.elapsed() < soon);
    }
    CHECK(mark.all_gone());
}

#if !defined(TETHER_TEST_SANITIZED)
TEST_CASE("a worker that has no memory for a request says so", "[process][error]") {
    const Census census;
    const auto transport = each_transport();
    for (const unsigned concurrency : {1U, 4U}) {
        CAPTURE(concurrency);
        auto options = options_for(
            {"-c", "ulimit -v 300000; exec \"$0\"", TETHER_MISBEHAVING_CHILD}, transport);
        options.program = "/bin/sh";
        options.concurrency = concurrency;
        TestWorker worker{options};
        CHECK(worker.call(Add{1, 2}) == 3);
        const auto error = error_of([&] {
            worker.call(Echo{{}, tether::Bytes(std::size_t{300} << 20)});
        });
        INFO(error.what());
        CHECK(error.code() == errc::worker_exited);
        CHECK(contains(error.what(), "ran out of memory"));
        CHECK(worker.call(Add{1, 2}) == 3);
        CHECK(worker.generation() == 2);
    }
}
#endif

}  // namespace
}  // namespace tether_test::error_test
