#pragma once

// What can be seen of processes from outside, and how long a test waits for it.

#include <tether/tether.hpp>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <unistd.h>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace tether_test {

using Clock = std::chrono::steady_clock;

inline constexpr int slowness = instrumented ? 4 : 1;

/// Longer than anything that goes well takes, on a loaded machine too.
inline constexpr auto patience = std::chrono::seconds{20} * slowness;

/// What is promised at once or within some 100 ms, plus what a loaded machine may add. Shorter than
/// everything that the tests' workers have to time out.
inline constexpr auto soon = std::chrono::seconds{4} * slowness;

/// The timeout of a call that must expire while its handler runs: long enough for the handler of a
/// worker that is there to begin. One that has not begun by then is not begun any more.
inline constexpr auto expires_in_handler = std::chrono::milliseconds{500} * slowness;

/// Waits for a condition. False: it did not come true in time.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition, std::chrono::milliseconds time = patience) {
    const auto until = Clock::now() + time;
    while (!condition()) {
        if (Clock::now() >= until) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
}

class Stopwatch {
public:
    [[nodiscard]] std::chrono::milliseconds elapsed() const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - started_);
    }

private:
    Clock::time_point started_ = Clock::now();
};

/// Empty where it cannot be read, as when its process ends meanwhile.
[[nodiscard]] inline std::string read_file(const std::string& path) {
    std::ifstream in{path, std::ios::binary};
    try {
        return {std::istreambuf_iterator<char>{in}, {}};
    } catch (const std::ios_base::failure&) {
        return {};
    }
}

/// Of this process, without what it shares with others.
[[nodiscard]] inline std::uint64_t resident_kibibytes() {
    const auto status = read_file("/proc/self/status");
    const auto at = status.find("RssAnon:");
    return at == std::string::npos ? 0 : std::stoull(status.substr(at + 8));
}

[[nodiscard]] inline auto count_lines(const std::string& path) {
    const auto content = read_file(path);
    return std::count(content.begin(), content.end(), '\n');
}

/// 'R', 'S', 'T', 'Z', ...; 0 when there is no such process.
[[nodiscard]] inline char process_state(std::int64_t pid) {
    const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    const auto name_end = stat.rfind(')');
    return name_end == std::string::npos || name_end + 2 >= stat.size() ? '\0' : stat[name_end + 2];
}

[[nodiscard]] inline bool is_running(std::int64_t pid) {
    const char state = process_state(pid);
    return state != '\0' && state != 'Z' && state != 'X';
}

/// Children of this process, zombies included.
[[nodiscard]] inline std::vector<std::int64_t> children_of_this_process() {
    std::vector<std::int64_t> children;
    std::error_code error;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task", error}) {
        std::ifstream in{task.path() / "children"};
        children.insert(children.end(), std::istream_iterator<std::int64_t>{in}, {});
    }
    return children;
}

/// A mark in the environment by which a worker and everything it starts are found, whatever group,
/// session or parent they have.
class ProcessMark {
public:
    ProcessMark() {
        static std::atomic<int> last{0};
        value_ = std::to_string(::getpid()) + "." + std::to_string(++last);
    }
    ProcessMark(const ProcessMark&) = delete;
    ProcessMark& operator=(const ProcessMark&) = delete;
    /// Ends what a failed test may have left.
    ~ProcessMark() {
        for (const auto pid : processes()) ::kill(static_cast<::pid_t>(pid), SIGKILL);
    }

    void put_into(tether::WorkerOptions& options) const { options.environment[name] = value_; }

    [[nodiscard]] std::vector<std::int64_t> processes() const {
        const auto entry = std::string{name} + "=" + value_ + '\0';
        std::vector<std::int64_t> result;
        std::error_code error;
        for (const auto& process : std::filesystem::directory_iterator{"/proc", error}) {
            const auto file = process.path().filename().string();
            if (std::isdigit(static_cast<unsigned char>(file.front())) == 0) continue;
            const bool marked =
                (read_file("/proc/" + file + "/environ") + '\0').find(entry) != std::string::npos;
            if (marked && is_running(std::stoll(file))) result.push_back(std::stoll(file));
        }
        return result;
    }

    /// Whether they are all gone now, or soon.
    [[nodiscard]] bool all_gone(std::chrono::milliseconds time = soon) const {
        return eventually([this] { return processes().empty(); }, time);
    }

private:
    static constexpr const char* name = "TETHER_TEST_MARK";
    std::string value_;
};

}  // namespace tether_test
