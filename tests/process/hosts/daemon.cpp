// A host that turns into a daemon while it has workers: it closes every descriptor above 2, with or
// without a fork, and may put files of its own behind the numbers.

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <future>
#include <sstream>

#include <sys/stat.h>
#include <sys/syscall.h>

#include "host_support.hpp"

using namespace tether_host;

namespace {

constexpr auto far_away = std::chrono::minutes{10};

std::vector<int> open_numbers() {
    std::vector<int> numbers;
    std::istringstream lines{descriptors()};
    std::string line;
    while (std::getline(lines, line)) {
        if (const int number = std::stoi(line); number > 2) numbers.push_back(number);
    }
    return numbers;
}

bool is_file(int number, const std::string& path) {
    struct ::stat wanted {};
    struct ::stat there {};
    return ::stat(path.c_str(), &wanted) == 0 && ::fstat(number, &there) == 0 &&
           wanted.st_ino == there.st_ino && wanted.st_dev == there.st_dev;
}

std::chrono::milliseconds processor_time() {
    ::timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return std::chrono::milliseconds{time.tv_sec * 1000 + time.tv_nsec / 1'000'000};
}

std::string outcome_of(const std::exception_ptr& failure, const std::string& answer) {
    try {
        if (failure) std::rethrow_exception(failure);
        return answer;
    } catch (const tether::CallError& error) {
        return "error " + one_line(describe(error));
    }
}

class Daemon {
public:
    explicit Daemon(const Arguments& arguments) : arguments_(arguments) {}
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon() {
        for (auto& thread : threads_) thread.join();
    }

    int run() {
        for (auto line = next_command(); !line.empty(); line = next_command()) {
            std::istringstream words{line};
            std::string command;
            std::string rest;
            words >> command >> rest;
            if (command == "end") return end_by(rest);
            obey(command, rest);
        }
        return 0;
    }

private:
    void obey(const std::string& command, const std::string& rest) {
        if (command == "worker") make_worker();
        if (command == "pend") pend(rest);
        if (command == "traffic") start_traffic();
        if (command == "ask") {
            announce_outcome("asked", [&] { return workers_.back()->call(Ask{"echo", "a"}); });
        }
        if (command == "call") call(rest);
        if (command == "close") close_all(rest);
        if (command == "reuse") reuse();
        if (command == "look") look();
        if (command == "fork") turn_into_copy();
        if (command == "restart") {
            announce_outcome("restart", [&] {
                workers_.front()->restart();
                return workers_.front()->call(Ask{"echo", "again"});
            });
        }
        if (command == "destroy") destroy(rest);
        if (command == "processor") measure();
    }

    void make_worker() {
        announce_outcome("worker", [&] {
            workers_.push_back(std::make_unique<AskWorker>(worker_options(arguments_)));
            return workers_.back()->call(Ask{"echo", "x"});
        });
    }

    // A call of the last worker that its handler does not answer.
    void pend(const std::string& kind) {
        auto& worker = *workers_.back();
        const Ask ask{"until_stopped", {}};
        const tether::CallOptions<Ask> patient{.timeout = far_away};
        const auto tell = [kind](const std::string& outcome) { announce(kind + " " + outcome); };
        if (kind == "blocking" || kind == "stoppable") {
            threads_.emplace_back([&worker, ask, patient, kind, stop = stop_.get_token()] {
                auto options = patient;
                if (kind == "stoppable") options.stop_token = stop;
                announce_outcome(kind, [&] { return worker.call(ask, options); });
            });
        } else if (kind == "future") {
            auto future = worker.async_call(ask, patient, asio::use_future);
            threads_.emplace_back([kind, future = std::move(future)]() mutable {
                announce_outcome(kind, [&] { return future.get(); });
            });
        } else if (kind == "callback") {
            worker.async_call(ask, patient, [tell](std::exception_ptr error, std::string answer) {
                tell(outcome_of(error, answer));
            });
        } else if (kind == "coroutine") {
            asio::co_spawn(worker.get_executor(), await(worker, ask, patient, tell),
                           asio::detached);
        }
    }

    template <class Tell>
    static asio::awaitable<void> await(AskWorker& worker, Ask ask, tether::CallOptions<Ask> options,
                                       Tell tell) {
        try {
            auto operation =
                worker.async_call(std::move(ask), std::move(options), asio::use_awaitable);
            tell(co_await std::move(operation));
        } catch (const tether::CallError& error) {
            tell("error " + one_line(describe(error)));
        }
    }

