// A program that forks without exec, with streams and a subscription: what they are in the copy.
// Exits with 0 when all went well, and says on stderr what did not.

#include <tether/tether.hpp>

#include <asio/use_future.hpp>

#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

#include "process/live_protocol.hpp"
#include "support/sanitizers.hpp"

namespace {

using namespace tether_test;

using Any = tether::AnyWorker<LiveProtocol>;

int problems = 0;

void problem(const std::string& text) {
    std::fprintf(stderr, "forking_live: %s\n", text.c_str());
    ++problems;
}

template <class Use>
void check_forked(const char* what, Use use) {
    try {
        use();
        problem(std::string{what} + " works in a copy");
    } catch (const tether::CallError& error) {
        if (error.cause() != tether::errc::forked) problem(std::string{what} + ": " + error.what());
    }
}

// What a program has when it forks.
struct Held {
    explicit Held(Any any)
        : worker(any),
          down(worker.stream(Produce{100, 64 * 1024})),
          up(worker.stream(Consume{})),
          subscription(worker.on<Noticed>([this](const Noticed&) { ++heard; })) {
        down->next();
        up->write({0, {}});
    }

    void check_in_copy() {
        check_forked("stream", [&] { return worker.stream(Pass{}); });
        check_forked("notify", [&] { worker.notify(Nudge{1}); });
        check_forked("provide", [&] { worker.provide<Confirm>([](const Confirm&) {}); });
        check_forked("on", [&] { return worker.on<Noticed>([](const Noticed&) {}); });
        check_forked("next", [&] { down->next(); });
        check_forked("async_next", [&] { down->async_next(asio::use_future).get(); });
        check_forked("write", [&] { up->write({1, {}}); });
        check_forked("response", [&] { up->response(); });
        up->finish();
        up->cancel();
        up.reset();
        down.reset();
        subscription.reset();
    }

    void check_in_original() {
        int more = 1;
        while (down->next()) ++more;
        if (more != 100 || down->response() != 100) problem("a stream of the original has ended");
        if (!up->write({1, {}})) problem("the original cannot write");
        up->finish();
        if (up->response().items != 2) problem("a copy has ended what the original writes");
        const auto before = heard.load();
        worker.call(Announce{10, 10});
        while (heard < before + 10) std::this_thread::yield();
    }

    Any worker;
    std::optional<tether::Stream<LiveProtocol, Produce>> down;
    std::optional<tether::Stream<LiveProtocol, Consume>> up;
    std::atomic<int> heard{0};
    tether::Subscription subscription;
};

// Each lock is held by someone at some moment.
class Noise {
public:
    explicit Noise(Any worker)
        : thread_([this, worker]() mutable {
              while (!done_) {
                  for (const auto& piece : worker.stream(Produce{20, 1000})) {
                      if (piece.number == 10) break;
                  }
                  worker.call(Announce{20, 10});
              }
          }) {}
    Noise(const Noise&) = delete;
    Noise& operator=(const Noise&) = delete;
    ~Noise() {
        done_ = true;
        thread_.join();
    }

private:
    std::atomic<bool> done_{false};
    std::thread thread_;
};

void fork_often(Any worker) {
    Held held{worker};
    {
        const Noise noise{worker};
        for (int i = 0; i < (instrumented ? 20 : 100); ++i) {
            const auto copy = ::fork();
            if (copy == 0) {
                ::alarm(60);
                held.check_in_copy();
                ::_exit(problems == 0 ? 0 : 1);
            }
            int status = -1;
            ::waitpid(copy, &status, 0);
            if (status != 0) problem("a copy ended with " + std::to_string(status));
        }
    }
    held.check_in_original();
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<LiveHandler>(argc, argv)) return *exit_code;
    ::alarm(300);
    const tether::WorkerOptions options{.concurrency = 4};
    tether::Worker<LiveProtocol> worker{options};
    fork_often(worker);
    tether::LoopbackWorker<LiveProtocol, LiveHandler> loopback{options};
    fork_often(loopback);
    return problems == 0 ? 0 : 1;
}
