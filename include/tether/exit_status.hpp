// Tether: how a worker process ended.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/exit_words.hpp>
#include <tether/detail/base/printable.hpp>
#include <tether/limits.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

TETHER_NAMESPACE_BEGIN

/// How a process ended: it exited with a code, a signal ended it, or that is unknown.
///
/// A code and a signal are never folded into one `int`. "Unknown" happens when the host program
/// reaps Tether's children itself (`waitpid(-1)`, or `SIGCHLD` ignored) on a kernel that does not
/// keep the status for the owner of a pidfd (Linux before 6.15).
///
/// A regular value type; thread-safe as an `int` is.
class ExitStatus {
public:
    /// An unknown status.
    constexpr ExitStatus() noexcept = default;

    /// The process ended by `exit(code)` or by returning `code` from `main`.
    [[nodiscard]] static constexpr ExitStatus exited(int code) noexcept {
        return {Kind::exited, code};
    }

    /// The process was ended by the signal `number`.
    [[nodiscard]] static constexpr ExitStatus signaled(int number) noexcept {
        return {Kind::signaled, number};
    }

    /// The exit code, when the process exited. On POSIX from 0 to 255: the system keeps one byte.
    [[nodiscard]] constexpr std::optional<int> code() const noexcept {
        return kind_ == Kind::exited ? std::optional{value_} : std::nullopt;
    }

    /// The number of the signal that ended the process, when one did.
    [[nodiscard]] constexpr std::optional<int> signal() const noexcept {
        return kind_ == Kind::signaled ? std::optional{value_} : std::nullopt;
    }

    /// True when the process exited with code 0.
    [[nodiscard]] constexpr bool success() const noexcept {
        return kind_ == Kind::exited && value_ == 0;
    }

    /// True when it is unknown how the process ended.
    [[nodiscard]] constexpr bool unknown() const noexcept { return kind_ == Kind::unknown; }

    /// True for two of the same kind with the same number.
    friend constexpr bool operator==(const ExitStatus&, const ExitStatus&) noexcept = default;

private:
    enum class Kind : std::uint8_t { unknown, exited, signaled };
    constexpr ExitStatus(Kind kind, int value) noexcept : kind_(kind), value_(value) {}

    Kind kind_ = Kind::unknown;
    int value_ = 0;
};

/// A phrase that completes "the worker ...": "exited with code 3", "was killed by signal 9
/// (SIGKILL)", "ended, how is unknown ...".
[[nodiscard]] inline std::string to_string(const ExitStatus& status) {
    if (const auto code = status.code()) return "exited with code " + std::to_string(*code);
    if (const auto number = status.signal()) {
        return "was killed by signal " + std::to_string(*number) + " (" +
               detail::signal_name(*number) + ")";
    }
    return "ended, how is unknown (the host program reaped it)";
}

/// A call that had no answer yet when its worker ended.
struct CallInFlight {
    std::string request{};            ///< the request type's `name`
    std::uint64_t id{};               ///< the number that `CallContext::id()` shows in the worker
    std::chrono::milliseconds age{};  ///< time since it was made

    /// Its handler had begun. One that had not goes to the next process as if it had never left,
    /// unless the worker was stopped for good. False, too, where the worker does not tell (one
    /// written in another language, see docs/wire-protocol.md).
    bool running{};
};

/// Everything that is known about the end of one worker process. Carried by `CallError::report()`
/// and kept by `Worker::last_exit()`. A plain value.
struct ExitReport {
    std::string worker{};                ///< `WorkerOptions::name`, or the program's file name
    std::int64_t pid{};                  ///< its process id
    std::uint64_t generation{};          ///< `Worker::generation()` while it lived
    ExitStatus status{};                 ///< how it ended
    std::chrono::milliseconds uptime{};  ///< from spawn until its end was seen

    /// The largest resident set, of the worker or of a process that it had started and waited for;
    /// 0 when unknown. POSIX: `ru_maxrss` of `wait4`. A process shares its parent's memory for a
    /// moment when it is started, and Linux counts that: what is no more than the parent's own peak
    /// at that time is unknown.
    std::uint64_t peak_memory_bytes{};

    /// It could not be ended, so that it may still run: SIGKILL was refused (`EPERM`, as after
    /// `setuid` or in a sandbox) and it did not end itself when its control channel was closed, or
    /// it hangs in the kernel. `status` is unknown then, and `note` names the step that failed.
    bool left_behind{};

    /// It was killed by a SIGKILL that Tether did not send.
    bool killed_from_outside{};

    /// Out-of-memory kills that the kernel counted while it lived, in the control group that it
    /// shared with the parent; nothing where that cannot be read.
    std::optional<std::uint64_t> oom_kills{};

    Limits limits{};     ///< `WorkerOptions::limits`
    bool never_ready{};  ///< it ended before it could serve, against its owner's will; see `note`
    std::string note{};  ///< why Tether ended it, or that it was not ready yet; otherwise empty

    /// The last that it wrote to stderr or logged: up to 4 KiB, whole lines where one fits. Empty
    /// with `Output::inherit()`.
    std::string stderr_tail{};

    /// What it was asked and had not answered, except calls that had been given up; those that ran
    /// first, otherwise the oldest first.
    std::vector<CallInFlight> calls_in_flight{};
};

namespace detail {

// A few of them, however many there are.
inline std::string list_calls(const std::vector<CallInFlight>& calls) {
    constexpr std::size_t most = 8;
    std::string text;
    for (std::size_t i = 0; i < std::min(most, calls.size()); ++i) {
        text += std::string{"\n  in flight"} + (calls[i].running ? ", running: " : ": ") +
                calls[i].request + " (call " + std::to_string(calls[i].id) + ", " +
                std::to_string(calls[i].age.count()) + " ms)";
    }
    if (calls.size() > most) {
        text += "\n  in flight: and " + std::to_string(calls.size() - most) + " more";
    }
    return text;
}

}  // namespace detail

/// A short paragraph that a tool can show its user as it is, without a newline at the end. Of the
/// calls in flight it lists a few, and of `stderr_tail` the last lines, so that it stays below 4
/// KiB (longer only by what a long `note` needs). What is not printable in it shows as `\x1b`;
/// `ExitReport::stderr_tail` has the bytes as they came.
[[nodiscard]] inline std::string to_string(const ExitReport& report) {
    std::string text = "worker \"" + report.worker + "\"";
    if (report.never_ready) {
        text += " could not serve: " + report.note;
        text += report.note.ends_with('?') ? " It" : "; it";
    }
    if (report.pid != 0) text += " (pid " + std::to_string(report.pid) + ")";
    text += " " + (report.left_behind ? "could not be ended" : to_string(report.status));
    text += " after " + std::to_string(report.uptime.count()) + " ms";
    if (report.generation > 1) text += ", generation " + std::to_string(report.generation);
    if (report.peak_memory_bytes != 0) {
        text +=
            ", peak memory " + std::to_string(report.peak_memory_bytes / (1024 * 1024)) + " MiB";
    }
    if (report.limits != Limits{}) text += ", limited to " + to_string(report.limits);
    if (!report.note.empty() && !report.never_ready) text += "; " + report.note;
    if (report.killed_from_outside) text += "; " + detail::describe_foreign_kill(report.oom_kills);
    text += detail::list_calls(report.calls_in_flight);
    if (!report.stderr_tail.empty()) {
        constexpr std::size_t most = 3900;  // people read it, and very many errors may have it
        text += "\n  last of its stderr:" +
                detail::quote_last_lines(report.stderr_tail, most - std::min(most, text.size()));
    }
    return detail::printable(std::move(text));
}

TETHER_NAMESPACE_END
