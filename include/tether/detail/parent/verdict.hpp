// Why: what the end of a worker means follows from a few facts; settled here without any process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/exit_status.hpp>

#include <optional>
#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Of a worker whose control channel was closed with the bootstrap still in it.
inline constexpr const char* never_began =
    "it never came to be a worker: does its program begin main with tether::serve_if_worker, and "
    "do programs in between (a shell, sudo, Python's subprocess) pass on its descriptors from 3 on "
    "and TETHER_WORKER?";

// The reason, or what the status alone tells. `began`: it has read what it was to do.
inline Reason verdict(const std::optional<Reason>& reason, const ExitStatus& status, bool ready,
                      bool began = true) {
    if (reason) return *reason;
    if (ready) return {status.signal() ? errc::worker_killed : errc::worker_exited, {}};
    std::string text = "it ended before it was ready to serve";
    if (!began && !status.signal()) {
        text += std::string{"; "} + never_began;
    } else if (status.success()) {
        text +=
            "; does its program begin main with tether::serve_if_worker, and serve this protocol?";
    }
    return {errc::start_failed, text};
}

}  // namespace detail
TETHER_NAMESPACE_END
