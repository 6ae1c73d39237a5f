// All kinds of live calls at once, while their workers are killed, stopped, restarted and put to
// sleep: every call ends once, in time and for a known reason; every item comes once and in order;
// nothing is left behind. TETHER_CHAOS_SEED and TETHER_CHAOS_SECONDS as in chaos_test.cpp.

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "process/live_protocol.hpp"
#include "process/support/worker_under_test.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::chaos_live_test {
namespace {

using LiveWorker = tether::Worker<LiveProtocol>;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::stoull(text);
}

class Dice {
public:
    Dice(std::uint64_t seed, std::uint64_t actor) : engine_(seed * 1000 + actor) {}
    [[nodiscard]] std::int64_t below(std::int64_t n) {
        return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(n));
    }
    [[nodiscard]] bool one_in(std::int64_t n) { return below(n) == 0; }

private:
    std::mt19937_64 engine_;
};

/// What actors share.
struct Storm {
    explicit Storm(std::uint64_t the_seed) : seed(the_seed) {
        for (const unsigned concurrency : {1U, 3U}) {
            auto options = options_for();
            options.concurrency = concurrency;
            options.restart.budget = 1'000'000;
            options.restart.initial_pause = 1ms;
            options.restart.max_pause = 5ms;
            options.stop = {.drain = 50ms, .terminate = 50ms};
            workers.push_back(std::make_unique<LiveWorker>(context, options));
            workers.back()->provide<Guess>([worker = workers.back().get()](const Guess& guess) {
                if (guess.text == "call") worker->call(Work{1}, {.timeout = limit});
                if (guess.text == "throw") throw tether::HandlerError("chaos", "as told");
                return guess.text;
            });
        }
    }

    LiveWorker& any(Dice& dice) { return *workers[static_cast<std::size_t>(dice.below(2))]; }

    void complain(const std::string& text) {
        const std::scoped_lock lock{mutex};
        if (complaints.size() < 20) complaints.push_back(text);
    }
    void count(const std::string& what) {
        const std::scoped_lock lock{mutex};
        ++outcomes[what];
    }

    /// Runs `act`, which may fail for any reason that a storm explains.
    template <class Act>
    void carry_out(const std::string& what, Act act) {
        try {
            act();
            count(what + ": done");
        } catch (const RemoteError& error) {
            judge(what, error);
        } catch (const CallError& error) {
            judge(what, error);
        } catch (const std::exception& error) {
            complain(what + ": " + error.what());
        }
    }

    void judge(const std::string& what, const CallError& error) {
        count(what + ": " + error.code().message());
        const auto cause = error.cause();
        const bool expected = cause == errc::worker_killed || cause == errc::worker_exited ||
                              cause == errc::stopped || cause == errc::cancelled ||
                              cause == errc::handler || cause == errc::would_deadlock ||
                              cause == errc::start_failed || is_about_lost_connection(error);
        if (!expected) complain(what + ": " + error.what());
    }

    /// A worker that is told to terminate stops listening, and may take too long to end.
    static bool is_about_lost_connection(const CallError& error) {
        const std::string_view text{error.what()};
        return error.cause() == errc::framing &&
               (text.find("nothing could be sent to it") != text.npos ||
                text.find("its connection failed") != text.npos ||
                text.find("it closed its connection") != text.npos);
    }

    static constexpr auto limit = 60s;

    std::uint64_t seed;
    asio::io_context context{};
    std::vector<std::unique_ptr<LiveWorker>> workers{};
    std::atomic<bool> over{false};
    std::atomic<std::int64_t> items{0};
    std::mutex mutex{};
    std::vector<std::string> complaints{};
    std::map<std::string, std::uint64_t> outcomes{};
};

