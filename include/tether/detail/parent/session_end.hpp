// Why: the supervisor learns of the end of a session without knowing sessions, so that its policy
// is tested without one.
#pragma once

#include <tether/config.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>

#include <functional>
#include <memory>
#include <optional>

TETHER_NAMESPACE_BEGIN
namespace detail {

// How a session ended.
struct SessionEnd {
    std::shared_ptr<const ExitReport> report{};
    std::optional<CallError> error{};  // what its calls got, or would have got
    bool expected = false;             // its owner, or an option, wanted the end
    bool was_ready = false;
    bool seen = false;  // at least one call got the error
};

// Called once, unless it throws: then it is called again.
using OnSessionEnd = std::function<void(const SessionEnd&)>;

}  // namespace detail
TETHER_NAMESPACE_END
