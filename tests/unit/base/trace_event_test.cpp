#include <tether/detail/base/trace_event.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <string>

#include "support/catch.hpp"

namespace trace_event_test {

namespace {

using namespace tether::detail;
using namespace std::chrono_literals;
using nlohmann::json;

constexpr TimePoint moment{12s + 345'678'009ns};

json parsed(const TraceEvent& event) { return json::parse(event.text(7, 8)); }

}  // namespace

TEST_CASE("a span has its begin and its length in microseconds") {
    const auto event = parsed(TraceEvent{TracePhase::span, "run", "run echo", moment}
                                  .until(moment + 1'002'003ns)
                                  .with("call", std::uint64_t{5})
                                  .with("worker", "lint"));
    CHECK(event == json::parse(R"({"ph": "X", "cat": "run", "name": "run echo",
        "ts": 12345678.009, "dur": 1002.003, "pid": 7, "tid": 8,
        "args": {"call": 5, "worker": "lint"}})"));
}

TEST_CASE("an end before the begin has no length") {
    CHECK(parsed(TraceEvent{TracePhase::span, "a", "b", moment}.until(moment - 1s))["dur"] == 0);
}

TEST_CASE("both ends of a call that may overlap others have the same id") {
    const auto id = [](TracePhase phase, std::int64_t pid, std::uint64_t number) {
        return parsed(TraceEvent{phase, "call", "call"}.of_call(pid, number))["id"];
    };
    CHECK(id(TracePhase::async_begin, 4711, 1) == "0x12670000000001");
    CHECK(id(TracePhase::async_end, 4711, 1) == id(TracePhase::async_begin, 4711, 1));
    CHECK(id(TracePhase::async_begin, 4711, 2) != id(TracePhase::async_begin, 4711, 1));
    CHECK(id(TracePhase::async_begin, 4712, 1) != id(TracePhase::async_begin, 4711, 1));
}

TEST_CASE("an event may be about another process") {
    const auto event = parsed(TraceEvent{TracePhase::instant, "exit", "exit"}.in_process(99));
    CHECK(event["pid"] == 99);
    CHECK(event["tid"] == 99);
    CHECK(event["s"] == "t");
}

TEST_CASE("any text becomes valid JSON on one line") {
    std::string every_byte;
    for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
    const auto event = TraceEvent{TracePhase::instant, "c", "a \"b\"\\\n\t"}.with("k", every_byte);
    CHECK(event.text(1, 1).find('\n') == std::string::npos);
    CHECK(parsed(event)["name"] == "a \"b\"\\\n\t");
    CHECK(parsed(event)["args"]["k"].get<std::string>().starts_with("\\x00\\x01"));
    CHECK(parsed(TraceEvent{TracePhase::instant, "c", std::string(5000, 'x')})["name"] ==
          std::string(1000, 'x') + "...");
}

TEST_CASE("what is cut in the middle of a character stays valid") {
    const auto text = std::string(999, 'x') + "\xc3\xa9";
    CHECK(parsed(TraceEvent{TracePhase::instant, "c", text})["name"] ==
          std::string(999, 'x') + "\\xc3...");
}

}  // namespace trace_event_test
