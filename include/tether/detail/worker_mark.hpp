// Why: how a process knows that it was started as a worker, and what happens when its program was
// not written to be one: it must not start itself for ever.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/handshake.hpp>
#include <tether/detail/platform.hpp>
#include <tether/error.hpp>

#include <cstdlib>
#include <string>
#include <string_view>

#include <sys/stat.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The numbers of a worker's descriptors.
namespace worker_fd {
inline constexpr int control = 3;
inline constexpr int connection = 4;
inline constexpr int parent = 5;  // the parent's pidfd, where there is such a thing
}  // namespace worker_fd

// Set in a worker's environment until it is claimed: the layout's version and the inode of the
// control channel, so that a process that merely inherited the variable does not take itself for a
// worker.
inline constexpr const char* worker_variable = "TETHER_WORKER";

inline std::string worker_mark(int control_fd) {
    struct ::stat status {};
    ::fstat(control_fd, &status);
    return "1:" + std::to_string(status.st_ino);
}

// Whether this process was started as a worker and has not said so yet. Costs one getenv in others.
inline bool is_unclaimed_worker() {
    const char* mark = std::getenv(worker_variable);
    return mark != nullptr && mark == worker_mark(worker_fd::control);
}

inline constexpr std::string_view hook_line =
    "`if (auto exit_code = tether::serve_if_worker<YourHandler>(argc, argv)) return *exit_code;`";

// A worker whose program uses Tether without saying first that it may be one: tells the parent.
inline void report_missing_hook() {
    const auto record =
        control_record(ControlType::failed,
                       StartFailure{errc::hook_missing, "its program does not begin main with " +
                                                            std::string{hook_line}}
                           .encode());
    const ConstBuffer buffer{record.data(), record.size()};
    send_some(worker_fd::control, {&buffer, 1});
}

[[noreturn]] inline void throw_missing_hook() {
    report_missing_hook();
    throw CallError(errc::hook_missing,
                    "this process was started as a worker, but its main does not begin with " +
                        std::string{hook_line});
}

}  // namespace detail
TETHER_NAMESPACE_END