    // Calls, one after the other, four at a time, until one fails. Returns when they flow.
    void start_traffic() {
        auto& worker = *workers_.back();
        for (int i = 0; i < 4; ++i) go_on(worker);
        const auto before = answers_.load();
        while (answers_ < before + 100) pause_for(1ms);
    }

    void go_on(AskWorker& worker) {
        worker.async_call(Ask{"echo", "t"}, {.timeout = far_away},
                          [this, &worker](std::exception_ptr error, const std::string& answer) {
                              if (error) return announce("traffic " + outcome_of(error, answer));
                              ++answers_;
                              go_on(worker);
                          });
    }

    // Of each kind, with the first or the last worker.
    void call(const std::string& which) {
        auto& worker = which == "first" ? *workers_.front() : *workers_.back();
        const tether::CallOptions<Ask> patient{.timeout = far_away};
        announce_outcome("call", [&] { return worker.call(Ask{"echo", "a"}, patient); });
        announce_outcome("future_call", [&] {
            return worker.async_call(Ask{"echo", "b"}, patient, asio::use_future).get();
        });
        std::promise<std::string> done;
        worker.async_call(Ask{"echo", "c"}, patient,
                          [&](std::exception_ptr error, const std::string& answer) {
                              done.set_value(outcome_of(error, answer));
                          });
        announce("callback_call " + done.get_future().get());
        if (which == "first") return;  // its executor begins nothing more
        std::promise<std::string> awaited;
        asio::co_spawn(worker.get_executor(),
                       await(worker, Ask{"echo", "d"}, patient,
                             [&](const std::string& outcome) { awaited.set_value(outcome); }),
                       asio::detached);
        announce("coroutine_call " + awaited.get_future().get());
    }

    // In one system call, or one by one as older daemons do.
    void close_all(const std::string& way) {
        numbers_ = open_numbers();
        if (way == "loop") {
            for (int number = 3; number < 4096; ++number) ::close(number);
        } else {
            ::syscall(SYS_close_range, 3U, ~0U, 0U);
        }
        if (way == "reuse") reuse();
        announce("closed");
    }

    // Every number that was open is a file of the host's from now on.
    void reuse() {
        file_ = variable("TMPDIR") + "/file";
        const int fd = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        for (const int number : numbers_) {
            if (number != fd) ::dup3(fd, number, O_CLOEXEC);
        }
        if (std::find(numbers_.begin(), numbers_.end(), fd) == numbers_.end()) ::close(fd);
    }

    void look() {
        struct ::stat status {};
        ::stat(file_.c_str(), &status);
        const auto kept = std::count_if(numbers_.begin(), numbers_.end(),
                                        [&](int number) { return is_file(number, file_); });
        announce("written " + std::to_string(status.st_size));
        announce(kept == static_cast<std::ptrdiff_t>(numbers_.size()) ? "kept all" : "kept some");
    }

    // The original only waits for its copy, so that the test can.
    void turn_into_copy() {
        const auto copy = ::fork();
        if (copy == 0) {
            for (auto& worker : workers_) worker.release();
            workers_.clear();
            return announce("copy");
        }
        int status = 0;
        while (::waitpid(copy, &status, 0) == -1 && errno == EINTR) {
        }
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }

    // All but the last, or all.
    void destroy(const std::string& which) {
        const auto start = std::chrono::steady_clock::now();
        const auto left = which == "old" ? workers_.end() - 1 : workers_.end();
        workers_.erase(workers_.begin(), left);
        const auto took = std::chrono::steady_clock::now() - start;
        announce(
            "freed " +
            std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
    }

    static void measure() {
        const auto before = processor_time();
        pause_for(1s);
        announce("processor " + std::to_string((processor_time() - before).count()));
    }

    const Arguments& arguments_;
    std::vector<std::unique_ptr<AskWorker>> workers_;
    std::vector<std::thread> threads_;
    std::stop_source stop_;
    std::atomic<int> answers_{0};
    std::vector<int> numbers_;
    std::string file_;
};

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = tether::serve_if_worker<Asked>(argc, argv)) return *code;
    forbid_core_files();
    const Arguments arguments{argc, argv};
    return Daemon{arguments}.run();
}
