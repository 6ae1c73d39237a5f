// Why: how a process knows that it was started as a worker, and what happens when its program was
// not written to be one: it must not start itself for ever.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/wire/control_record.hpp>
#include <tether/error.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The numbers of a worker's descriptors.
namespace worker_fd {
inline constexpr int control = 3;
inline constexpr int connection = 4;
inline constexpr int parent = 5;  // the parent's pidfd, where there is such a thing
inline constexpr int last = 6;    // the ledger, or 5 where 5 is not taken; then the alarm, which
                                  // need not be passed on
}  // namespace worker_fd

// Set in a worker's environment until it is claimed: the layout's version and the inode of the
// control channel. If the two do not match, a program in between closed or replaced the channel.
inline constexpr const char* worker_variable = "TETHER_WORKER";

// How deep this process is in workers of workers; inherited by all that a worker starts.
inline constexpr const char* depth_variable = "TETHER_DEPTH";
inline constexpr unsigned most_depth = 16;

inline unsigned own_depth() noexcept {
    const char* text = std::getenv(depth_variable);
    return text == nullptr ? 0 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

// For a worker whose variable was lost on the way.
inline void set_own_depth(unsigned depth) {
    if (depth > own_depth()) set_variable(depth_variable, std::to_string(depth));
}

inline std::string worker_mark(int control_fd) {
    return "1:" + std::to_string(file_number(control_fd));
}

enum class Origin {
    other,        // no worker, or one that has said so
    worker,       // an unclaimed worker
    lost_worker,  // it was to be one, but lost its control channel on the way
};

// A waiting bootstrap is proof as well, in case the environment was emptied on the way; but not one
// of another user, because descriptor 3 may be a socket from a service manager. Costs one getenv
// and one system call in a program that is no worker.
inline Origin origin_of_process() {
    const char* mark = std::getenv(worker_variable);
    if (mark != nullptr && mark == worker_mark(worker_fd::control)) return Origin::worker;
    if (!is_of_this_user(worker_fd::control)) {
        return mark != nullptr ? Origin::lost_worker : Origin::other;
    }
    std::array<char, 16> bytes;
    const auto size = peek(worker_fd::control, bytes.data(), bytes.size());
    if (begins_with_bootstrap({bytes.data(), size})) return Origin::worker;
    return mark != nullptr ? Origin::lost_worker : Origin::other;
}

inline bool is_unclaimed_worker() { return origin_of_process() != Origin::other; }

// What a program between parent and worker must do; `what` it did not.
inline std::string describe_lost(const std::string& what) {
    return what + "; a program in between must pass on descriptors " +
           std::to_string(worker_fd::control) + " to " + std::to_string(worker_fd::last) +
           " and the environment: a shell without 3>&-, sudo -C " +
           std::to_string(worker_fd::last + 1) +
           ", Python's subprocess with pass_fds or close_fds=False";
}

// For a process of Origin::lost_worker.
inline std::string describe_lost_channel() {
    const std::string number = std::to_string(worker_fd::control);
    return describe_lost("this process was started as a worker (" + std::string{worker_variable} +
                         " is set), but descriptor " + number + " is " +
                         (is_open(worker_fd::control) ? "not its control channel" : "closed")) +
           ". If it is to be no worker, remove " + worker_variable + " from its environment";
}

inline constexpr std::string_view hook_line =
    "`if (auto exit_code = tether::serve_if_worker<YourHandler>(argc, argv)) return *exit_code;`";

// Tells the parent that this worker's program uses Tether without calling serve_if_worker first.
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
    if (origin_of_process() == Origin::lost_worker) {
        throw CallError(errc::hook_missing, describe_lost_channel());
    }
    report_missing_hook();
    throw CallError(errc::hook_missing,
                    "this process was started as a worker, but its main does not begin with " +
                        std::string{hook_line});
}

// The exit code of a process of Origin::lost_worker.
inline int refuse_lost_worker() {
    std::fprintf(stderr, "tether: %s\n", describe_lost_channel().c_str());
    return 1;
}

}  // namespace detail
TETHER_NAMESPACE_END
