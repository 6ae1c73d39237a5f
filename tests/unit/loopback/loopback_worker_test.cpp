#include <tether/loopback_worker.hpp>
#include <tether/worker.hpp>

#include <asio/io_context.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"
#include "unit/loopback/loopback_support.hpp"

namespace loopback_worker_test {

/// Throws what is no std::exception where it is told so.
struct Odd {
    bool breaks_encoding = false;
    bool breaks_decoding = false;
};
inline void to_json(nlohmann::json& json, const Odd& value) {
    if (value.breaks_encoding) throw 42;
    json = value.breaks_decoding;
}
inline void from_json(const nlohmann::json& json, Odd& value) {
    if (json.get<bool>()) throw 43;
    value = {};
}

struct CarryOdd {
    static constexpr std::string_view name = "carry_odd";
    using Response = Odd;
    Odd value{};
    bool answer_breaks = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CarryOdd, value, answer_breaks)

/// Data members with the names of what a request type may say about itself.
struct Job {
    static constexpr std::string_view name = "job";
    using Response = int;
    int timeout{};
    bool idempotent{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Job, timeout, idempotent)

struct OddProtocol {
    static constexpr std::string_view name = "test.odd";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<CarryOdd, Job>;
};

class OddHandler final : public tether::Handler<OddProtocol> {
    Odd handle(const CarryOdd& request, tether::CallContext<CarryOdd>&) override {
        return {.breaks_decoding = request.answer_breaks};
    }
    int handle(const Job& job, tether::CallContext<Job>& call) override {
        return call.deadline() ? -1 : job.timeout + (job.idempotent ? 1 : 0);
    }
};
using OddWorker = tether::LoopbackWorker<OddProtocol, OddHandler>;

namespace {

using namespace loopback_test;
using namespace std::chrono_literals;
using namespace std::string_literals;
using tether::CallError;
using tether::errc;
using tether::RemoteError;
using tether::WorkerOptions;
using tether::WorkerState;
using tether_test::contains;

static_assert(!std::is_copy_constructible_v<Worker>);
static_assert(!std::is_copy_assignable_v<Worker>);
static_assert(std::is_nothrow_move_constructible_v<Worker>);
static_assert(std::is_nothrow_destructible_v<Worker>);
static_assert(std::is_same_v<Worker::protocol_type, TestProtocol>);

/// A codec of one's own: JSON, written backwards.
struct BackwardsCodec {
    static constexpr std::string_view name = "nosj";
    template <class T>
    static void encode(const T& value, std::string& out) {
        const auto text = nlohmann::json(value).dump();
        out.append(text.rbegin(), text.rend());
    }
    template <class T>
    static T decode(std::string_view in) {
        return nlohmann::json::parse(std::string(in.rbegin(), in.rend())).template get<T>();
    }
};

/// The error that `call` ends with.
template <class Call>
CallError error_of(Call call) {
    try {
        call();
    } catch (const CallError& error) {
        return error;
    }
    return {errc::handler, "there was no error"};  // which no test expects
}

}  // namespace

TEMPLATE_TEST_CASE("a call travels through the codec and back", "", tether::MessagePackCodec,
                   tether::JsonCodec, tether::CborCodec, BackwardsCodec) {
    tether::LoopbackWorker<ProtocolWith<TestType>, HandlerWith<TestType>> worker;
    CHECK(worker.call(Echo{"\xe4\xb8\xad\xe6\x96\x87\n"}) == "\xe4\xb8\xad\xe6\x96\x87\n");
    CHECK(worker.call(Add{{1, 2, 39}}) == Sum{42});
    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.call(Count{}) == 2);
    worker.call(Fail{});
    CHECK(worker.call(Reverse{tether::Bytes{"\0abc"s}}).view() == "cba\0"s);
    CHECK(worker.call(Reverse{}).empty());
    CHECK_FALSE(worker.pid());
}

TEST_CASE_METHOD(FreshStage, "strings carry any bytes, unless the codec cannot", "[F11][F17]") {
    Worker worker;
    CHECK(worker.call(Echo{"\xff\0"s}) == "\xff\0"s);
    tether::LoopbackWorker<ProtocolWith<tether::JsonCodec>, HandlerWith<tether::JsonCodec>> json;
    const auto error = error_of([&] { json.call(Echo{"\xff"}); });
    CHECK(error.code() == errc::codec);
    CHECK(contains(error.what(), "\"echo\""));
    CHECK(json.call(Echo{"next"}) == "next");
}

TEST_CASE_METHOD(FreshStage, "what a handler throws is that call's error, once", "[F17][F80]") {
    Worker worker{WorkerOptions{.name = "lint"}};
    const auto remote = [&](const std::string& how) -> RemoteError {
        try {
            worker.call(Fail{how});
        } catch (const RemoteError& error) {
            return error;
        }
        FAIL("no error for " << how);
        return {"", {{"", ""}}};
    };
    CHECK(remote("std").remote_code() == "exception");
    CHECK(remote("std").message() == "a plain one");
    CHECK(remote("std").code() == errc::handler);
    CHECK(remote("std").code() != errc::outcome_unknown);
    CHECK(remote("int").remote_code() == "unknown");
    CHECK(remote("bad_alloc").remote_code() == "bad_alloc");
    CHECK(remote("not UTF-8").message() == "\xff\xfe");
    CHECK(remote("handler").remote_code() == "no_file");
    CHECK(contains(remote("handler").what(), "a file is needed"));
    CHECK(contains(remote("handler").what(), "\"fail\""));
    CHECK(contains(remote("handler").what(), "\"lint\""));
    const auto nested = remote("nested");
    REQUIRE(nested.causes().size() == 2);
    CHECK(nested.causes()[1].code == "generic:2");
    CHECK(contains(nested.what(), "it failed; caused by: "));
    worker.call(Fail{"not at all"});
    CHECK(worker.call(Count{}) == 1);
}

TEST_CASE_METHOD(FreshStage, "a request over the limit fails alone", "[F12]") {
    Worker worker{WorkerOptions{.max_message_bytes = 10'000}};
    const auto error = error_of([&] { worker.call(Echo{std::string(10'000, 'x')}); });
    CHECK(error.code() == errc::message_too_large);
    CHECK(error.code() == std::errc::message_size);
    CHECK(contains(error.what(), "max_message_bytes = 10000"));
    const auto blob = error_of([&] { worker.call(Reverse{tether::Bytes{std::size_t{10'001}}}); });
    CHECK(blob.code() == errc::message_too_large);
    CHECK(worker.call(Echo{std::string(9000, 'x')}).size() == 9000u);
}

namespace {

struct Fill {
    static constexpr std::string_view name = "fill";
    using Response = std::string;
    std::size_t size{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Fill, size)
struct FillProtocol {
    static constexpr std::string_view name = "test.fill";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Fill>;
};
class Filler final : public tether::Handler<FillProtocol> {
    std::string handle(const Fill& request, tether::CallContext<Fill>&) override {
        return std::string(request.size, 'f');
    }
};

}  // namespace

TEST_CASE("a response over the limit is that call's error, as with a process", "[F12]") {
    tether::LoopbackWorker<FillProtocol, Filler> worker{WorkerOptions{.max_message_bytes = 5000}};
    CHECK(worker.call(Fill{4000}).size() == 4000u);
    CHECK(error_of([&] { worker.call(Fill{6000}); }).code() == errc::message_too_large);
    CHECK(worker.call(Fill{4000}).size() == 4000u);
}

TEST_CASE_METHOD(FreshStage, "a call ends at its deadline, and its handler is told", "[F40]") {
    Worker worker;
    const auto error = error_of([&] { worker.call(Wait{}, {.timeout = 20ms}); });
    CHECK(error.code() == errc::timeout);
    CHECK(error.code() == std::errc::timed_out);
    CHECK(contains(error.what(), "\"wait\""));
    // It may have expired before a thread took it: then the handler never ran.
    if (stage().entered.value() != 0) CHECK(stage().stopped.wait_for(1));
    CHECK(worker.call(Echo{"next"}) == "next");
}

TEST_CASE_METHOD(FreshStage, "a run timeout counts from the start of the handler") {
    Worker worker;
    const auto error = error_of([&] { worker.call(Wait{}, {.run_timeout = 20ms}); });
    CHECK(error.code() == errc::timeout);
    CHECK(stage().entered.value() == 1);
    CHECK(stage().stopped.wait_for(1));
    CHECK(worker.call(Echo{"next"}, {.run_timeout = 30min}) == "next");
}

TEST_CASE_METHOD(FreshStage, "a late answer reaches no other call", "[F40]") {
    Worker worker;
    std::jthread caller{[&] {
        try {
            worker.call(Wait{.stubborn = true}, {.timeout = 20ms});
        } catch (const CallError&) {
        }
    }};
    REQUIRE(stage().entered.wait_for(1));
    caller.join();
    std::jthread opener{[&] { stage().open.add(); }};
    for (int i = 0; i < 50; ++i) {
        const auto text = std::to_string(i);
        if (worker.call(Echo{text}) != text) FAIL("another call's answer");
    }
}

TEST_CASE_METHOD(FreshStage, "no time at all is no time", "[F42]") {
    Worker worker;
    CHECK(error_of([&] { worker.call(Wait{}, {.timeout = 0s}); }).code() == errc::timeout);
    CHECK(error_of([&] { worker.call(Wait{}, {.timeout = -1h}); }).code() == errc::timeout);
    CHECK(stage().entered.value() == 0);  // it was not asked at all
}

TEST_CASE("the deadline reaches the handler, and the nearest setting counts", "[F42][F95]") {
    Worker worker{WorkerOptions{.call_timeout = 1h}};
    const auto left = worker.call(TimeLeft{});
    CHECK(left > 3'000'000);
    CHECK(left <= 3'600'000);
    CHECK(worker.call(TimeLeftOfTen{}) <= 10'000);
    CHECK(worker.call(TimeLeftOfTen{}, {.timeout = 30min}) > 1'000'000);
    CHECK(worker.call(TimeLeft{}, {.timeout = tether::no_timeout}) == -1);
    CHECK(worker.call(TimeLeft{}, {.timeout = 24h * 365}) > std::int64_t{364} * 24 * 3600 * 1000);
    CHECK(worker.call(TimeLeft{}, {.timeout = std::chrono::milliseconds::max()}) == -1);
    CHECK(worker.call(TimeLeft{}, {.timeout = 1800.5s}) > 1'000'000);
    Worker patient{WorkerOptions{.call_timeout = std::chrono::hours::max()}};
    CHECK(patient.call(TimeLeft{}) == -1);
    CHECK(patient.call(TimeLeftOfTen{}) > 0);
}

TEST_CASE_METHOD(FreshStage, "a stop token ends the call at once, and tells the handler") {
    Worker worker;
    std::stop_source source;
    std::jthread canceller{[&] {
        if (stage().entered.wait_for(1)) source.request_stop();
    }};
    const auto error = error_of([&] { worker.call(Wait{}, {.stop_token = source.get_token()}); });
    CHECK(error.code() == errc::cancelled);
    CHECK(error.code() == std::errc::operation_canceled);
    CHECK(stage().stopped.wait_for(1));
}

TEST_CASE_METHOD(FreshStage, "a token that was stopped before leaves no trace") {
    Worker worker;
    std::stop_source source;
    source.request_stop();
    CHECK(error_of([&] { worker.call(Wait{}, {.stop_token = source.get_token()}); }).code() ==
          errc::cancelled);
    CHECK(worker.call(Count{}) == 1);
    CHECK(stage().entered.value() == 0);
}

TEST_CASE_METHOD(FreshStage, "stopping ends calls, waits for handlers and destroys the handler") {
    std::optional<Worker> worker{std::in_place};
    CHECK(worker->state() == WorkerState::ended);
    CHECK(worker->generation() == 0u);
    CHECK(worker->call(Count{}) == 1);
    CHECK(worker->state() == WorkerState::ready);
    CHECK(worker->generation() == 1u);

    auto pending = std::async(std::launch::async,
                              [&] { return error_of([&] { worker->call(Wait{}); }).code(); });
    REQUIRE(stage().entered.wait_for(1));
    worker->stop();
    CHECK(stage().left.value() == 1);
    CHECK(stage().destroyed.value() == 1);
    CHECK(pending.get() == errc::stopped);
    CHECK(worker->state() == WorkerState::stopped);
    CHECK(error_of([&] { worker->call(Count{}); }).code() == errc::stopped);
    worker->stop();

    worker->restart();
    CHECK(worker->call(Count{}) == 1);  // a fresh handler
    CHECK(worker->generation() == 2u);
    worker.reset();
    CHECK(stage().made.value() == 2);
    CHECK(stage().destroyed.value() == 2);
}

TEST_CASE_METHOD(FreshStage, "killing ends calls, and the next call makes a fresh handler") {
    Worker worker;
    worker.kill();  // nothing there
    auto pending = std::async(std::launch::async,
                              [&] { return error_of([&] { worker.call(Wait{}); }).code(); });
    REQUIRE(stage().entered.wait_for(1));
    worker.kill();
    CHECK(pending.get() == errc::worker_killed);
    CHECK(worker.state() == WorkerState::ended);
    CHECK(worker.call(Count{}) == 1);
    CHECK(worker.generation() == 2u);
}

TEST_CASE_METHOD(FreshStage, "a call that comes while it is killed is answered", "[F54]") {
    Worker worker;
    auto pending = std::async(std::launch::async, [&] {
        return error_of([&] { worker.call(Wait{.stubborn = true}); }).code();
    });
    REQUIRE(stage().entered.wait_for(1));
    auto killed = std::async(std::launch::async, [&] { worker.kill(); });
    CHECK(pending.get() == errc::worker_killed);  // so kill() waits for the handler now
    // The handler is on its way out: a call that comes now must not be lost with it.
    auto late = worker.async_call(Count{}, {.timeout = tether_test::patience}, asio::use_future);
    stage().open.add();
    killed.get();
    CHECK(late.get() == 1);
}

TEST_CASE_METHOD(FreshStage, "stopping from several threads at once", "[F54]") {
    for (int round = 0; round < 20; ++round) {
        stage().reset();
        Worker worker{WorkerOptions{.concurrency = 2}};
        std::vector<std::jthread> threads;
        for (int i = 0; i < 2; ++i) {
            threads.emplace_back([&] {
                try {
                    worker.call(Wait{.stubborn = true});
                } catch (const CallError&) {
                }
            });
        }
        REQUIRE(stage().entered.wait_for(2));
        std::atomic<int> early{0};
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&] {
                worker.stop();
                if (stage().left.value() != 2) ++early;
            });
        }
        threads.emplace_back([&] { stage().open.add(); });
        threads.clear();
        CHECK(early == 0);
        CHECK(stage().destroyed.value() == 1);
    }
}

TEST_CASE_METHOD(FreshStage, "handlers run side by side where they may") {
    Worker worker{WorkerOptions{.concurrency = 3}};
    std::vector<std::future<bool>> waiting;
    for (int i = 0; i < 3; ++i) {
        waiting.push_back(std::async(std::launch::async, [&] { return worker.call(Wait{true}); }));
    }
    CHECK(stage().entered.wait_for(3));
    stage().open.add();
    for (auto& one : waiting) CHECK_FALSE(one.get());
}

TEST_CASE_METHOD(FreshStage, "one at a time is the default, queueing counts as waiting") {
    Worker worker;
    auto first = std::async(std::launch::async, [&] { return worker.call(Wait{true}); });
    REQUIRE(stage().entered.wait_for(1));
    CHECK(error_of([&] { worker.call(Count{}, {.timeout = 20ms}); }).code() == errc::timeout);
    stage().open.add();
    CHECK_FALSE(first.get());
    CHECK(worker.call(Count{}) == 1);  // the one that expired never ran
}

TEST_CASE("sixteen threads get their own answers", "[F54]") {
    Worker worker{WorkerOptions{.concurrency = 4}};
    std::atomic<int> wrong{0};
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 16; ++t) {
        threads.emplace_back([&, t] {
            std::minstd_rand random{t + 1};
            for (int i = 0; i < 100; ++i) {
                const auto text = std::to_string(t) + ":" + std::to_string(i);
                try {
                    std::stop_source source;
                    if (random() % 8 == 0) source.request_stop();
                    const auto timeout = random() % 4 == 0 ? 50us : 30s;
                    const auto answer = worker.call(
                        Echo{text}, {.timeout = timeout, .stop_token = source.get_token()});
                    if (answer != text) ++wrong;
                } catch (const CallError& error) {
                    if (error.code() != errc::timeout && error.code() != errc::cancelled) ++wrong;
                }
            }
        });
    }
    threads.clear();
    CHECK(wrong == 0);
}

namespace {

struct Ask {
    static constexpr std::string_view name = "ask";
    using Response = void;
};
struct AskProtocol {
    static constexpr std::string_view name = "test.ask";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ask>;
};
template <class What>
class Unmakeable final : public tether::Handler<AskProtocol> {
public:
    static inline int to_fail = 0;
    Unmakeable() {
        if (to_fail-- > 0) throw What{"no database"};
    }

private:
    void handle(const Ask&, tether::CallContext<Ask>&) override {}
};
struct NoException {
    explicit NoException(const char*) {}
};

}  // namespace

TEMPLATE_TEST_CASE("a handler that cannot be made fails the call, and the next tries again",
                   "[F53]", std::runtime_error, NoException) {
    using H = Unmakeable<TestType>;
    tether::LoopbackWorker<AskProtocol, H> worker;
    H::to_fail = 1;
    SECTION("call") {
        const auto error = error_of([&] { worker.call(Ask{}); });
        CHECK(error.code() == errc::start_failed);
        if (std::is_same_v<TestType, std::runtime_error>) {
            CHECK(contains(error.what(), "no database"));
        }
    }
    SECTION("async_call") {
        auto future = worker.async_call(Ask{}, asio::use_future);
        CHECK(error_of([&] { future.get(); }).code() == errc::start_failed);
    }
    worker.call(Ask{});
    CHECK(worker.state() == WorkerState::ready);
}

TEST_CASE("what a handler logs reaches the output's callback") {
    struct Line {
        std::string worker, text;
        tether::Severity severity;
        tether::LogSource source;
    };
    std::vector<Line> lines;
    const auto output = tether::Output::to([&](const tether::LogRecord& record) {
        lines.push_back(
            {std::string{record.worker}, std::string{record.text}, record.severity, record.source});
    });
    Worker worker{WorkerOptions{.name = "talker", .output = output}};
    worker.call(Log{"one"});
    worker.call(Log{"two\nthree\n"});
    REQUIRE(lines.size() == 3);
    CHECK(lines[0].worker == "talker");
    CHECK(lines[0].text == "one");
    CHECK(lines[0].severity == tether::Severity::warning);
    CHECK(lines[0].source == tether::LogSource::log);
    CHECK(lines[1].text == "two");
    CHECK(lines[2].text == "three");
}

TEST_CASE_METHOD(FreshStage, "an output callback may stop its own worker", "[loopback]") {
    std::atomic<bool> returned{false};
    Worker* talker = nullptr;
    tether::WorkerOptions options;
    options.stop = {std::chrono::milliseconds{20}, std::chrono::milliseconds{20}};
    options.output = tether::Output::to([&](const tether::LogRecord&) {
        if (talker == nullptr) return;
        std::exchange(talker, nullptr)->stop();
        returned = true;
    });
    Worker worker{options};
    talker = &worker;
    CHECK_THROWS_AS(worker.call(Log{"one"}), tether::CallError);
    while (!returned) std::this_thread::yield();
    CHECK(worker.state() == WorkerState::stopped);
}

TEST_CASE_METHOD(FreshStage, "options that contradict each other are refused at once") {
    CHECK_THROWS_AS(Worker{WorkerOptions{.concurrency = 0}}, std::invalid_argument);
    CHECK(stage().made.value() == 0);
}

TEST_CASE_METHOD(FreshStage, "a worker can be moved, and never used costs nothing") {
    Worker first;
    Worker second{std::move(first)};
    CHECK(second.call(Count{}) == 1);
    Worker third{std::move(second)};
    CHECK(third.call(Count{}) == 2);
    asio::io_context context;
    const Worker unused{context};
    CHECK(unused.get_executor() == context.get_executor());
    CHECK(stage().made.value() == 1);
    context.run();  // an idle worker holds nobody up
    CHECK(context.stopped());
}

/// What code can do that is a template over the worker's type.
template <class W>
concept WorkerLike = requires(W& worker, const W& shown) {
    { worker.call(Count{}) } -> std::same_as<int>;
    { worker.stop() } -> std::same_as<std::optional<tether::ExitStatus>>;
    worker.kill();
    worker.restart();
    worker.ref();
    worker.unref();
    { shown.last_exit() } -> std::same_as<std::optional<tether::ExitReport>>;
    { shown.pid() } -> std::same_as<std::int64_t>;
    { shown.generation() } -> std::same_as<std::uint64_t>;
    { shown.state() } -> std::same_as<tether::WorkerState>;
};
static_assert(WorkerLike<Worker> && WorkerLike<tether::Worker<Worker::protocol_type>>);

TEST_CASE_METHOD(FreshStage, "a worker that is ref'd keeps run() alive, until it is not") {
    asio::io_context context;
    Worker worker{context};
    worker.ref();
    worker.ref();
    CHECK(context.run_for(std::chrono::milliseconds{20}) == 0);
    CHECK_FALSE(context.stopped());
    worker.unref();
    context.run();
    CHECK(context.stopped());
    CHECK_FALSE(worker.last_exit());
    CHECK_FALSE(worker.stop());
}

TEST_CASE("what is hardly an exception is one error of a loopback worker, too", "[F94]") {
    Worker worker;
    const auto message = [&](const std::string& how) {
        try {
            worker.call(Fail{how});
        } catch (const tether::RemoteError& error) {
            return error.message();
        }
        FAIL("no RemoteError for " << how);
        return std::string{};
    };
    CHECK(message("null").empty());
    CHECK(contains(message("end_thread"), "ended its thread"));
    CHECK(worker.call(Echo{"after"}) == "after");
}

TEST_CASE("a codec that throws what is no exception gives a codec error") {
    asio::io_context context;
    OddWorker worker{context};
    const auto both = [&](const CarryOdd& request, std::string_view text) {
        std::exception_ptr completed;
        worker.async_call(request, [&](std::exception_ptr error, Odd) { completed = error; });
        context.restart();
        context.run_for(tether_test::patience);
        REQUIRE(completed != nullptr);
        for (const auto& error : {error_of([&] { worker.call(request); }),
                                  error_of([&] { std::rethrow_exception(completed); })}) {
            INFO(error.what());
            CHECK(error.code() == errc::codec);
            CHECK(contains(error.what(), text));
        }
    };
    both({.value = {.breaks_encoding = true}}, "the request could not be encoded");
    both({.answer_breaks = true}, "the response could not be decoded");
    worker.call(CarryOdd{});
}

TEST_CASE("a request may have data members called timeout and idempotent") {
    asio::io_context context;
    OddWorker worker{context, WorkerOptions{.call_timeout = tether::no_timeout}};
    CHECK(worker.call(Job{7, true}) == 8);
    int answer = 0;
    worker.async_call(Job{5, false}, [&](std::exception_ptr, int result) { answer = result; });
    context.run_for(tether_test::patience);
    CHECK(answer == 5);
}

TEST_CASE_METHOD(FreshStage, "a handler that never returns is left behind", "[loopback][F104]") {
    const std::string way = GENERATE("stop", "kill", "restart", "destructor");
    INFO(way);
    std::atomic<int> texts{0};
    tether::WorkerOptions options;
    options.stop = {std::chrono::milliseconds{20}, std::chrono::milliseconds{20}};
    options.output = tether::Output::to([&](const tether::LogRecord& record) {
        if (record.text.find("did not return") != record.text.npos) ++texts;
    });
    std::atomic<bool> settled{false};
    {
        std::optional<Worker> worker{std::in_place, options};
        worker->async_call(Wait{true}, [&](std::exception_ptr, bool) { settled = true; });
        REQUIRE(stage().entered.wait_for(1));
        if (way == "stop") worker->stop();
        if (way == "kill") worker->kill();
        if (way == "restart") worker->restart();
        if (way == "destructor") worker.reset();
        CHECK(texts == 1);
        CHECK(stage().destroyed.value() == 0);
        if (way == "kill" || way == "restart") CHECK(worker->call(Echo{"x"}) == "x");
    }
    // It owns what it uses until it returns after all.
    stage().open.add();
    CHECK(stage().destroyed.wait_for(way == "kill" || way == "restart" ? 2 : 1));
    while (!settled) std::this_thread::yield();
}

}  // namespace loopback_worker_test
