#pragma once

// Starts a host program, follows it by the lines that it and its worker announce, and finds every
// process that came of it, whatever session or parent that has by now.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

extern char** environ;  // POSIX has no header for it

template <>
struct Catch::StringMaker<std::optional<std::string>> {
    static std::string convert(const std::optional<std::string>& text) {
        return text ? '"' + *text + '"' : "nothing";
    }
};

namespace tether_lifetime {

using Milliseconds = std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

using tether_test::instrumented;

#if defined(TETHER_FORCE_PORTABLE)
inline constexpr bool portable = true;
#else
inline constexpr bool portable = false;
#endif

inline int number_from_environment(const char* name, int otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr ? std::atoi(value) : otherwise;
}

// A bound that holds without instrumentation, scaled for this build (and for the machine, by
// TETHER_TEST_SLOWNESS).
inline Milliseconds within(Milliseconds bound) {
    static const int factor = number_from_environment("TETHER_TEST_SLOWNESS", instrumented ? 8 : 1);
    return bound * factor;
}

// How often to repeat what must hold every time: TETHER_TEST_ROUNDS, or this.
inline int rounds(int usual) {
    return number_from_environment("TETHER_TEST_ROUNDS", instrumented ? (usual + 4) / 5 : usual);
}

// By then whatever takes milliseconds has happened, even on a busy machine, and whatever ends by
// itself later has not.
inline constexpr Milliseconds soon{20'000};

// A limit for waits that normally end much sooner.
inline constexpr Milliseconds long_time{30'000};

inline Milliseconds since(SteadyClock::time_point start) {
    return std::chrono::duration_cast<Milliseconds>(SteadyClock::now() - start);
}

// Random moments, the same ones when TETHER_TEST_SEED says so.
class Moments {
public:
    Moments() : seed_(seed()), engine_(seed_) {}
    [[nodiscard]] unsigned used_seed() const noexcept { return seed_; }
    std::chrono::microseconds up_to(std::chrono::microseconds most) {
        std::uniform_int_distribution<long> range{0, static_cast<long>(most.count())};
        return std::chrono::microseconds{range(engine_)};
    }
    template <class Values>
    auto one_of(const Values& values) {
        std::uniform_int_distribution<std::size_t> range{0, std::size(values) - 1};
        return *(std::begin(values) + static_cast<std::ptrdiff_t>(range(engine_)));
    }

private:
    static unsigned seed() {
        const int wanted = number_from_environment("TETHER_TEST_SEED", 0);
        return wanted != 0 ? static_cast<unsigned>(wanted) : std::random_device{}();
    }
    unsigned seed_;
    std::mt19937 engine_;
};

// --- Descriptors and processes

class Fd {
public:
    explicit Fd(int fd = -1) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) reset(std::exchange(other.fd_, -1));
        return *this;
    }
    ~Fd() { reset(); }
    [[nodiscard]] int get() const noexcept { return fd_; }
    void reset(int fd = -1) noexcept {
        if (fd_ != -1) ::close(fd_);
        fd_ = fd;
    }

private:
    int fd_;
};

inline Fd checked(int fd, const char* what) {
    if (fd == -1) throw std::system_error(errno, std::system_category(), what);
    return Fd{fd};
}

// True when it became readable or was hung up in time.
inline bool wait_readable(int fd, std::chrono::nanoseconds limit) {
    const auto deadline = SteadyClock::now() + limit;
    for (;;) {
        const auto left = std::max<std::chrono::nanoseconds>(deadline - SteadyClock::now(),
                                                             std::chrono::nanoseconds::zero());
        const ::timespec time{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
        ::pollfd item{fd, POLLIN, 0};
        const int ready = ::ppoll(&item, 1, &time, nullptr);
        if (ready != -1 || errno != EINTR) return ready == 1;
    }
}

// Lets the time pass, without waiting for anything.
inline void let_pass(std::chrono::nanoseconds time) { wait_readable(-1, time); }

inline Fd pidfd_of(::pid_t pid) { return Fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))}; }

