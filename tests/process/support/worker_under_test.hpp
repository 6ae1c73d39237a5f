#pragma once

// What nearly every test with a real worker begins with.

#include <tether/tether.hpp>

#include <cctype>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>

#include "process/support/gate.hpp"
#include "process/support/processes.hpp"
#include "process/test_protocol.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace tether_test {

using TestWorker = tether::Worker<TestProtocol>;
using tether::CallError;
using tether::errc;
using tether::RemoteError;
using namespace std::chrono_literals;

/// Runs the rest of the test case once for each transport. Once in a test case.
[[nodiscard]] inline tether::Transport each_transport() {
    using tether::Transport;
    return GENERATE(Transport::automatic, Transport::unix_abstract, Transport::unix_path,
                    Transport::tcp, Transport::socket_pair);
}

/// The misbehaving child, quiet, and with limits that end a test rather than let it hang.
[[nodiscard]] inline tether::WorkerOptions options_for(
    std::vector<std::string> arguments = {},
    tether::Transport transport = tether::Transport::automatic) {
    tether::WorkerOptions options;
    options.name = "child";
    options.program = TETHER_MISBEHAVING_CHILD;
    options.arguments = std::move(arguments);
    options.transport = transport;
    options.start_timeout = patience;
    options.call_timeout = patience;
    options.output = tether::Output::discard();
    return options;
}

[[nodiscard]] inline tether::WorkerOptions options_for(tether::Transport transport) {
    return options_for({}, transport);
}

/// Sees to it that a test leaves nothing behind: no child, no descriptor, no thread, no entry in
/// the folder where socket directories are made. Declare it first.
class Census {
public:
    Census() {
        warm_up();
        before_ = count();
    }
    Census(const Census&) = delete;
    Census& operator=(const Census&) = delete;
    ~Census() {
        Count after;
        static_cast<void>(eventually(
            [&] {
                after = count();
                return after == before_;
            },
            soon));
        CHECK(after.descriptors == before_.descriptors);
        CHECK(after.children == before_.children);
        CHECK(after.threads == before_.threads);
        CHECK(after.socket_folders == before_.socket_folders);
    }

private:
    struct Count {
        std::vector<std::string> descriptors{};
        std::vector<std::int64_t> children{};
        std::ptrdiff_t threads{};
        std::vector<std::string> socket_folders{};
        bool operator==(const Count&) const = default;
    };

    /// Socket directories go where only these tests are, and what Tether keeps for the length of
    /// the process is made once.
    static void warm_up() {
        static const TemporaryFolder folder;
        ::setenv("XDG_RUNTIME_DIR", folder.path().c_str(), 1);
        static const bool once = [] {
            const auto before = count_sockets_and_pipes();
            for (const auto transport : {tether::Transport::unix_path, tether::Transport::tcp}) {
                TestWorker worker{options_for(transport)};
                worker.call(Nothing{});
            }
            return eventually([&] { return count_sockets_and_pipes() == before; });
        }();
        static_cast<void>(once);
    }

    static std::ptrdiff_t count_sockets_and_pipes() {
        const auto descriptors = count().descriptors;
        return std::count_if(descriptors.begin(), descriptors.end(), [](const auto& text) {
            return text.find("socket:") != std::string::npos ||
                   text.find("pipe:") != std::string::npos ||
                   text.find("pidfd") != std::string::npos;
        });
    }

    // "socket:[1234]" is "socket:"; "anon_inode:[pidfd]" stays.
    static std::string without_number(const std::string& target) {
        const auto bracket = target.find('[');
        const bool numbered = bracket != std::string::npos && bracket + 1 < target.size() &&
                              std::isdigit(static_cast<unsigned char>(target[bracket + 1])) != 0;
        return numbered ? target.substr(0, bracket) : target;
    }

    static Count count() {
        Count result;
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", error}) {
            const auto target = std::filesystem::read_symlink(entry.path(), error);
            if (error || target.string().find("/fd") != std::string::npos) continue;
            // Glibc opens it once, on any thread, before it lets a heap shrink.
            if (target == "/proc/sys/vm/overcommit_memory") continue;
            result.descriptors.push_back(entry.path().filename().string() + " " +
                                         without_number(target));
        }
        std::sort(result.descriptors.begin(), result.descriptors.end());
        result.children = children_of_this_process();
        result.threads = std::distance(std::filesystem::directory_iterator{"/proc/self/task"}, {});
        for (const auto& entry :
             std::filesystem::directory_iterator{std::getenv("XDG_RUNTIME_DIR"), error}) {
            result.socket_folders.push_back(entry.path().filename());
        }
        return result;
    }

    Count before_;
};

/// For a check that shows how the worker ended.
[[nodiscard]] inline std::string how(const std::optional<tether::ExitStatus>& status) {
    return status ? to_string(*status) : "there was no process";
}

inline const std::string exited_well = to_string(tether::ExitStatus::exited(0));
inline const std::string was_killed = to_string(tether::ExitStatus::signaled(SIGKILL));

/// What `act` threw, as a copy that outlives the handler. Fails the test when it threw nothing.
template <class Act>
[[nodiscard]] CallError error_of(Act act) {
    try {
        act();
    } catch (const CallError& error) {
        return error;
    }
    FAIL("no CallError was thrown");
    throw std::logic_error("not reached");
}

[[nodiscard]] inline bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

/// Holds up Tether's background thread, until release() or its own end.
class BackgroundThreadHeld {
public:
    explicit BackgroundThreadHeld(TestWorker& worker) {
        worker.async_call(Nothing{}, [held = held_](const std::exception_ptr&) {
            held->entered.set_value();
            held->leave.get_future().wait_for(patience);
        });
        held_->entered.get_future().get();
    }
    BackgroundThreadHeld(const BackgroundThreadHeld&) = delete;
    BackgroundThreadHeld& operator=(const BackgroundThreadHeld&) = delete;
    ~BackgroundThreadHeld() { release(); }

    void release() {
        if (!std::exchange(released_, true)) held_->leave.set_value();
    }

private:
    struct Held {
        std::promise<void> entered{};
        std::promise<void> leave{};
    };
    const std::shared_ptr<Held> held_ = std::make_shared<Held>();
    bool released_ = false;
};

}  // namespace tether_test

namespace Catch {

template <>
struct StringMaker<tether::Transport> {
    static std::string convert(tether::Transport value) { return std::string{to_string(value)}; }
};
template <>
struct StringMaker<tether::WorkerState> {
    static std::string convert(tether::WorkerState value) { return std::string{to_string(value)}; }
};
template <>
struct StringMaker<tether::ExitStatus> {
    static std::string convert(const tether::ExitStatus& value) { return to_string(value); }
};
template <>
struct StringMaker<std::error_code> {
    static std::string convert(const std::error_code& value) {
        return value.category().name() + (":" + std::to_string(value.value())) + " " +
               value.message();
    }
};
template <>
struct StringMaker<tether::errc> {
    static std::string convert(tether::errc value) {
        return "errc " + std::to_string(static_cast<int>(value)) + " " +
               std::string{tether::detail::describe(value)};
    }
};

}  // namespace Catch
