// Why: typed code sees a pool as it sees a worker, and no placement behind it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/exit_status.hpp>
#include <tether/pool_statistics.hpp>

#include <cstddef>
#include <memory>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The functions do what those of `WorkerPool` do.
class PoolCarrier : public CallCarrier {
public:
    virtual void stop() = 0;
    virtual void kill() = 0;
    virtual void restart() = 0;

    [[nodiscard]] virtual std::size_t size() const noexcept = 0;
    // Calls that a map makes ahead.
    [[nodiscard]] virtual std::size_t map_window() const noexcept = 0;
    [[nodiscard]] virtual PoolStatistics statistics() const = 0;
    [[nodiscard]] virtual std::shared_ptr<const ExitReport> last_exit() const = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