// Nothing for a file that cannot be read, such as one of a process that ends meanwhile.
inline std::string contents(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    try {
        return {std::istreambuf_iterator<char>{file}, {}};
    } catch (const std::ios_base::failure&) {
        return {};
    }
}

// The letter in /proc, 'X' when there is no such process.
inline char state_of(::pid_t pid) {
    const auto text = contents("/proc/" + std::to_string(pid) + "/stat");
    const auto end = text.rfind(") ");
    return end == std::string::npos ? 'X' : text[end + 2];
}

inline std::string name_of(::pid_t pid) {
    auto text = contents("/proc/" + std::to_string(pid) + "/comm");
    if (!text.empty()) text.pop_back();
    return text;
}

// Polls a condition that sends no notification when it changes.
template <class Condition>
bool eventually(Condition condition, Milliseconds limit = long_time) {
    const auto deadline = SteadyClock::now() + limit;
    while (!condition()) {
        if (SteadyClock::now() >= deadline) return false;
        let_pass(std::chrono::milliseconds{1});
    }
    return true;
}

// --- The scene of one test

// A directory, a pipe for announcements, and a mark in the environment of every process that is
// started here. What is left at the end is killed, each by its own id.
class Scene {
public:
    Scene() {
        std::string name = (std::filesystem::temp_directory_path() / "tether-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        directory_ = name;
        mark_ = "TETHER_TEST_SCENE=" + directory_;
        std::filesystem::create_directory(temp());
        if (::mkfifo(path("events").c_str(), 0600) != 0) throw std::runtime_error("mkfifo");
        if (::mkfifo(path("gate").c_str(), 0600) != 0) throw std::runtime_error("mkfifo");
        events_ =
            checked(::open(path("events").c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC), "events");
    }
    Scene(const Scene&) = delete;
    Scene& operator=(const Scene&) = delete;
    ~Scene() {
        for (const auto pid : processes()) ::kill(pid, SIGKILL);
        left_after(long_time);
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }
    // The TMPDIR of what is started here.
    [[nodiscard]] std::string temp() const { return path("tmp"); }
    [[nodiscard]] std::vector<std::string> temp_entries() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator{temp()}) {
            names.push_back(entry.path().filename().string());
        }
        return names;
    }

    // What a process must have in its environment to belong here.
    [[nodiscard]] std::map<std::string, std::string> environment() const {
        return {{"TETHER_TEST_SCENE", directory_},
                {"TETHER_TEST_EVENTS", path("events")},
                {"TETHER_TEST_GATE_PATH", path("gate")},
                {"TMPDIR", temp()},
                {"XDG_RUNTIME_DIR", ""}};
    }

    // From now on no process waits at the gate.
    void open_gate() { gate_ = checked(::open(path("gate").c_str(), O_RDWR | O_CLOEXEC), "gate"); }
    void close_gate() { gate_.reset(); }

    // --- Announcements

    // The next line whose first word is `name`, without that word; skipped lines count as seen.
    std::optional<std::string> wait_for(std::string_view name, Milliseconds limit = long_time) {
        const auto deadline = SteadyClock::now() + limit;
        for (;;) {
            while (next_ < lines_.size()) {
                const std::string_view line{lines_[next_++]};
                if (first_word(line) != name) continue;
                return std::string{line.substr(std::min(line.size(), name.size() + 1))};
            }
            read_events();
            if (next_ < lines_.size()) continue;
            const auto left = deadline - SteadyClock::now();
            if (left <= left.zero() || !wait_readable(events_.get(), left)) return std::nullopt;
        }
    }

    // Waits until `name` was announced that often, whatever else was said before or after.
    bool wait_count(std::string_view name, std::size_t times, Milliseconds limit = long_time) {
        const auto deadline = SteadyClock::now() + limit;
        while (count(name) < times) {
            const auto left = deadline - SteadyClock::now();
            if (left <= left.zero() || !wait_readable(events_.get(), left)) return false;
        }
        return true;
    }

    // How many lines so far have `name` as their first word.
    std::size_t count(std::string_view name) {
        read_events();
        return static_cast<std::size_t>(std::ranges::count(lines_, name, first_word));
    }

    // Everything announced so far, for the message of a failed check.
    std::string story() {
        read_events();
        std::string text;
        for (const auto& line : lines_) text += line + "\n";
        return text;
    }

    void forget_events() {
        read_events();
        lines_.clear();
        next_ = 0;
    }

    // --- Processes

    // All that carry the mark and are alive.
    [[nodiscard]] std::vector<::pid_t> processes() const {
        std::vector<::pid_t> found;
        for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
            const auto name = entry.path().filename().string();
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            if (contents("/proc/" + name + "/environ").find(mark_) == std::string::npos) continue;
            found.push_back(static_cast<::pid_t>(std::stol(name)));
        }
        return found;
    }

    // Waits until none but `spared` is alive; returns those that still are when time is up.
    std::vector<::pid_t> left_after(Milliseconds limit, std::vector<::pid_t> spared = {}) const {
        const auto deadline = SteadyClock::now() + limit;
        for (int empty_looks = 0;;) {
            auto found = processes();
            std::erase_if(found, [&](::pid_t pid) { return std::ranges::count(spared, pid) != 0; });
            // The second look finds a process that another one started right before its end.
            empty_looks = found.empty() ? empty_looks + 1 : 0;
            if (empty_looks == 2) return {};
            if (found.empty()) continue;
            const auto left = deadline - SteadyClock::now();
            const auto first = pidfd_of(found.front());
            if (first.get() == -1) continue;
            if (left <= left.zero() || !wait_readable(first.get(), left)) return found;
        }
    }

    // For the message of a failed check.
    [[nodiscard]] static std::string describe(const std::vector<::pid_t>& pids) {
        std::string text;
        for (const auto pid : pids) {
            text += std::to_string(pid) + " " + name_of(pid) + " " + state_of(pid) + "; ";
        }
        return text;
    }

