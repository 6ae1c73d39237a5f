#pragma once

// What the benchmarks of processes need: to watch one that is not a child, to start one and talk to
// it, and to print what took how long beside what it is compared with.

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace bench {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

inline constexpr Milliseconds never{std::numeric_limits<double>::infinity()};

/// A process that is watched by pidfd, child or not.
class Process {
public:
    explicit Process(int pid) : pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
        if (pidfd_ == -1) throw std::runtime_error("pidfd_open");
    }
    Process(Process&& other) noexcept : pidfd_(std::exchange(other.pidfd_, -1)) {}
    Process& operator=(Process&&) = delete;
    ~Process() {
        if (pidfd_ != -1) ::close(pidfd_);
    }

    bool wait_gone(Clock::time_point deadline) {
        for (;;) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
            ::pollfd item{pidfd_, POLLIN, 0};
            const int ready = ::poll(&item, 1, std::max(0, static_cast<int>(left.count())));
            if (ready > 0) return true;
            if (ready == 0) return false;
        }
    }
    void kill() { ::syscall(SYS_pidfd_send_signal, pidfd_, SIGKILL, nullptr, 0); }

private:
    int pidfd_;
};

/// Where the two sides of a conversation run. The scheduler puts one pair onto one core and the
/// next onto two, and waking a core that sleeps costs more than all the rest: without this, chance
/// would decide what is compared with what.
enum class Placement { one_core, two_cores };

/// Holds all threads of this process to one core, and those of the other side to the same or to
/// another, for as long as it lives. Threads that either starts meanwhile stay with it.
class Placed {
public:
    Placed(int other_side, Placement placement) {
        if (::sched_getaffinity(0, sizeof before_, &before_) != 0) {
            throw std::runtime_error("sched_getaffinity");
        }
        std::vector<std::size_t> cores;
        for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
            if (CPU_ISSET(core, &before_)) cores.push_back(core);
        }
        if (cores.size() < 2) throw std::runtime_error("these benchmarks need two cores");
        hold(::getpid(), only(cores[0]));
        hold(other_side, only(cores[placement == Placement::one_core ? 0 : 1]));
    }
    Placed(const Placed&) = delete;
    Placed& operator=(const Placed&) = delete;
    ~Placed() { hold(::getpid(), before_); }

private:
    static ::cpu_set_t only(std::size_t core) {
        ::cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(core, &set);
        return set;
    }
    static void hold(int pid, const ::cpu_set_t& set) {
        for (const auto& thread :
             std::filesystem::directory_iterator{"/proc/" + std::to_string(pid) + "/task"}) {
            ::sched_setaffinity(std::stoi(thread.path().filename()), sizeof set, &set);
        }
    }

    ::cpu_set_t before_;
};

/// This program, started again with other arguments, with a pipe from and to it.
class Host {
public:
    explicit Host(std::vector<std::string> arguments)
        : pid_(start(std::move(arguments))), process_(pid_) {}
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    ~Host() {
        process_.kill();
        ::waitpid(pid_, nullptr, 0);
        ::close(to_);
        ::close(from_);
    }

    /// The first line that it says.
    std::vector<int> read_numbers() {
        std::string line;
        for (char byte = 0; byte != '\n'; line += byte) {
            if (::read(from_, &byte, 1) != 1) throw std::runtime_error("the host said nothing");
        }
        std::istringstream text{line};
        std::vector<int> numbers;
        for (int number = 0; text >> number;) numbers.push_back(number);
        return numbers;
    }
    void let_go() { static_cast<void>(!::write(to_, "\n", 1)); }
    void kill() { process_.kill(); }
    bool wait_gone(Clock::time_point deadline) { return process_.wait_gone(deadline); }

private:
    int start(std::vector<std::string> arguments) {
        int in[2];
        int out[2];
        if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) {
            throw std::runtime_error("pipe2");
        }
        ::posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
        ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        arguments.insert(arguments.begin(), "host");
        std::vector<char*> pointers;
        for (auto& argument : arguments) pointers.push_back(argument.data());
        pointers.push_back(nullptr);
        int pid = -1;
        const int error =
            ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, pointers.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(in[0]);
        ::close(out[1]);
        to_ = in[1];
        from_ = out[0];
        if (error != 0) throw std::runtime_error("posix_spawn");
        return pid;
    }

    int to_ = -1;
    int from_ = -1;
    int pid_;
    Process process_;
};

/// --rounds=N, --json=FILE, and --only=TEXT: the rows with that text in their names.
class Options {
public:
    Options(const std::vector<std::string>& arguments, int rounds) : rounds_(rounds) {
        for (const auto& argument : arguments) {
            if (argument.starts_with("--rounds=")) rounds_ = std::atoi(argument.c_str() + 9);
            if (argument.starts_with("--json=")) file_ = argument.substr(7);
            if (argument.starts_with("--only=")) only_ = argument.substr(7);
        }
    }
    [[nodiscard]] int rounds() const noexcept { return std::max(1, rounds_); }
    [[nodiscard]] bool wants(std::string_view what) const noexcept {
        return what.find(only_) != std::string_view::npos;
    }
    void write(const nlohmann::json& json) const {
        if (!file_.empty()) std::ofstream{file_} << json.dump(2) << '\n';
    }

private:
    int rounds_;
    std::string file_{};
    std::string only_{};
};

/// Median and worst of something, and of the same without Tether; the rounds of both alternate.
class Table {
public:
    enum class Unit { milliseconds, microseconds };

    Table(const std::string& what, Options options, Unit unit = Unit::milliseconds)
        : options_(std::move(options)), unit_(unit) {
        std::printf("%-72s %10s %10s %10s %10s %7s\n", what.c_str(), "tether", "worst", "bare",
                    "worst", "ratio");
    }

    void compare(const std::string& what, const std::function<Milliseconds()>& with_tether,
                 const std::function<Milliseconds()>& bare) {
        if (!options_.wants(what)) return;
        std::vector<double> ours;
        std::vector<double> theirs;
        for (int round = 0; round < options_.rounds(); ++round) {
            ours.push_back(with_tether().count());
            theirs.push_back(bare().count());
        }
        std::ranges::sort(ours);
        std::ranges::sort(theirs);
        const auto middle = ours.size() / 2;
        std::printf("%-72s %10s %10s %10s %10s %7s\n", what.c_str(), time(ours[middle]).c_str(),
                    time(ours.back()).c_str(), time(theirs[middle]).c_str(),
                    time(theirs.back()).c_str(), ratio(ours[middle] / theirs[middle]).c_str());
        std::fflush(stdout);
        json_.push_back({{"what", what},
                         {"tether_ms", number(ours[middle])},
                         {"tether_worst_ms", number(ours.back())},
                         {"bare_ms", number(theirs[middle])},
                         {"bare_worst_ms", number(theirs.back())}});
    }

    [[nodiscard]] const nlohmann::json& json() const noexcept { return json_; }

private:
    static std::string ratio(double value) {
        std::array<char, 32> text{};
        std::snprintf(text.data(), text.size(), "%.2f", value);
        return text.data();
    }
    [[nodiscard]] std::string time(double milliseconds) const {
        if (milliseconds == never.count()) return "never";
        const bool small = unit_ == Unit::microseconds;
        return ratio(small ? milliseconds * 1000 : milliseconds) + (small ? " us" : " ms");
    }
    static nlohmann::json number(double value) {
        return value == never.count() ? nlohmann::json(nullptr) : nlohmann::json(value);
    }

    Options options_;
    Unit unit_;
    nlohmann::json json_ = nlohmann::json::array();
};

}  // namespace bench
