#include <tether/detail/wire/bootstrap.hpp>
#include <tether/exit_status.hpp>
#include <tether/limits.hpp>

#include <chrono>

#include "support/catch.hpp"

namespace limits_test {

using namespace std::chrono_literals;
using tether::ExitReport;
using tether::ExitStatus;
using tether::Limits;
using tether::detail::Bootstrap;

TEST_CASE("limits travel with the bootstrap") {
    for (const auto& limits :
         {Limits{}, Limits{.nice = -20}, Limits{.memory_bytes = 1, .cpu_time = 2s, .core_bytes = 0},
          Limits{.memory_bytes = std::uint64_t{1} << 40, .nice = 19}}) {
        Bootstrap bootstrap;
        bootstrap.limits = limits;
        const auto decoded = Bootstrap::decode(bootstrap.encode());
        REQUIRE(decoded.has_value());
        CHECK(decoded->limits == limits);
    }
}

TEST_CASE("limits in words") {
    CHECK(to_string(Limits{}).empty());
    CHECK(to_string(Limits{.memory_bytes = std::uint64_t{512} << 20, .cpu_time = 10s}) ==
          "memory 512 MiB, CPU time 10 s");
    CHECK(to_string(Limits{.core_bytes = 0, .nice = 5}) == "core dump 0 bytes, nice 5");
}

TEST_CASE("a kill from outside, with and without evidence", "[F77]") {
    ExitReport report;
    report.worker = "w";
    report.status = ExitStatus::signaled(9);
    report.killed_from_outside = true;
    const auto unknown = to_string(report);
    report.oom_kills = 0;
    const auto none = to_string(report);
    report.oom_kills = 2;
    const auto two = to_string(report);
    CHECK(unknown.find("for lack of memory") != std::string::npos);
    CHECK(none.find("counted no out-of-memory kill") != std::string::npos);
    CHECK(two.find("counted 2 out-of-memory kills") != std::string::npos);
}

}  // namespace limits_test