private:
    static std::string_view first_word(std::string_view line) {
        return line.substr(0, line.find(' '));
    }

    void read_events() {
        std::array<char, 4096> bytes;
        for (;;) {
            const auto size = ::read(events_.get(), bytes.data(), bytes.size());
            if (size == -1 && errno == EINTR) continue;
            if (size <= 0) break;
            unfinished_.append(bytes.data(), static_cast<std::size_t>(size));
        }
        for (auto end = unfinished_.find('\n'); end != std::string::npos;
             end = unfinished_.find('\n')) {
            lines_.push_back(unfinished_.substr(0, end));
            unfinished_.erase(0, end + 1);
        }
    }

    std::string directory_;
    std::string mark_;
    Fd events_;
    Fd gate_;
    std::string unfinished_;
    std::vector<std::string> lines_;
    std::size_t next_ = 0;
};

// --- A program that is started, watched and killed

inline std::string host_path(const std::string& name) { return TETHER_HOSTS_DIR "/" + name; }

struct HostOptions {
    std::map<std::string, std::string> environment{};
    std::string terminal{};              // becomes its controlling terminal and its 0, 1, 2
    std::vector<std::string> wrapper{};  // a program that starts it
};

class Host {
public:
    // Starts `name`, with stdin and stdout on pipes and stderr in a file.
    Host(Scene& scene, const std::string& name, std::vector<std::string> arguments,
         const HostOptions& options = {})
        : scene_(scene) {
        std::vector<std::string> command = options.wrapper;
        command.push_back(host_path(name));
        std::ranges::move(arguments, std::back_inserter(command));
        start(command, options);
    }
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    ~Host() {
        if (reaped_) return;
        send(SIGKILL);
        wait();
    }

    [[nodiscard]] ::pid_t pid() const noexcept { return pid_; }
    void send(int number) const {
        if (!reaped_) ::kill(pid_, number);
    }
    void type(std::string_view text) const {
        (void)!::write(input_.get(), text.data(), text.size());
    }
    void close_input() { input_.reset(); }

    // "exit 7" or "signal 9", or "still running".
    std::string wait(Milliseconds limit = long_time) {
        if (reaped_) return ended_;
        if (!wait_readable(pidfd_.get(), limit)) return "still running";
        int status = 0;
        ::waitpid(pid_, &status, 0);
        reaped_ = true;
        ended_ = WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                                   : "signal " + std::to_string(WTERMSIG(status));
        return ended_;
    }

