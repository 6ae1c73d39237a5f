#include <tether/detail/base/options_check.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/options.hpp>

#include <chrono>
#include <limits>
#include <optional>
#include <ratio>
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
struct Fraction {
    static constexpr std::string_view name = "fraction";
    using Response = void;
    static constexpr auto timeout = std::chrono::duration<float, std::ratio<60>>{1.5F};
};
struct Endless {
    static constexpr std::string_view name = "endless";
    using Response = void;
    static constexpr auto timeout = std::chrono::hours::max();
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

TEST_CASE("durations of any length and kind are accepted, and none wraps", "[F95]") {
    const auto forever = std::chrono::milliseconds::max();
    const WorkerOptions options{
        .start_timeout = 0.5s,
        .call_timeout = forever,
        .stop = {.drain = std::chrono::hours{24L * 365 * 300}, .terminate = forever},
        .orphan_grace = std::chrono::seconds::max(),
        .restart = {.window = forever, .initial_pause = 0.1s, .max_pause = forever},
        .stuck = {.grace = forever, .silence = forever, .heartbeat = 2.5s},
        .idle_timeout = std::chrono::duration<unsigned>::max(),
        .limits = {.cpu_time = std::chrono::hours::max()}};
    CHECK(refusal(options).empty());
    CHECK((options.start_timeout == 500ms));
    CHECK((options.call_timeout == tether::no_timeout));
    CHECK((options.idle_timeout > 24h * 365 * 136));
    CHECK(refusal({.spin = 0.0005s}).empty());
    const std::chrono::duration<double> none{std::numeric_limits<double>::quiet_NaN()};
    CHECK(tether_test::contains(refusal({.call_timeout = none}), "call_timeout is not positive"));
    CHECK(tether_test::contains(refusal({.orphan_grace = std::chrono::seconds::min()}),
                                "orphan_grace is negative"));
}

TEST_CASE("options that contradict each other are named") {
    using tether_test::contains;
    CHECK(contains(refusal_after([](auto& o) { o.concurrency = 0; }), "concurrency"));
    CHECK(contains(refusal_after([](auto& o) { o.concurrency = 1025; }), "concurrency"));
    CHECK(contains(refusal_after([](auto& o) { o.calls_in_work = 4097; }), "calls_in_work"));
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
    for (const tether::Duration longest :
         {tether::Duration{std::chrono::milliseconds::max()},
          tether::Duration{std::chrono::duration<double>{1e300}}}) {
        CHECK(call_info<Plain>(0, {.timeout = longest}, 100s).deadline == forever);
    }
    CHECK(call_info<Plain>(0, {.timeout = std::chrono::seconds::max()}, 1s).deadline == forever);
    CHECK(call_info<Plain>(0, {}, std::chrono::hours::max()).deadline == forever);
    const auto fraction = call_info<Plain>(0, {.timeout = 0.5s, .run_timeout = 0.25s}, 100s);
    CHECK((fraction.deadline - fraction.made == 500ms));
    CHECK((fraction.run_timeout == 250ms));
    CHECK(seconds(call_info<Fraction>(0, {}, 100s)) == 90);
    CHECK(call_info<Endless>(0, {}, 100s).deadline == forever);
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
