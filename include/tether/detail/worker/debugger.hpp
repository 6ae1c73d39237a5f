// Why: what a handler does first is over before a person has attached a debugger to its process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/debug_mode.hpp>
#include <tether/detail/os/os.hpp>

#include <chrono>
#include <cstdio>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Where the environment asks for it: returns when a debugger is attached, or `leaving_fd` is
// readable.
inline void wait_for_debugger(std::string_view worker, int leaving_fd) {
    if (!is_debugging()) return;
    let_any_debugger_attach();
    if (!waits_for_debugger(debug_setting(), worker)) return;
    for (;;) {
        const auto traced = is_traced();
        if (!traced) {
            std::fputs(
                "tether: this worker does not wait for a debugger: the system does not tell "
                "whether there is one (/proc/self/status)\n",
                stderr);
        }
        if (traced.value_or(true)) return;
        PollItem item = readable(leaving_fd);
        const auto next = deadline_after(Clock::now(), std::chrono::milliseconds{50});
        if (wait_ready({&item, 1}, next) > 0) return;
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
