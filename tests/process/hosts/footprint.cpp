// Looks at its own process before, while and after it has workers.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include <sys/stat.h>

#include "host_support.hpp"

using namespace tether_host;

namespace {

std::string line_of_status(const std::string& task, std::string_view name) {
    std::ifstream status{"/proc/self/task/" + task + "/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(name)) return line.substr(line.find_first_not_of(" \t", name.size()));
    }
    return {};
}

std::set<std::string> threads() {
    std::set<std::string> names;
    const std::unique_ptr<::DIR, int (*)(::DIR*)> listing{::opendir("/proc/self/task"), ::closedir};
    while (const auto* entry = ::readdir(listing.get())) {
        if (entry->d_name[0] != '.') names.insert(entry->d_name);
    }
    return names;
}

// What a library might change and must not.
struct Footprint {
    std::string text{};

    static Footprint now() {
        Footprint result;
        const auto add = [&](const std::string& part) { result.text += part + ";"; };
        ::sigset_t mask;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        for (int number = 1; number < NSIG; ++number) {
            struct ::sigaction action {};
            if (::sigaction(number, nullptr, &action) != 0) continue;
            std::uintptr_t handler = 0;
            std::memcpy(&handler, &action.sa_handler, sizeof handler);
            add("signal " + std::to_string(number) + " " + std::to_string(handler) + " " +
                std::to_string(action.sa_flags) + " " +
                std::to_string(::sigismember(&mask, number)));
        }
        for (char** entry = environ; *entry != nullptr; ++entry) add(*entry);
        const auto umask = ::umask(0);
        ::umask(umask);
        add("umask " + std::to_string(umask));
        add("directory " + std::filesystem::current_path().string());
        ::rlimit files{};
        ::getrlimit(RLIMIT_NOFILE, &files);
        add("files " + std::to_string(files.rlim_cur));
        return result;
    }
    friend bool operator==(const Footprint&, const Footprint&) = default;
};

// Looks again and again for 5 s.
template <class Condition>
bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        ::poll(nullptr, 0, 1);
    }
    return true;
}

std::ptrdiff_t count_lines(const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
}

std::string call_and_stop() {
    AskWorker worker;
    const auto answer = worker.call(Ask{"echo", "x"});
    worker.stop();
    return answer;
}

// --- The modes

std::set<std::string> threads_before;

// Registered before the first worker, so it runs when the exit hook has done its work. What a
// joined thread leaves in /proc may take a moment to go.
void count_threads_at_exit() {
    eventually([] { return threads() == threads_before; });
    announce("at_exit " + std::to_string(threads().size() - threads_before.size()));
}

int look_at_everything() {
    threads_before = threads();
    std::atexit(count_threads_at_exit);
    ::signal(SIGUSR1, SIG_IGN);
    ::sigset_t some;
    ::sigemptyset(&some);
    ::sigaddset(&some, SIGUSR2);
    ::pthread_sigmask(SIG_BLOCK, &some, nullptr);

    const auto before = Footprint::now();
    const auto descriptors_before = count_lines(descriptors());
    announce_outcome("answer", call_and_stop);
    for (int i = 0; i < 5; ++i) call_and_stop();
    const auto after = Footprint::now();
    announce("footprint " +
             (before == after ? "same" : one_line(before.text + "became\n" + after.text)));
    // The reactor's three and the sentinel's two. The background thread lets go of the last
    // worker's a moment later.
    const bool back =
        eventually([&] { return count_lines(descriptors()) <= descriptors_before + 5; });
    announce("descriptors " + (back ? "same" : one_line(descriptors())));

    auto own = threads();
    for (const auto& thread : threads_before) own.erase(thread);
    announce("threads " + std::to_string(own.size()));
    for (const auto& thread : own) announce("blocked " + line_of_status(thread, "SigBlk:"));
    announce("ending");
    return exit_code;
}

std::string answer_with(tether::WorkerOptions options) {
    AskWorker worker{std::move(options)};
    auto answer = worker.call(Ask{"echo", "x"});
    const auto status = worker.stop();
    return answer + " " + describe(status);
}

int announce_children() {
    const bool none = ::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD;
    announce(none ? "children none" : "children some");
    announce("ending");
    return exit_code;
}

int ignore_child_signals(int count) {
    ::signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < count; ++i) announce_outcome("answer", [] { return answer_with({}); });
    return announce_children();
}

// Takes every child from everybody.
int wait_for_any_child(int count) {
    std::atomic<bool> done{false};
    std::thread thief{[&] {
        while (!done) {
            if (::waitpid(-1, nullptr, WNOHANG) <= 0) std::this_thread::yield();
        }
    }};
    for (int i = 0; i < count; ++i) announce_outcome("answer", [] { return answer_with({}); });
    // One that is killed, and one that is left to the exit hook.
    static auto& killed = *new AskWorker;
    announce_outcome("echo", [&] { return killed.call(Ask{"echo", "x"}); });
    killed.kill();
    announce_outcome("echo", [&] { return killed.call(Ask{"echo", "x"}); });
    done = true;
    thief.join();
    std::thread{[] {
        for (;;) {
            if (::waitpid(-1, nullptr, 0) <= 0) std::this_thread::yield();
        }
    }}.detach();
    announce("ending");
    return exit_code;
}

bool all_closed() {
    for (const int fd : {0, 1, 2}) {
        if (::fcntl(fd, F_GETFD) != -1) return false;
    }
    return true;
}

int without_standard_descriptors() {
    for (const int fd : {0, 1, 2}) ::close(fd);
    {
        AskWorker worker;
        announce_outcome("answer", [&] { return worker.call(Ask{"echo", "x"}); });
        for (int i = 0; i < 20; ++i) worker.call(Ask{"log", std::string(500, 'x')});
        announce_outcome("descriptors", [&] { return worker.call(Ask{"descriptors", {}}); });
        worker.async_call(Ask{"echo", "x"}, [](std::exception_ptr, const std::string& text) {
            announce("completed " + text);
        });
        announce_outcome("again", [&] { return worker.call(Ask{"echo", "again"}); });
        announce(eventually(all_closed) ? "standard closed"
                                        : "standard " + one_line(descriptors()));
        worker.stop();
    }
    announce(eventually(all_closed) ? "standard closed" : "standard " + one_line(descriptors()));
    announce("ending");
    return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
    forbid_core_files();
    if (auto code = tether::serve_if_worker<Asked>(argc, argv)) return *code;
    const Arguments arguments{argc, argv};
    const auto mode = arguments.text("mode");
    const int count = arguments.number("count");
    if (mode == "look") return look_at_everything();
    if (mode == "ignore") return ignore_child_signals(count);
    if (mode == "wait_any") return wait_for_any_child(count);
    if (mode == "closed") return without_standard_descriptors();
    return 1;
}
