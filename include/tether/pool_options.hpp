// Tether: everything that can be set about a pool of workers.
#pragma once

#include <tether/config.hpp>
#include <tether/duration.hpp>
#include <tether/options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

TETHER_NAMESPACE_BEGIN

/// What becomes of a blocking call when the queue of its pool is full.
enum class WhenFull : std::uint8_t {
    refuse,  ///< it fails with `errc::queue_full` at once
    wait,    ///< it waits for room, within its timeout; async calls are refused all the same
};

/// When a worker of a pool is replaced although it works. It takes no further call then, ends once
/// those that it has are done, and the next call that needs it starts another.
struct RecyclePolicy {
    /// For `requests`: never.
    static constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();

    /// After so many calls: for plugins that leak. At least 1.
    std::uint64_t requests = never;
};

/// Everything about a pool. An aggregate; name the members you set:
///
///     tether::WorkerPool<LintProtocol> pool{{.size = 4, .worker = {.name = "lint"}}};
struct PoolOptions {
    /// For `queue_limit`: no limit.
    static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

    /// Workers, from 1 to 1024. Absent: one for each core that this process may use, by its
    /// affinity and by the quota of its control group.
    std::optional<unsigned> size{};

    /// Calls that may wait for a worker. With 0, only calls that begin at once are taken.
    std::size_t queue_limit = unlimited;

    /// What a blocking call does when the queue is full.
    WhenFull when_full = WhenFull::refuse;

    /// A call goes before one whose priority is lower by 1, unless that has waited longer by this.
    /// So every call has its turn, whatever else comes. Zero: priorities count for nothing.
    Duration priority_step = std::chrono::seconds{10};

    /// When workers are replaced.
    RecyclePolicy recycle{};

    /// Each of the workers. A worker has as many calls at once as `concurrency` says, or, where
    /// that is larger, `calls_in_work`: set that for an `AsyncHandler`. It is given no more, so
    /// that no call waits behind another while there is a free worker.
    WorkerOptions worker{};
};

TETHER_NAMESPACE_END