    // True once it is stopped.
    bool wait_stopped(Milliseconds limit = long_time) const {
        return eventually([&] { return state_of(pid_) == 'T'; }, limit);
    }

    // What it wrote to stdout; nothing when the end does not come in time.
    std::optional<std::string> read_output(Milliseconds limit = long_time) {
        const auto deadline = SteadyClock::now() + limit;
        std::string text;
        std::array<char, 4096> bytes;
        for (;;) {
            const auto left = deadline - SteadyClock::now();
            if (left <= left.zero() || !wait_readable(output_.get(), left)) return std::nullopt;
            const auto size = ::read(output_.get(), bytes.data(), bytes.size());
            if (size <= 0) return text;
            text.append(bytes.data(), static_cast<std::size_t>(size));
        }
    }

    [[nodiscard]] std::string errors() const { return contents(scene_.path("stderr")); }

private:
    void start(std::vector<std::string>& command, const HostOptions& options) {
        auto variables = scene_.environment();
        for (const auto& [name, value] : options.environment) variables[name] = value;
        std::vector<std::string> environment;
        for (char** entry = environ; *entry != nullptr; ++entry) {
            const std::string text{*entry};
            if (!variables.contains(text.substr(0, text.find('=')))) environment.push_back(text);
        }
        for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);

        int in[2];
        int out[2];
        if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) {
            throw std::system_error(errno, std::system_category(), "pipe");
        }
        const Fd their_in{in[0]};
        const Fd their_out{out[1]};
        input_.reset(in[1]);
        output_.reset(out[0]);
        ::posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        // As a shell in the foreground starts it, whatever this process ignores or blocks.
        ::sigset_t none;
        ::sigset_t all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
        ::posix_spawnattr_t attributes;
        ::posix_spawnattr_init(&attributes);
        ::posix_spawnattr_setsigmask(&attributes, &none);
        ::posix_spawnattr_setsigdefault(&attributes, &all);
        if (options.terminal.empty()) {
            ::posix_spawn_file_actions_adddup2(&actions, their_in.get(), 0);
            ::posix_spawn_file_actions_adddup2(&actions, their_out.get(), 1);
            ::posix_spawn_file_actions_addopen(&actions, 2, scene_.path("stderr").c_str(),
                                               O_WRONLY | O_CREAT | O_APPEND, 0600);
        } else {
            flags |= POSIX_SPAWN_SETSID;
            ::posix_spawn_file_actions_addopen(&actions, 0, options.terminal.c_str(), O_RDWR, 0);
            ::posix_spawn_file_actions_adddup2(&actions, 0, 1);
            ::posix_spawn_file_actions_adddup2(&actions, 0, 2);
        }
        ::posix_spawnattr_setflags(&attributes, flags);
        auto arguments = pointers(command);
        auto variables_of_it = pointers(environment);
        const int error = ::posix_spawnp(&pid_, arguments[0], &actions, &attributes,
                                         arguments.data(), variables_of_it.data());
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
        if (error != 0) throw std::system_error(error, std::system_category(), command.front());
        pidfd_ = pidfd_of(pid_);
    }

    static std::vector<char*> pointers(std::vector<std::string>& texts) {
        std::vector<char*> result;
        for (auto& text : texts) result.push_back(text.data());
        result.push_back(nullptr);
        return result;
    }

    Scene& scene_;
    ::pid_t pid_ = -1;
    Fd pidfd_;
    Fd input_;
    Fd output_;
    bool reaped_ = false;
    std::string ended_;
};

// Shown when a check below it fails.
#define TETHER_TELL_STORY(scene, host)                                         \
    INFO("announced:\n" << (scene).story() << "stderr:\n" << (host).errors()); \
    INFO("alive: " << tether_lifetime::Scene::describe((scene).processes()))

// Prints a measured time, to show how far from the bound it was.
inline void print_time(const std::string& what, Milliseconds time) {
    std::printf("%s: %lld ms\n", what.c_str(), static_cast<long long>(time.count()));
}

}  // namespace tether_lifetime
