// Why: a handler runs in a worker process or in a LoopbackWorker, and must not see the difference.
#pragma once

#include <tether/config.hpp>
#include <tether/logging.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a running call can ask of its surroundings: a worker process, or a LoopbackWorker.
class CallControl {
public:
    virtual std::uint64_t id() const noexcept = 0;
    virtual bool stop_requested() const noexcept = 0;
    virtual std::stop_token stop_token() = 0;
    virtual std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept = 0;
    virtual void log(Severity severity, std::string_view text) = 0;

protected:
    ~CallControl() = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
