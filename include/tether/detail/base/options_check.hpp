// Why: options that make no sense are refused by name where they are given, rather than by a
// failing system call in a process that does not exist yet.
#pragma once

#include <tether/config.hpp>
#include <tether/options.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Throws a std::invalid_argument that names the first bad option.
class OptionsCheck {
public:
    explicit OptionsCheck(const WorkerOptions& options) : options_(options) {}

    void run() const {
        check_sizes();
        check_durations();
        check_limits();
        check_texts();
        if (options_.output.mode() == Output::Mode::callback && !options_.output.callback()) {
            refuse("output is a callback, but an empty one");
        }
    }

private:
    [[noreturn]] static void refuse(const std::string& what) {
        throw std::invalid_argument("tether::WorkerOptions: " + what);
    }

    void check_sizes() const {
        if (options_.concurrency == 0) {
            refuse("concurrency is 0, so no request would ever be handled");
        }
        if (options_.concurrency > 1024) refuse("concurrency is over 1024");
        if (options_.calls_in_work > 4096) refuse("calls_in_work is over 4096");
        if (options_.max_message_bytes < 4096) {
            refuse("max_message_bytes is under 4096, too little for the library's own messages");
        }
    }

    static void check_positive(const char* name, Duration value) {
        if (value <= Duration::zero()) {
            refuse(std::string{name} + " is not positive; tether::no_timeout waits for ever");
        }
    }

    static void check_not_negative(const char* name, Duration value) {
        if (value < Duration::zero()) refuse(std::string{name} + " is negative");
    }

    void check_durations() const {
        check_positive("start_timeout", options_.start_timeout);
        check_positive("call_timeout", options_.call_timeout);
        check_positive("idle_timeout", options_.idle_timeout);
        check_not_negative("stop.drain", options_.stop.drain);
        check_not_negative("stop.terminate", options_.stop.terminate);
        check_not_negative("orphan_grace", options_.orphan_grace);
        check_not_negative("spin", options_.spin);
        if (options_.spin > std::chrono::milliseconds{1}) refuse("spin is over 1 ms");
        check_not_negative("stuck.grace", options_.stuck.grace);
        check_positive("stuck.silence", options_.stuck.silence);
        check_positive("stuck.heartbeat", options_.stuck.heartbeat);
        check_not_negative("restart.window", options_.restart.window);
        check_not_negative("restart.initial_pause", options_.restart.initial_pause);
        check_not_negative("restart.max_pause", options_.restart.max_pause);
    }

    void check_limits() const {
        const auto& limits = options_.limits;
        if (limits.memory_bytes == std::uint64_t{0}) refuse("limits.memory_bytes is 0");
        if (limits.cpu_time && *limits.cpu_time <= Duration::zero()) {
            refuse("limits.cpu_time is not positive");
        }
        if (limits.nice && (*limits.nice < -20 || *limits.nice > 19)) {
            refuse("limits.nice is not between -20 and 19");
        }
    }

    static void check_text(const std::string& name, const std::string& value) {
        if (value.find('\0') != std::string::npos) refuse(name + " contains a null byte");
    }

    void check_texts() const {
        if (options_.name.size() > 256) refuse("name is longer than 256 bytes");
        check_text("name", options_.name);
        check_text("program", options_.program);
        check_text("working_directory", options_.working_directory);
        check_text("trace", options_.trace);
        for (const auto& argument : options_.arguments) check_text("an argument", argument);
        for (const auto& [name, value] : options_.environment) {
            if (name.empty() || name.find('=') != std::string::npos ||
                name.find('\0') != std::string::npos) {
                refuse("environment has a variable named \"" + name + "\"");
            }
            if (value) check_text("the environment variable " + name, *value);
        }
    }

    const WorkerOptions& options_;
};

inline void check_options(const WorkerOptions& options) { OptionsCheck{options}.run(); }

}  // namespace detail
TETHER_NAMESPACE_END
