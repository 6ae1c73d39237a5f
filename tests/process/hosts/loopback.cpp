// A program with LoopbackWorkers:
//
//     loopback alike    each case ends in the same way in a Worker and in a LoopbackWorker
//     loopback closed   it closes all its descriptors, as a daemon does
//     loopback forked   it forks, also in a handler
//     loopback exit     it exits while calls are pending
//
// Exits with 0 when all went well, and says on stderr what did not.

#include <tether/tether.hpp>

#include <asio/detached.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <cctype>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "support/sanitizers.hpp"

namespace {

using namespace std::chrono_literals;
using tether::Bytes;
using tether::CallError;
using tether::errc;

int problems = 0;

void problem(const std::string& text) {
    std::fprintf(stderr, "loopback: %s\n", text.c_str());
    ++problems;
}

/// The size is that of the answer's text, or the number of its blobs.
struct Do {
    static constexpr std::string_view name = "do";
    struct Response {
        std::string text{};
        std::vector<Bytes> blobs{};
        NLOHMANN_DEFINE_TYPE_INTRUSIVE(Response, text, blobs)
    };
    std::string what{};
    std::size_t size{};
    std::vector<Bytes> blobs{};
    NLOHMANN_DEFINE_TYPE_INTRUSIVE(Do, what, size, blobs)
};

/// Runs until it is told to stop, or `open`.
struct Wait {
    static constexpr std::string_view name = "wait";
    using Response = bool;
};
struct WaitAgain {
    static constexpr std::string_view name = "wait_again";
    using Response = bool;
    static constexpr bool idempotent = true;
};

struct Protocol {
    static constexpr std::string_view name = "test.loopback_host";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Do, Wait, WaitAgain>;
};

std::atomic<bool> open{false};
std::atomic<int> entered{0};

class Handler final : public tether::Handler<Protocol> {
    Do::Response handle(const Do& request, tether::CallContext<Do>&) override {
        if (request.what == "std") throw std::runtime_error("a plain one");
        if (request.what == "int") throw 42;
        if (request.what == "code") throw tether::HandlerError("no_file", "a file is needed");
        if (request.what == "nested") {
            try {
                throw std::runtime_error("the cause");
            } catch (...) {
                std::throw_with_nested(tether::HandlerError("outer", "it failed"));
            }
        }
        if (request.what == "fork") return {fork_and_return(), {}};
        if (request.what == "blobs") return {{}, std::vector<Bytes>(request.size)};
        return {std::string(request.size, 'x'), {}};
    }
    bool handle(const Wait&, tether::CallContext<Wait>& call) override { return wait(call); }
    bool handle(const WaitAgain&, tether::CallContext<WaitAgain>& call) override {
        return wait(call);
    }

    template <class Context>
    static bool wait(const Context& call) {
        ++entered;
        while (!open && !call.stop_requested()) std::this_thread::sleep_for(1ms);
        return open;
    }

