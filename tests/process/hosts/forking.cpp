// A host that forks without exec: what the copy may and may not do with a worker.

#include <asio/use_future.hpp>

#include <atomic>
#include <optional>

#include "host_support.hpp"

using namespace tether_host;

namespace {

AskWorker& static_worker() {
    static AskWorker worker;
    return worker;
}

int reap(::pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) == -1 && errno == EINTR) {
    }
    return status;
}

// "exit 0" or "signal 6".
std::string describe_status(int status) {
    return WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                             : "signal " + std::to_string(WTERMSIG(status));
}

void try_everything(AskWorker& worker) {
    announce_outcome("call", [&] { return worker.call(Ask{"echo", "x"}); });
    announce_outcome("async_call", [&] {
        worker.async_call(Ask{"echo", "x"}, [](std::exception_ptr, const std::string&) {});
        return "sent";
    });
    announce_outcome("stop", [&] { return worker.stop(), "stopped"; });
    announce_outcome("async_stop", [&] {
        worker.async_stop([](std::exception_ptr, std::optional<tether::ExitStatus>) {});
        return "sent";
    });
    announce_outcome("async_wait", [&] {
        worker.async_wait([](std::exception_ptr, const tether::ExitReport&) {});
        return "sent";
    });
    announce_outcome("kill", [&] { return worker.kill(), "killed"; });
    announce_outcome("restart", [&] { return worker.restart(), "restarted"; });
    announce_outcome("pid", [&] { return std::to_string(worker.pid()); });
    announce_outcome("state", [&] { return std::string{to_string(worker.state())}; });
}

class Host {
public:
    explicit Host(const Arguments& arguments) : arguments_(arguments) {}

    int run() {
        const bool local = arguments_.text("storage") == "local";
        auto& worker = local ? local_.emplace() : static_worker();
        announce_outcome("first", [&] { return worker.call(Ask{"pid", {}}); });
        const auto mode = arguments_.text("mode");
        if (mode == "busy") return fork_often(worker);
        const auto copy = ::fork();
        if (copy == 0) return in_copy(worker, mode);
        announce("copy " + std::to_string(copy));
        if (mode == "sleep") {
            next_command();
            return end_by(arguments_.text("way"));
        }
        announce("copy_ended " + describe_status(reap(copy)));
        announce_outcome("last", [&] { return worker.call(Ask{"pid", {}}); });
        announce("generation " + std::to_string(worker.generation()));
        return 0;
    }

private:
    int in_copy(AskWorker& worker, const std::string& mode) {
        if (mode == "sleep") {
            announce("sleeping");
            for (;;) ::pause();
        }
        if (mode == "uses") try_everything(worker);
        if (mode == "new") {
            // Leaked, for the copy's own exit hook to end.
            auto& fresh = *new AskWorker{worker_options(arguments_)};
            kept_ = &fresh;
            announce_outcome("new", [&] { return fresh.call(Ask{"echo", "of the copy"}); });
            if (arguments_.number("again") != 0) fork_again();
        }
        return end_by(arguments_.text("way"));
    }

    // A copy of the copy.
    void fork_again() {
        const auto copy = ::fork();
        if (copy == 0) {
            announce_outcome("second", [&] { return kept_->call(Ask{"echo", "x"}); });
            AskWorker fresh;
            announce_outcome("third", [&] { return fresh.call(Ask{"echo", "of the second"}); });
            std::exit(0);
        }
        announce("second_ended " + describe_status(reap(copy)));
        announce_outcome("between", [&] { return kept_->call(Ask{"echo", "still here"}); });
    }

    // Forks at any moment of other threads' calls; each copy ends as a program does.
    int fork_often(AskWorker& worker) {
        std::atomic<bool> done{false};
        std::vector<std::thread> callers;
        for (int i = 0; i < 3; ++i) {
            callers.emplace_back([&] {
                while (!done) worker.call(Ask{"echo", "x"});
            });
            callers.emplace_back([&] {
                while (!done) worker.async_call(Ask{"echo", "x"}, asio::use_future).get();
            });
        }
        const int count = arguments_.number("count");
        int bad = 0;
        for (int i = 0; i < count; ++i) {
            const auto copy = ::fork();
            if (copy == 0) {
                std::destroy_at(&worker);  // as at the end of the original's scope
                std::exit(5);
            }
            if (describe_status(reap(copy)) != "exit 5") ++bad;
        }
        done = true;
        for (auto& caller : callers) caller.join();
        announce("bad " + std::to_string(bad));
        announce_outcome("last", [&] { return worker.call(Ask{"pid", {}}); });
        return 0;
    }

    const Arguments& arguments_;
    std::optional<AskWorker> local_;
    static inline AskWorker* kept_ = nullptr;
};

// Starts and stops workers while another thread forks, with and without exec.
int start_and_stop_beside_forks(const Arguments& arguments) {
    std::atomic<bool> done{false};
    std::thread forker{[&] {
        while (!done) {
            const auto copy = ::fork();
            if (copy == 0) {
                // Holds what it inherited for a while.
                ::poll(nullptr, 0, 30);
                ::_exit(0);
            }
            reap(start_shell("exit 0"));
            reap(copy);
        }
    }};
    for (int i = 0; i < arguments.number("count"); ++i) {
        AskWorker worker{{.transport = i % 2 == 0 ? tether::Transport::automatic
                                                  : tether::Transport::socket_pair}};
        announce_outcome("answer", [&] { return worker.call(Ask{"echo", "x"}); });
        announce_outcome("stopped", [&] { return describe(worker.stop()); });
    }
    done = true;
    forker.join();
    announce("done");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    forbid_core_files();
    if (auto code = tether::serve_if_worker<Asked>(argc, argv)) return *code;
    const Arguments arguments{argc, argv};
    if (arguments.text("mode") == "beside") return start_and_stop_beside_forks(arguments);
    return Host{arguments}.run();
}
