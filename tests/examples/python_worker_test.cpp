// A worker in Python that was written from docs/wire-protocol.md: that page is enough.
#include <tether/tether.hpp>

#include <asio/use_future.hpp>

#include <chrono>
#include <cstdlib>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include <sys/resource.h>

#include "../../examples/python_worker/greet_protocol.hpp"
#include "run_program.hpp"
#include "support/catch.hpp"

namespace {

/// Answers with an exception that has a cause.
struct Raise {
    static constexpr std::string_view name = "raise";
    using Response = int;
    std::string what{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Raise, what)

struct ReturnNonsense {
    static constexpr std::string_view name = "return_nonsense";
    using Response = int;
};

struct Nothing {
    static constexpr std::string_view name = "nothing";
    using Response = void;
};

/// What faulty_worker.py serves.
struct FaultyProtocol {
    static constexpr std::string_view name = "test.faulty";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Raise, ReturnNonsense, Nothing>;
    using Codec = tether::JsonCodec;
};

using namespace std::chrono_literals;

const std::string worker_script = TETHER_SOURCE_DIR "/examples/python_worker/worker.py";

tether::WorkerOptions options(tether::Transport transport = tether::Transport::automatic) {
    return {.program = "python3",
            .arguments = {"-B", worker_script},  // no __pycache__ beside the sources
            .transport = transport,
            .output = tether::Output::discard()};
}

/// False, with a warning, where there is no Python to test with.
bool has_python() {
    static const bool found = std::system("python3 -c 'import fcntl' 2>/dev/null") == 0;
    if (!found) WARN("skipped: there is no python3");
    return found;
}

}  // namespace

TEST_CASE("python worker: the example", "[python][run]") {
    if (!has_python()) return;
    const auto program = "'" TETHER_EXAMPLES_DIR "/python_worker' '" + worker_script + "'";
    const auto run = run_program(program + " 2>/dev/null");
    CHECK(run.exit_code == 0);
    CHECK(run.out == "Hello, snake!\nT-e-t-h-e-r-\nrefused: no_name: whom shall I greet?\n");
    CHECK(nothing_left_behind());
}

TEST_CASE("python worker: every transport, and messages of many frames", "[python]") {
    if (!has_python()) return;
    using tether::Transport;
    for (const auto transport :
         {Transport::unix_abstract, Transport::unix_path, Transport::tcp, Transport::socket_pair}) {
        INFO(to_string(transport));
        tether::Worker<GreetProtocol> worker{options(transport)};
        for (int call = 0; call < 50; ++call) REQUIRE(worker.call(Greet{"you"}) == "Hello, you!");
        const std::string large(1'500'000, 'x');
        auto first = worker.async_call(Greet{large}, asio::use_future);
        auto second = worker.async_call(Greet{large + "y"}, asio::use_future);
        CHECK(worker.call(Greet{"me"}) == "Hello, me!");
        CHECK(first.get() == "Hello, " + large + "!");
        CHECK(second.get() == "Hello, " + large + "y!");
        const auto status = worker.stop();
        REQUIRE(status);
        CHECK(status->success());
    }
}

TEST_CASE("python worker: cancellation, also of what it has not read yet", "[python]") {
    if (!has_python()) return;
    tether::Worker<GreetProtocol> worker{options()};
    worker.call(Greet{"you"});
    auto running =
        worker.async_call(Spell{std::string(100, 'x'), 100}, {.timeout = 300ms}, asio::use_future);
    auto waiting =
        worker.async_call(Spell{std::string(100, 'x'), 100}, {.timeout = 100ms}, asio::use_future);
    CHECK_THROWS_AS(running.get(), tether::CallError);
    CHECK_THROWS_AS(waiting.get(), tether::CallError);
    // Both would take 10 s.
    CHECK(worker.call(Greet{"you"}, {.timeout = 5s}) == "Hello, you!");
}

TEST_CASE("python worker: its guard answers while it is at work", "[python]") {
    if (!has_python()) return;
    auto watched = options();
    watched.stuck.heartbeat = 50ms;
    watched.stuck.silence = 2s;
    tether::Worker<GreetProtocol> worker{watched};
    CHECK(worker.call(Spell{std::string(30, 'x'), 100}).size() == 30);  // 3 s
    CHECK(worker.generation() == 1);
}

TEST_CASE("python worker: what the system holds it to", "[python]") {
    if (!has_python()) return;
    auto limited = options();
    limited.limits = {.core_bytes = 0, .nice = 7};
    tether::Worker<GreetProtocol> worker{limited};
    CHECK(worker.call(Greet{"you"}) == "Hello, you!");
    CHECK(::getpriority(PRIO_PROCESS, static_cast<::id_t>(worker.pid())) == 7);
}

TEST_CASE("python worker: errors, limits, another protocol", "[python]") {
    if (!has_python()) return;
    auto small = options();
    small.max_message_bytes = 5000;
    tether::Worker<GreetProtocol> worker{small};
    try {
        worker.call(Greet{});
        FAIL("no error");
    } catch (const tether::RemoteError& error) {
        CHECK(error.remote_code() == "no_name");
        CHECK(error.message() == "whom shall I greet?");
    }
    try {
        worker.call(Spell{std::string(2000, 'x'), 0});
        FAIL("no error");
    } catch (const tether::CallError& error) {
        CHECK(error.code() == tether::errc::message_too_large);
    }
    CHECK(worker.generation() == 1);

    struct OtherProtocol : GreetProtocol {
        using Codec = tether::MessagePackCodec;
    };
    tether::Worker<OtherProtocol> other{options()};
    try {
        other.call(Greet{"you"});
        FAIL("no error");
    } catch (const tether::CallError& error) {
        CHECK(error.code() == tether::errc::protocol_mismatch);
    }
}

TEST_CASE("python worker: what its handlers do wrong costs that one call", "[python]") {
    if (!has_python()) return;
    tether::Worker<FaultyProtocol> worker{
        {.program = "python3",
         .arguments = {"-B", TETHER_SOURCE_DIR "/tests/examples/faulty_worker.py"},
         .output = tether::Output::discard(),
         .max_message_bytes = 5000}};
    try {
        worker.call(Raise{"no such key"});
        FAIL("no error");
    } catch (const tether::RemoteError& error) {
        REQUIRE(error.causes().size() == 2);
        CHECK(error.remote_code() == "outer");
        CHECK(error.causes()[1].code == "exception");
        CHECK(error.causes()[1].message == "ValueError: no such key");
    }
    try {
        worker.call(Raise{std::string(4000, 'x')});
        FAIL("no error");
    } catch (const tether::RemoteError& error) {  // cut, since it would not fit into a message
        CHECK(error.causes()[1].message.starts_with("ValueError: xxx"));
        CHECK(error.causes()[1].message.size() < 4000);
    }
    try {
        worker.call(ReturnNonsense{});
        FAIL("no error");
    } catch (const tether::CallError& error) {
        CHECK(error.code() == tether::errc::codec);
        CHECK(std::string{error.what()}.find("return_nonsense") != std::string::npos);
    }
    worker.call(Nothing{});
    CHECK(worker.generation() == 1);
}

TEST_CASE("python worker: log lines have a severity", "[python]") {
    if (!has_python()) return;
    std::vector<std::pair<tether::LogSource, std::string>> lines;
    auto logging = options();
    logging.output = tether::Output::to([&](const tether::LogRecord& record) {
        lines.emplace_back(record.source, std::string{record.text});
    });
    tether::Worker<GreetProtocol> worker{logging};
    worker.call(Greet{"you"});
    worker.stop();
    REQUIRE(lines.size() == 1);
    CHECK(lines[0] == std::pair{tether::LogSource::log, std::string{"greeting you"}});
}

TEST_CASE("python worker: killed or orphaned", "[python][run]") {
    if (!has_python()) return;
    tether::Worker<GreetProtocol> worker{options()};
    worker.call(Greet{"you"});
    worker.kill();
    CHECK(worker.call(Greet{"you"}) == "Hello, you!");
    CHECK(worker.generation() == 2);

    // A long word, and a parent that is killed in the middle of it.
    const auto program = "'" TETHER_EXAMPLES_DIR "/python_worker' '" + worker_script + "' ";
    const auto word = std::string(5000, 'x');
    const auto run = run_program("timeout -s KILL 2 " + program + word + " 2>/dev/null");
    CHECK(run.out.find("x-") == std::string::npos);
    CHECK(nothing_left_behind());
}
