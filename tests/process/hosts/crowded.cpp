// Has 10,000 calls in flight and little memory to spare when its worker crashes: once with calls
// that fail, once with calls that go on to the next process. Exits with 0 when all were settled,
// and the next call worked.

#include <tether/tether.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <future>
#include <string>
#include <string_view>
#include <thread>

#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;

constexpr int crowd = 10'000;
constexpr ::rlim_t spare = ::rlim_t{64} << 20;

/// Answers with the process id of the worker.
struct Who {
    static constexpr std::string_view name = "who";
    using Response = std::int64_t;
};

/// Says something, and does not return.
struct Block {
    static constexpr std::string_view name = "block";
    using Response = void;
};

struct CrowdProtocol {
    static constexpr std::string_view name = "tether.test.crowded";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Who, Block>;
};

class Crowded final : public tether::Handler<CrowdProtocol> {
    std::int64_t handle(const Who&, tether::CallContext<Who>&) override { return ::getpid(); }
    void handle(const Block&, tether::CallContext<Block>& call) override {
        call.log(tether::Severity::info, "blocked");
        for (;;) ::pause();
    }
};

using Worker = tether::Worker<CrowdProtocol>;

::rlim_t address_space() {
    std::ifstream file{"/proc/self/statm"};
    ::rlim_t pages = 0;
    file >> pages;
    return pages * static_cast<::rlim_t>(::sysconf(_SC_PAGESIZE));
}

/// While it lives, this process has no more address space than it had, and `spare`.
class LittleMemory {
public:
    LittleMemory() {
        ::getrlimit(RLIMIT_AS, &before_);
        const ::rlimit tight{address_space() + spare, before_.rlim_max};
        ::setrlimit(RLIMIT_AS, &tight);
    }
    LittleMemory(const LittleMemory&) = delete;
    LittleMemory& operator=(const LittleMemory&) = delete;
    ~LittleMemory() { ::setrlimit(RLIMIT_AS, &before_); }

private:
    ::rlimit before_{};
};

/// A thread that cannot have its own heap when it first wants memory gets a page of 4 KiB for each
/// object from glibc, which is not what is tested here.
void give_background_thread_a_heap(Worker& worker) {
    std::promise<std::string> made;
    worker.async_call(Who{}, [&](const std::exception_ptr&, std::int64_t) {
        made.set_value(std::string(10'000, 'x'));
    });
    made.get_future().get();
}

bool survives(unsigned budget) {
    std::promise<void> blocked;
    Worker worker{{.restart = {.budget = budget},
                   .output = tether::Output::to([&](const tether::LogRecord& record) {
                       if (record.text == "blocked") blocked.set_value();
                   })}};
    const auto pid = static_cast<::pid_t>(worker.call(Who{}));
    give_background_thread_a_heap(worker);
    std::atomic<int> settled{0};
    std::atomic<int> failed{0};
    std::atomic<std::size_t> longest{0};
    worker.async_call(Block{}, [](const std::exception_ptr&) {});
    blocked.get_future().get();  // otherwise the next process would block as well
    for (int i = 0; i < crowd; ++i) {
        worker.async_call(Who{}, [&](const std::exception_ptr& error, std::int64_t) {
            try {
                if (error) std::rethrow_exception(error);
            } catch (const tether::CallError& failure) {
                ++failed;
                longest = std::max(longest.load(), std::string_view{failure.what()}.size());
            }
            ++settled;
        });
    }
    {
        const LittleMemory little_memory;
        ::kill(pid, SIGKILL);
        const auto end = std::chrono::steady_clock::now() + 60s;
        while (settled != crowd) {
            if (std::chrono::steady_clock::now() > end) return false;
            std::this_thread::sleep_for(1ms);
        }
    }
    std::printf("%d failed, the longest text: %zu bytes\n", failed.load(), longest.load());
    if (failed != (budget == 0 ? crowd : 0) || longest >= 4096) return false;
    return budget == 0 || worker.call(Who{}) != pid;
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Crowded>(argc, argv)) return *exit_code;
    const bool survived = survives(0) && survives(5);
    return survived ? 0 : 1;
}
