// Tether: what a worker is doing.
#pragma once

#include <tether/config.hpp>

#include <cstdint>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// What `Worker::state()` returns: a snapshot that may be out of date already. Show it, but decide
/// nothing by it. A call starts what it needs in any state but `stopped`.
enum class WorkerState : std::uint8_t {
    starting,  ///< a process is being started and is not ready yet; calls are taken already
    ready,     ///< it serves
    ended,     ///< there is no process; the next call starts one
    stopped,   ///< `stop()` was called; only `restart()` starts it again
};

/// The name as it is spelled in the code.
[[nodiscard]] constexpr std::string_view to_string(WorkerState state) noexcept {
    switch (state) {
        case WorkerState::starting:
            return "starting";
        case WorkerState::ready:
            return "ready";
        case WorkerState::ended:
            return "ended";
        case WorkerState::stopped:
            return "stopped";
    }
    return "unknown";
}

TETHER_NAMESPACE_END
