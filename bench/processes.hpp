#pragma once

// What the benchmarks of processes need: to watch a process that is not a child, to start one and
// talk to it, and to print a time beside the one that it is compared with.

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <optional>
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

/// Starts this program again. Each descriptor gets the number beside it in the child.
inline int spawn_self(std::vector<std::string> arguments,
                      const std::vector<std::pair<int, int>>& descriptors = {}) {
    ::posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    for (const auto& [ours, theirs] : descriptors) {
        ::posix_spawn_file_actions_adddup2(&actions, ours, theirs);
    }
    arguments.insert(arguments.begin(), "bench");
    std::vector<char*> pointers;
    for (auto& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    int pid = -1;
    const int error =
        ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, pointers.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error("posix_spawn");
    return pid;
}

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

/// A number out of the file `status` of a folder of /proc.
inline double status_number(const std::filesystem::path& folder, std::string_view name) {
    std::ifstream file{folder / "status"};
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(name)) return std::stod(line.substr(name.size() + 1));
    }
    throw std::runtime_error("no " + std::string{name} + " in " + folder.string());
}

inline std::filesystem::path proc_folder(int pid) { return "/proc/" + std::to_string(pid); }

/// The memory that a process can use before others swap.
inline double available_gibibytes() {
    std::ifstream file{"/proc/meminfo"};
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("MemAvailable:")) return std::stod(line.substr(13)) / (1024 * 1024);
    }
    return 0;
}

/// Where the two sides of a conversation run. The scheduler puts one pair onto one core and the
/// next onto two, and waking a core that sleeps costs more than all the rest: without this, chance
/// would decide what is compared with what.
enum class Placement { one_core, two_cores };

using Cores = std::vector<std::size_t>;

/// The cores that this process may use.
inline Cores usable_cores() {
    ::cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0) {
        throw std::runtime_error("sched_getaffinity");
    }
    Cores cores;
    for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
    if (cores.size() < 2) throw std::runtime_error("these benchmarks need two cores");
    return cores;
}

/// Restricts all threads of a process to these cores.
inline void hold(int pid, const Cores& cores) {
    ::cpu_set_t set;
    CPU_ZERO(&set);
    for (const auto core : cores) CPU_SET(core, &set);
    for (const auto& thread : std::filesystem::directory_iterator{proc_folder(pid) / "task"}) {
        ::sched_setaffinity(std::stoi(thread.path().filename()), sizeof set, &set);
    }
}

/// Holds all threads of this process to one core, and those of the other side to the same or to
/// another, for as long as this object lives. Threads that either side starts meanwhile stay on its
/// cores.
class Placed {
public:
    Placed(int other_side, Placement placement) {
        hold(::getpid(), {cores_[0]});
        hold(other_side, {cores_[placement == Placement::one_core ? 0 : 1]});
    }
    Placed(const Placed&) = delete;
    Placed& operator=(const Placed&) = delete;
    ~Placed() { hold(::getpid(), cores_); }

private:
    const Cores cores_ = usable_cores();
};

/// Keeps the first cores busy, each with a process of its own, for as long as this object lives.
class Load {
public:
    explicit Load(std::size_t count) {
        const auto cores = usable_cores();
        for (std::size_t i = 0; i < count; ++i) {
            pids_.push_back(::fork());
            if (pids_[i] == 0) compute();
            hold(pids_[i], {cores.at(i)});
        }
    }
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;
    ~Load() {
        for (const int pid : pids_) {
            ::kill(pid, SIGKILL);
            ::waitpid(pid, nullptr, 0);
        }
    }

private:
    [[noreturn]] static void compute() {
        ::alarm(60);  // in case the parent never ends this process
        for (std::atomic<unsigned> turns{0};; ++turns) {
        }
    }