    /// How the copy ended that returned from here.
    static std::string fork_and_return() {
        const auto copy = ::fork();
        if (copy == 0) return "the copy";
        int status = -1;
        ::waitpid(copy, &status, 0);
        return "ended with " + std::to_string(status);
    }
};
using Loopback = tether::LoopbackWorker<Protocol, Handler>;

void await_entered(int count) {
    while (entered < count) std::this_thread::sleep_for(1ms);
}

/// What became of a call: without numbers, which differ, nor the process.
template <class Call>
std::string outcome_of(Call call) {
    try {
        call();
        return "an answer";
    } catch (const CallError& error) {
        std::string text;
        for (const char* at = error.what(); *at != '\0'; ++at) {
            const bool digit = std::isdigit(static_cast<unsigned char>(*at)) != 0;
            if (!digit || text.empty() || text.back() != '#') text += digit ? '#' : *at;
        }
        if (const auto pid = text.find(" (pid #)"); pid != std::string::npos) text.erase(pid, 8);
        return error.code().message() +
               (error.code() == errc::outcome_unknown ? " (unknown): " : ": ") + text;
    }
}

// --- alike

template <class W>
using Case = std::pair<const char*, std::function<std::string(W&)>>;

template <class W>
auto does(Do request) {
    return [request](W& worker) { return outcome_of([&] { worker.call(request); }); };
}

template <class W, class Request>
std::string cancel_running(W& worker, Request request) {
    std::stop_source source;
    std::jthread canceller{[&, before = entered.load()] {
        std::this_thread::sleep_for(30ms);  // a worker process shares no memory
        source.request_stop();
    }};
    return outcome_of([&] { worker.call(request, {.stop_token = source.get_token()}); });
}

template <class W>
std::vector<Case<W>> cases() {
    constexpr auto most = std::size_t{4096};
    return {
        {"an answer", does<W>({"", 10, {}})},
        {"no bytes", does<W>({})},
        {"as many blobs as there may be", does<W>({"blobs", most, {}})},
        {"one blob too many in an answer", does<W>({"blobs", most + 1, {}})},
        {"one blob too many in a request", does<W>({"", 0, std::vector<Bytes>(most + 1)})},
        {"an answer over the limit", does<W>({"", 200'000, {}})},
        {"a request over the limit", does<W>({"", 0, {Bytes{std::size_t{200'000}}}})},
        {"an exception", does<W>({"std", 0, {}})},
        {"no exception", does<W>({"int", 0, {}})},
        {"a code", does<W>({"code", 0, {}})},
        {"a nested exception", does<W>({"nested", 0, {}})},
        {"no time",
         [](W& worker) { return outcome_of([&] { worker.call(Wait{}, {.timeout = 0s}); }); }},
        {"a deadline",
         [](W& worker) { return outcome_of([&] { worker.call(Wait{}, {.timeout = 50ms}); }); }},
        {"a deadline of what may be done again",
         [](W& worker) {
             return outcome_of([&] { worker.call(WaitAgain{}, {.timeout = 50ms}); });
         }},
        {"a run timeout",
         [](W& worker) { return outcome_of([&] { worker.call(Wait{}, {.run_timeout = 20ms}); }); }},
        {"cancelled while it runs", [](W& worker) { return cancel_running(worker, Wait{}); }},
        {"cancelled while what may be done again runs",
         [](W& worker) { return cancel_running(worker, WaitAgain{}); }},
        {"cancelled before it was made",
         [](W& worker) {
             std::stop_source source;
             source.request_stop();
             return outcome_of([&] { worker.call(Wait{}, {.stop_token = source.get_token()}); });
         }},
        {"blocking on the background thread",
         [](W& worker) {
             std::promise<std::string> outcome;
             worker.async_call(Do{}, [&](std::exception_ptr, const Do::Response&) {
                 outcome.set_value(outcome_of([&] { worker.call(Do{}); }));
             });
             return outcome.get_future().get();
         }},
        {"an async one",
         [](W& worker) {
             return outcome_of([&] {
                 worker.async_call(Do{"std", 0, {}}, asio::use_future).get();
             });
         }},
        {"an async one with a deadline",
         [](W& worker) {
             return outcome_of(
                 [&] { worker.async_call(Wait{}, {.timeout = 50ms}, asio::use_future).get(); });
         }},
        {"after all this", does<W>({"", 1, {}})},
        {"stopped",
         [](W& worker) {
             worker.stop();
             return outcome_of([&] { worker.call(Do{}); });
         }},
    };
}

void alike() {
    const tether::WorkerOptions options{.name = "one", .max_message_bytes = 100'000};
    tether::Worker<Protocol> worker{options};
    Loopback loopback{options};
    worker.call(Do{});
    loopback.call(Do{});
    const auto real = cases<tether::Worker<Protocol>>();
    const auto same = cases<Loopback>();
    for (std::size_t i = 0; i < real.size(); ++i) {
        const auto expected = real[i].second(worker);
        const auto outcome = same[i].second(loopback);
        if (std::getenv("VERBOSE") != nullptr)
            std::printf("%s: %s\n", real[i].first, expected.c_str());
        if (outcome == expected) continue;
        problem(std::string{real[i].first} + ":\n  a Worker: " + expected +
                "\n  a LoopbackWorker: " + outcome);
    }
}

// --- closed

// At once: a thread that looks in the middle sees that one is gone, and says so.
void close_descriptors() { ::close_range(3, ~0U, 0); }

void expect_stopped(const std::string& what, const std::string& outcome) {
    if (outcome.find("closed the descriptors") == outcome.npos) problem(what + ": " + outcome);
}

void closed(unsigned concurrency, bool async) {
    const auto what = std::to_string(concurrency) + (async ? " async" : " blocking");
    open = false;
    entered = 0;
    Loopback worker{
        tether::WorkerOptions{.call_timeout = tether::no_timeout, .concurrency = concurrency}};
    worker.call(Do{});
    auto pending = std::async(std::launch::async, [&] {
        return outcome_of([&] {
            if (async) worker.async_call(Wait{}, asio::use_future).get();
            if (!async) worker.call(Wait{});
        });
    });
    await_entered(1);
    std::this_thread::sleep_for(20ms);  // its caller sleeps by now
    close_descriptors();
    open = true;
    expect_stopped(what, pending.get());
    const auto next = outcome_of([&] { worker.call(Do{}); });
    if (next != "an answer") problem(what + ", the next: " + next);
}

void closed() {
    for (const unsigned concurrency : {1U, 3U}) {
        for (const bool async : {false, true}) closed(concurrency, async);
    }
    // Idle: nothing hangs, and the call after the one that notices it is answered.
    Loopback worker;
    worker.call(Do{});
    close_descriptors();
    static_cast<void>(outcome_of([&] { worker.call(Do{}); }));
    const auto next = outcome_of([&] { worker.call(Do{}); });
    if (next != "an answer") problem("idle, the next: " + next);
    close_descriptors();
    const auto before = std::chrono::steady_clock::now();
    worker.stop();
    if (std::chrono::steady_clock::now() - before > 10s) problem("stop() took long");
}

// --- forked

/// The exit code of the copy.
int in_forked_copy(const std::function<int()>& act) {
    const auto copy = ::fork();
    if (copy == 0) ::_exit(act());
    int status = -1;
    ::waitpid(copy, &status, 0);
    return status;
}

bool is_forked(const std::string& outcome) {
    return outcome.find("belongs to the process") != outcome.npos;
}

void forked() {
    auto worker = std::make_unique<Loopback>();
    worker->call(Do{});
    const auto copy = in_forked_copy([&] {
        if (!is_forked(outcome_of([&] { worker->call(Do{}); }))) return 1;
        if (!is_forked(outcome_of([&] { worker->async_call(Do{}, asio::use_future).get(); })))
            return 2;
        if (!is_forked(outcome_of([&] { worker->stop(); }))) return 3;
        worker.reset();
        if constexpr (!tether_test::instrumented) {
            Loopback own;
            if (own.call(Do{"", 7, {}}).text.size() != 7) return 4;
        }
        return 0;
    });
    if (copy != 0) problem("the copy ended with " + std::to_string(copy));
    if (worker->call(Do{"", 5, {}}).text.size() != 5)
        problem("the original answers something else");
    const auto ended = worker->call(Do{"fork", 0, {}}).text;
    if (ended != "ended with 0") problem("the copy of a handler: " + ended);
    if (worker->call(Do{"", 6, {}}).text.size() != 6) problem("a copy has answered");
}

// --- exit

void exit_with_calls() {
    static Loopback obedient;
    static Loopback stubborn{tether::WorkerOptions{.stop = {50ms, 50ms}}};
    for (auto* worker : {&obedient, &stubborn}) {
        worker->async_call(Wait{}, asio::detached);
    }
    std::thread{[] { outcome_of([&] { stubborn.call(Do{}); }); }}.detach();
    await_entered(2);
    std::this_thread::sleep_for(20ms);
}

}  // namespace

// What belongs to a reactor that the host has closed is leaked on purpose: it must not be touched.
extern "C" int __lsan_is_turned_off();               // NOLINT: the sanitizer's name
extern "C" int __lsan_is_turned_off() { return 1; }  // NOLINT

int main(int argc, char** argv) {
    if (const auto exit_code = tether::serve_if_worker<Handler>(argc, argv)) return *exit_code;
    const std::string mode = argc > 1 ? argv[1] : "";
    ::alarm(120);
    if (mode == "alike") alike();
    if (mode == "closed") closed();
    if (mode == "forked") forked();
    if (mode == "exit") exit_with_calls();
    return problems == 0 ? 0 : 1;
}
