#include <tether/logging.hpp>
#include <tether/worker_state.hpp>

#include <type_traits>

#include "support/catch.hpp"

namespace logging_test {

using tether::Severity;
using tether::WorkerState;

static_assert(std::is_trivially_copyable_v<tether::LogRecord>);
static_assert(Severity::trace < Severity::debug && Severity::debug < Severity::info);
static_assert(Severity::info < Severity::warning && Severity::warning < Severity::error);
static_assert(to_string(Severity::trace) == "trace");
static_assert(to_string(Severity::debug) == "debug");
static_assert(to_string(Severity::info) == "info");
static_assert(to_string(Severity::warning) == "warning");
static_assert(to_string(Severity::error) == "error");
static_assert(to_string(WorkerState::starting) == "starting");
static_assert(to_string(WorkerState::ready) == "ready");
static_assert(to_string(WorkerState::ended) == "ended");
static_assert(to_string(WorkerState::stopped) == "stopped");

TEST_CASE("values that nobody defined have a name as well") {
    CHECK(to_string(static_cast<Severity>(99)) == "unknown");
    CHECK(to_string(static_cast<WorkerState>(99)) == "unknown");
    CHECK(tether::LogRecord{}.severity == Severity::info);
}

}  // namespace logging_test