    std::vector<int> pids_;
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
    [[nodiscard]] int pid() const noexcept { return pid_; }
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
        const int pid = spawn_self(std::move(arguments), {{in[0], 0}, {out[1], 1}});
        ::close(in[0]);
        ::close(out[1]);
        to_ = in[1];
        from_ = out[0];
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

/// Times are shown as they are, or as a rate per second.
enum class Unit { milliseconds, microseconds, per_second };

/// What is special about a row of a table.
struct Row {
    std::optional<Unit> unit{};  // instead of the table's
    int most_rounds = std::numeric_limits<int>::max();
};

/// Median and worst of something, and of the same without Tether; the rounds of both alternate.
class Table {
public:
    Table(const std::string& what, Options options, Unit unit = Unit::milliseconds)
        : options_(std::move(options)), unit_(unit) {
        print(what, {"tether", "worst", "bare", "worst", "ratio"});
    }

    [[nodiscard]] bool wants(std::string_view what) const noexcept { return options_.wants(what); }

    void compare(const std::string& what, const std::function<Milliseconds()>& with_tether,
                 const std::function<Milliseconds()>& bare, const Row& row = {}) {
        if (!wants(what)) return;
        std::vector<double> ours;
        std::vector<double> theirs;
        for (int round = 0; round < std::min(options_.rounds(), row.most_rounds); ++round) {
            ours.push_back(with_tether().count());
            theirs.push_back(bare().count());
        }
        show(what, std::move(ours), std::move(theirs), row);
    }

    /// The same with times that were measured elsewhere, in milliseconds.
    void show(const std::string& what, std::vector<double> ours, std::vector<double> theirs,
              const Row& row = {}) {
        std::ranges::sort(ours);
        std::ranges::sort(theirs);
        const double our_median = ours[ours.size() / 2];
        const double their_median = theirs[theirs.size() / 2];
        const auto unit = row.unit.value_or(unit_);
        const bool rate = unit == Unit::per_second;
        print(what, {time(our_median, unit), time(ours.back(), unit), time(their_median, unit),
                     time(theirs.back(), unit),
                     text("%.2f", rate ? their_median / our_median : our_median / their_median)});
        json_.push_back({{"what", what},
                         {"tether_ms", number(our_median)},
                         {"tether_worst_ms", number(ours.back())},
                         {"bare_ms", number(their_median)},
                         {"bare_worst_ms", number(theirs.back())}});
    }

    /// A row with a value that is not a time, measured once.
    void add(const std::string& what, const std::string& unit, double ours, double bare) {
        if (!wants(what)) return;
        print(what, {text("%.2f ", ours) + unit, "", text("%.2f ", bare) + unit, "",
                     bare == 0 ? "-" : text("%.2f", ours / bare)});
        json_.push_back({{"what", what}, {"unit", unit}, {"tether", ours}, {"bare", bare}});
    }

    /// A row that this machine cannot measure.
    void leave_out(const std::string& what, const std::string& why) {
        if (wants(what)) print(what, {"left out: " + why});
    }

    [[nodiscard]] const nlohmann::json& json() const noexcept { return json_; }

private:
    static void print(const std::string& what, const std::vector<std::string>& cells) {
        std::printf("%-84s", what.c_str());
        for (const auto& cell : cells) std::printf(" %11s", cell.c_str());
        std::puts("");
        std::fflush(stdout);
    }
    static std::string text(const char* format, double value) {
        std::array<char, 32> result{};
        std::snprintf(result.data(), result.size(), format, value);
        return result.data();
    }
    static std::string time(double milliseconds, Unit unit) {
        if (milliseconds == never.count()) return "never";
        if (unit == Unit::per_second) return text("%.0f /s", 1000 / milliseconds);
        if (unit == Unit::microseconds) return text("%.2f us", milliseconds * 1000);
        return text("%.2f ms", milliseconds);
    }
    static nlohmann::json number(double value) {
        return value == never.count() ? nlohmann::json(nullptr) : nlohmann::json(value);
    }

    Options options_;
    Unit unit_;
    nlohmann::json json_ = nlohmann::json::array();
};

}  // namespace bench
