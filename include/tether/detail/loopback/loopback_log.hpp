// Why: what a handler logs goes the way that the options say, also without pipes.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/host_mutex.hpp>
#include <tether/detail/wire/line_splitter.hpp>
#include <tether/detail/wire/relayed_line.hpp>
#include <tether/logging.hpp>
#include <tether/options.hpp>

#include <atomic>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Thread-safe. Shared by a worker and its handlers, which may outlive it.
class LoopbackLog {
public:
    LoopbackLog(std::string name, Output output)
        : name_(std::move(name)), output_(std::move(output)) {}

    // Of a handler. Nothing is said by what a callback calls: it is busy.
    void say(Severity severity, std::string_view text) { say(severity, text, false); }

    // Of a thread that must not wait for long for a callback.
    void warn(std::string_view text) { say(Severity::warning, text, true); }

private:
    void say(Severity severity, std::string_view text, bool bounded) {
        if (output_.mode() == Output::Mode::callback) {
            const auto lock = saying_.lock(bounded, calling_);
            if (!lock) return;
            for_each_line(text, [&](std::string_view line) {
                output_.callback()({name_, 0, LogSource::log, severity, line});
            });
        } else if (output_.mode() != Output::Mode::discard) {
            const RelayedLine relayed{output_.relay_options(), name_};
            if (!relayed.is_shown(severity)) return;
            const auto head = relayed.head({true, severity, {}});
            std::string lines;
            for_each_line(text, [&](std::string_view line) {
                lines.append(head).append(relayed.text(line, true)).append(1, '\n');
            });
            std::fwrite(lines.data(), 1, lines.size(), stderr);
        }
    }

    const std::string name_;
    const Output output_;
    HostMutex saying_;  // callbacks come one at a time
    const std::atomic<bool> calling_{true};
};

}  // namespace detail
TETHER_NAMESPACE_END
