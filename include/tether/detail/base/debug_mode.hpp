// Why: a process that a debugger holds is as late as one that hangs. A person who debugs says so
// once, from outside, rather than change each timeout in a program.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/printable.hpp>
#include <tether/options.hpp>

#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What docs/debugging.md says of its values. Inherited by workers and by their own workers.
inline constexpr const char* debug_variable = "TETHER_DEBUG";

// Empty: off.
inline std::string_view debug_setting() noexcept {
    const char* text = std::getenv(debug_variable);
    const std::string_view setting{text != nullptr ? text : ""};
    return setting == "0" ? std::string_view{} : setting;
}

// The same for as long as the process lives.
inline bool is_debugging() noexcept {
    static const bool on = !debug_setting().empty();
    return on;
}

// "wait" is for all workers, "wait:lint" for those of that name.
inline bool waits_for_debugger(std::string_view setting, std::string_view worker) noexcept {
    constexpr std::string_view wait = "wait";
    if (!setting.starts_with(wait)) return false;
    setting.remove_prefix(wait.size());
    return setting.empty() || (setting.front() == ':' && setting.substr(1) == worker);
}

// Without all that ends a worker, or asks it something, because time has passed.
inline WorkerOptions without_timeouts(WorkerOptions options) {
    options.start_timeout = no_timeout;
    options.call_timeout = no_timeout;
    options.idle_timeout = no_timeout;
    options.stop = {no_timeout, no_timeout};
    options.stuck.action = StuckPolicy::Action::keep;
    options.stuck.heartbeat = no_timeout;
    return options;
}

// What a worker is started with.
inline WorkerOptions options_in_force(WorkerOptions options) {
    return is_debugging() ? without_timeouts(std::move(options)) : options;
}

// For the person who debugs.
inline std::string describe_for_debugger(const std::string& worker, const std::string& process) {
    const bool waits = waits_for_debugger(debug_setting(), worker);
    return "tether: worker \"" + printable(worker) + "\" is process " + process +
           (waits ? " and waits for a debugger" : ", without timeouts") + " (" + debug_variable +
           "): gdb -p " + process;
}

}  // namespace detail
TETHER_NAMESPACE_END