struct Sizes {
    explicit Sizes(Dice& dice)
        : count(dice.one_in(4) ? dice.below(3'000) : dice.below(50)),
          size(count > 50 ? dice.below(500) : dice.below(200'000)) {}
    std::int64_t count;
    std::int64_t size;
};

void stream_down(Storm& storm, Dice& dice) {
    const Sizes sizes{dice};
    const auto end_at = dice.one_in(8) ? dice.below(sizes.count + 1) : -1;
    const std::string end = dice.one_in(3) ? "exit" : dice.one_in(2) ? "throw" : "wait";
    const auto drop_at =
        dice.one_in(4) || (end_at >= 0 && end == "wait") ? dice.below(sizes.count + 1) : -1;
    storm.carry_out("stream down", [&] {
        auto stream = storm.any(dice).stream(Produce{sizes.count, sizes.size, end_at, end},
                                             {.timeout = Storm::limit});
        std::int64_t next = 0;
        while (next != drop_at) {
            if (end == "wait" && next == end_at) return;
            const auto item = stream.next();
            if (!item) break;
            if (item->number != next++) storm.complain("an item out of order");
            ++storm.items;
            if (dice.one_in(500)) std::this_thread::sleep_for(1ms);
        }
        if (next == drop_at) return;
        if (stream.response() != sizes.count || next != sizes.count) {
            storm.complain("a stream of " + std::to_string(sizes.count) + " had " +
                           std::to_string(next));
        }
    });
}

void stream_up(Storm& storm, Dice& dice) {
    const Sizes sizes{dice};
    const auto most = dice.one_in(4) ? dice.below(sizes.count + 1) : -1;
    storm.carry_out("stream up", [&] {
        auto stream = storm.any(dice).stream(Consume{most}, {.timeout = Storm::limit});
        std::int64_t written = 0;
        while (written < sizes.count && !storm.over) {
            if (!stream.write({written, tether::Bytes(static_cast<std::size_t>(sizes.size))}))
                break;
            ++written;
        }
        stream.finish();
        const auto total = stream.response();
        const bool right = total.in_order && total.items <= written &&
                           (total.items == written || total.items == most);
        if (!right) storm.complain("what was written is not what came");
        storm.items += total.items;
    });
}

void filter(Storm& storm, Dice& dice) {
    const Sizes sizes{dice};
    storm.carry_out("filter", [&] {
        auto stream = storm.any(dice).stream(Pass{}, {.timeout = Storm::limit});
        std::thread writer{[&] {
            for (std::int64_t i = 0; i < sizes.count; ++i) {
                if (!stream.write({i, tether::Bytes(static_cast<std::size_t>(sizes.size))})) return;
            }
            stream.finish();
        }};
        std::int64_t next = 0;
        try {
            for (const auto& item : stream) {
                if (item.number != next++) storm.complain("an item of a filter out of order");
                ++storm.items;
            }
        } catch (...) {
            writer.join();
            throw;
        }
        writer.join();
        if (next != sizes.count) storm.complain("a filter has lost items");
    });
}

void call_with_progress(Storm& storm, Dice& dice) {
    storm.carry_out("progress", [&] {
        const auto count = 1 + dice.below(200);
        std::int64_t last = -1;
        storm.any(dice).call(Work{count, dice.one_in(4)},
                             {.timeout = Storm::limit, .on_progress = [&](const auto& progress) {
                                  if (progress.at <= last) storm.complain("progress went back");
                                  last = progress.at;
                              }});
        if (last != count - 1) storm.complain("the last progress did not come");
    });
}

void ask(Storm& storm, Dice& dice) {
    static const std::array<std::string, 4> texts{"a", "b", "throw", "call"};
    const auto& text = texts[static_cast<std::size_t>(dice.below(4))];
    storm.carry_out("question", [&] {
        const auto told =
            storm.any(dice).call(Inquire{text, 1 + dice.below(5)}, {.timeout = Storm::limit});
        for (const auto& answer : told) {
            if (answer != text) storm.complain("another question's answer");
        }
    });
}

void subscribe(Storm& storm, Dice& dice) {
    storm.carry_out("subscription", [&] {
        auto& worker = storm.any(dice);
        std::atomic<bool> alive{true};
        auto subscription = worker.on<Noticed>([&](const Noticed&) {
            if (!alive) storm.complain("a subscription that had ended");
        });
        worker.call(Announce{dice.below(300), dice.below(2'000), dice.one_in(2)},
                    {.timeout = Storm::limit});
        subscription.reset();
        alive = false;
    });
}

void act(Storm& storm, std::uint64_t actor) {
    Dice dice{storm.seed, actor};
    while (!storm.over) {
        const auto roll = dice.below(100);
        if (roll < 30) stream_down(storm, dice);
        if (roll >= 30 && roll < 45) stream_up(storm, dice);
        if (roll >= 45 && roll < 55) filter(storm, dice);
        if (roll >= 55 && roll < 70) call_with_progress(storm, dice);
        if (roll >= 70 && roll < 85) ask(storm, dice);
        if (roll >= 85 && roll < 93) subscribe(storm, dice);
        if (roll >= 93 && roll < 97) {
            storm.carry_out("notify", [&] { storm.any(dice).notify(Nudge{0, dice.one_in(2)}); });
        }
        if (roll == 97) storm.carry_out("die", [&] { storm.any(dice).call(Die{}); });
    }
}

asio::awaitable<void> act_as_coroutine(Storm& storm, std::uint64_t actor) {
    Dice dice{storm.seed, actor};
    while (!storm.over) {
        const Sizes sizes{dice};
        const auto drop_at = dice.one_in(4) ? dice.below(sizes.count + 1) : -1;
        std::exception_ptr failure;
        try {
            const Produce request{sizes.count, sizes.size};
            const tether::CallOptions<Produce> options{.timeout = Storm::limit};
            auto stream = storm.any(dice).stream(request, options);
            std::int64_t next = 0;
            while (next != drop_at) {
                const auto item = co_await stream.async_next(asio::use_awaitable);
                if (!item) break;
                if (item->number != next++) storm.complain("an awaited item out of order");
                ++storm.items;
            }
            if (next != drop_at) {
                const auto count = co_await stream.async_response(asio::use_awaitable);
                if (count != next) storm.complain("an awaited stream has lost items");
            }
        } catch (...) {
            failure = std::current_exception();
        }
        storm.carry_out("awaited stream", [&] {
            if (failure) std::rethrow_exception(failure);
        });
    }
}

void trouble(Storm& storm) {
    Dice dice{storm.seed, 99};
    while (!storm.over) {
        std::this_thread::sleep_for(std::chrono::milliseconds{5 + dice.below(60)});
        auto& worker = storm.any(dice);
        const auto roll = dice.below(10);
        if (roll < 2) worker.kill();
        if (roll == 2) worker.restart();
        if (roll == 3) {
            worker.stop();
            worker.restart();
        }
        const auto pid = static_cast<::pid_t>(worker.pid());
        if (pid == 0) continue;
        if (roll == 4) ::kill(pid, SIGKILL);
        if (roll == 5) ::kill(pid, SIGTERM);
        if (roll == 6) {
            ::kill(pid, SIGSTOP);
            std::this_thread::sleep_for(std::chrono::milliseconds{dice.below(50)});
            ::kill(pid, SIGCONT);
        }
    }
}

TEST_CASE("a storm of live calls leaves nothing behind", "[process][live][chaos]") {
    const Census census;
    const auto seed = from_environment("TETHER_CHAOS_SEED", 20'261'129);
    const auto seconds = from_environment("TETHER_CHAOS_SECONDS", 8);
    Storm storm{seed};
    auto work = asio::make_work_guard(storm.context);
    std::vector<std::thread> runners;
    for (int i = 0; i < 2; ++i) runners.emplace_back([&] { storm.context.run(); });
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < 2; ++i) {
        asio::co_spawn(storm.context, act_as_coroutine(storm, 50 + i), asio::detached);
    }
    for (std::uint64_t i = 0; i < 5; ++i) threads.emplace_back([&, i] { act(storm, i); });
    threads.emplace_back([&] { trouble(storm); });
    const auto end = Clock::now() + std::chrono::seconds{seconds};
    static_cast<void>(eventually(
        [&] {
            const std::scoped_lock lock{storm.mutex};
            return Clock::now() >= end || !storm.complaints.empty();
        },
        std::chrono::seconds{seconds + 5}));
    storm.over = true;
    for (auto& thread : threads) thread.join();
    work.reset();  // until now the subscriptions' functions run there
    for (auto& runner : runners) runner.join();
    for (auto& worker : storm.workers) {
        worker->restart();
        if (worker->call(Work{1}) != 1) storm.complain("a worker does not answer any more");
    }
    storm.workers.clear();
    std::string summary = std::to_string(storm.items.load()) + " items\n";
    for (const auto& [what, count] : storm.outcomes) {
        summary += "  " + std::to_string(count) + " x " + what + "\n";
    }
    std::printf("%s", summary.c_str());
    std::fflush(stdout);
    INFO("seed " << seed);
    for (const auto& complaint : storm.complaints) UNSCOPED_INFO(complaint);
    CHECK(storm.complaints.empty());
    CHECK(storm.items > 0);
}

}  // namespace
}  // namespace tether_test::chaos_live_test
