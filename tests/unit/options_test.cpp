#include <tether/detail/options_check.hpp>
#include <tether/detail/typed_call.hpp>
#include <tether/options.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "support/catch.hpp"
#include "support/text.hpp"

namespace options_test {

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using tether::Duration;
using tether::Output;
using tether::WorkerOptions;

struct Plain {
    static constexpr std::string_view name = "plain";
    using Response = void;
};
struct Timed {
    static constexpr std::string_view name = "timed";
    using Response = void;
    static constexpr auto timeout = std::chrono::seconds{30};
    static constexpr bool idempotent = true;
};

static_assert(std::is_aggregate_v<WorkerOptions>);
static_assert(std::is_aggregate_v<tether::StopPolicy>);
static_assert(std::is_aggregate_v<tether::RestartPolicy>);
static_assert(std::is_aggregate_v<tether::CallOptions<Plain>>);
static_assert(std::is_copy_constructible_v<WorkerOptions>);
static_assert(std::is_nothrow_move_constructible_v<tether::CallOptions<Plain>>);
static_assert(std::is_copy_constructible_v<Output>);
static_assert(std::is_convertible_v<std::chrono::hours, Duration>);
static_assert(!std::is_convertible_v<int, Duration>);

/// The text of the refusal; empty where there is none.
std::string refusal(const WorkerOptions& options) {
    try {
        tether::detail::check_options(options);
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

template <class Change>
std::string refusal_after(Change change) {
    WorkerOptions options;
    change(options);
    return refusal(options);
}

}  // namespace

TEST_CASE("the defaults and every sensible change are accepted") {
    CHECK(refusal({}).empty());
    CHECK(refusal({.name = std::string(256, 'n'),
                   .program = "/bin/true",
                   .arguments = {"", "--flag", "\xff"},
                   .environment = {{"SET", "value=with=equals"}, {"UNSET", std::nullopt}},
                   .working_directory = "/",
                   .transport = tether::Transport::tcp,
                   .start_timeout = 1ns,
                   .call_timeout = tether::no_timeout,
                   .stop = {.drain = 0s, .terminate = 0s},
                   .orphan_grace = 0s,
                   .restart = {.budget = 0},
                   .output = Output::to([](const tether::LogRecord&) {}),
                   .concurrency = 1024,
                   .max_message_bytes = 4096})
              .empty());
    CHECK(refusal({.start_timeout = tether::no_timeout}).empty());
}

TEST_CASE("options that contradict each other are named") {
    using tether_test::contains;
    CHECK(contains(refusal_after([](auto& o) { o.concurrency = 0; }), "concurrency"));
    CHECK(contains(refusal_after([](auto& o) { o.concurrency = 1025; }), "concurrency"));
    CHECK(contains(refusal_after([](auto& o) { o.max_message_bytes = 0; }), "max_message_bytes"));
    CHECK(
        contains(refusal_after([](auto& o) { o.max_message_bytes = 4095; }), "max_message_bytes"));
    CHECK(contains(refusal_after([](auto& o) { o.start_timeout = 0s; }), "start_timeout"));
    CHECK(contains(refusal_after([](auto& o) { o.start_timeout = -1s; }), "start_timeout"));
    CHECK(contains(refusal_after([](auto& o) { o.call_timeout = 0s; }), "no_timeout"));
    CHECK(contains(refusal_after([](auto& o) { o.stop.drain = -1s; }), "stop.drain"));
    CHECK(contains(refusal_after([](auto& o) { o.stop.terminate = -1s; }), "stop.terminate"));
    CHECK(contains(refusal_after([](auto& o) { o.orphan_grace = -1s; }), "orphan_grace"));
    CHECK(contains(refusal_after([](auto& o) { o.restart.window = -1s; }), "restart.window"));
    CHECK(contains(refusal_after([](auto& o) { o.restart.max_pause = -1s; }), "max_pause"));
    CHECK(contains(refusal_after([](auto& o) { o.name = std::string(257, 'n'); }), "name"));
    for (const auto& name : {""s, "A=B"s, "A\0B"s, "="s}) {
        CHECK(contains(refusal_after([&](auto& o) { o.environment[name] = "x"; }), "environment"));
        CHECK(contains(refusal_after([&](auto& o) { o.environment[name] = std::nullopt; }),
                       "environment"));
    }
    CHECK(contains(refusal_after([](auto& o) { o.arguments = {"a\0b"s}; }), "argument"));
    CHECK(contains(refusal_after([](auto& o) { o.output = Output::to(nullptr); }), "callback"));
}

TEST_CASE("null bytes are refused wherever the system would cut a string") {
    CHECK_FALSE(refusal_after([](auto& o) { o.name = "a\0b"s; }).empty());
    CHECK_FALSE(refusal_after([](auto& o) { o.program = "a\0b"s; }).empty());
    CHECK_FALSE(refusal_after([](auto& o) { o.working_directory = "a\0b"s; }).empty());
    CHECK_FALSE(refusal_after([](auto& o) { o.environment["A"] = "a\0b"s; }).empty());
}

TEST_CASE("an output is what it was made as") {
    CHECK(Output{}.mode() == Output::Mode::relay);
    CHECK(Output::relay("> ").mode() == Output::Mode::relay);
    CHECK(Output::relay("> ").prefix() == "> ");
    CHECK(Output::inherit().mode() == Output::Mode::inherit);
    CHECK(Output::discard().mode() == Output::Mode::discard);
    int called = 0;
    const auto output = Output::to([&](const tether::LogRecord&) { ++called; });
    CHECK(output.mode() == Output::Mode::callback);
    output.callback()({});
    CHECK(called == 1);
}

TEST_CASE("the call's timeout counts before the request's before the worker's", "[F42]") {
    using tether::detail::call_info;
    const auto seconds = [](const tether::detail::CallInfo& info) {
        return std::chrono::duration_cast<std::chrono::seconds>(info.deadline - info.made).count();
    };
    CHECK(seconds(call_info<Plain>(0, {}, 100s)) == 100);
    CHECK(seconds(call_info<Timed>(0, {}, 100s)) == 30);
    CHECK(seconds(call_info<Timed>(0, {.timeout = 7s}, 100s)) == 7);
    CHECK(seconds(call_info<Plain>(0, {.timeout = 24h * 365}, 100s)) == 24 * 365 * 3600);
    CHECK(seconds(call_info<Plain>(0, {.timeout = -7s}, 100s)) == 0);
    const auto forever = tether::detail::TimePoint::max();
    CHECK(call_info<Timed>(0, {.timeout = tether::no_timeout}, 100s).deadline == forever);
    CHECK(call_info<Plain>(0, {}, tether::no_timeout).deadline == forever);
    CHECK(call_info<Timed>(3, {}, 1s).idempotent);
    CHECK_FALSE(call_info<Plain>(3, {}, 1s).idempotent);
    CHECK(call_info<Plain>(3, {}, 1s).index == 3u);
    CHECK(call_info<Plain>(3, {}, 1s).request == "plain");
}

TEST_CASE("a transport in words") {
    using tether::Transport;
    CHECK(to_string(Transport::automatic) == "automatic");
    CHECK(to_string(Transport::unix_abstract) == "unix_abstract");
    CHECK(to_string(Transport::unix_path) == "unix_path");
    CHECK(to_string(Transport::tcp) == "tcp");
    CHECK(to_string(Transport::socket_pair) == "socket_pair");
    CHECK(to_string(static_cast<Transport>(99)) == "unknown");
}

}  // namespace options_test
