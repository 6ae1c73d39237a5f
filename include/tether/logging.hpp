// Tether: what a worker says.
#pragma once

#include <tether/config.hpp>

#include <cstdint>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// How severe a log line is, the least severe first: they may be compared with `<`. Nothing is
/// filtered by it unless `RelayOptions::least_severity` says so.
enum class Severity : std::uint8_t {
    trace,    ///< every step
    debug,    ///< what helps to find a mistake
    info,     ///< what goes on; also what plain output counts as
    warning,  ///< something is wrong, and the work goes on
    error,    ///< something was not done
};

/// The name in lower case, for a log line.
[[nodiscard]] constexpr std::string_view to_string(Severity severity) noexcept {
    switch (severity) {
        case Severity::trace:
            return "trace";
        case Severity::debug:
            return "debug";
        case Severity::info:
            return "info";
        case Severity::warning:
            return "warning";
        case Severity::error:
            return "error";
    }
    return "unknown";
}

/// Where a line of a worker's output came from.
enum class LogSource : std::uint8_t {
    standard_output,  ///< it was written to the worker's stdout, by any code in that process
    standard_error,   ///< it was written to the worker's stderr
    log,              ///< `CallContext::log`; or Tether itself, about the worker (`StuckPolicy`)
};

/// One line of a worker's output, as an `Output` callback receives it. The views are valid only
/// during the callback.
///
/// Lines of stderr and of `CallContext::log` come in the order in which they were written. Those of
/// stdout come through another pipe, in their own order.
struct LogRecord {
    std::string_view worker{};          ///< `WorkerOptions::name`, or the program's file name
    std::int64_t pid{};                 ///< the worker's process id; 0 of a `LoopbackWorker`
    LogSource source{LogSource::log};   ///< how it was written
    Severity severity{Severity::info};  ///< of `CallContext::log`; `info` for plain output
    std::string_view text{};  ///< without the newline; any bytes; over 64 KiB, in several pieces
};

TETHER_NAMESPACE_END
