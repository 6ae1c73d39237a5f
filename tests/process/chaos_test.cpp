// Everything at once: workers that are killed, stopped, continued, restarted and lied to while many
// threads and coroutines call them. Whatever happens, each call is settled once and with its own
// answer, handlers run as often as their callers were told, and in the end nothing is left.
//
// TETHER_CHAOS_SECONDS says how long (15), TETHER_CHAOS_SEED what is done: the decisions of each
// actor are the same for a seed; when they meet is up to the machine.

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <condition_variable>
#include <cstdio>
#include <functional>
#include <memory>
#include <stop_token>
#include <thread>
#include <tuple>

#include "process/chaos/attack.hpp"
#include "process/chaos/book.hpp"
#include "process/support/worker_under_test.hpp"
#include "support/asio_moved.hpp"
#include "support/sanitizers.hpp"

namespace tether_test::chaos {
namespace {

using ChaosWorker = tether::Worker<ChaosProtocol>;
using Timer = asio::steady_timer;

// The thread sanitizer does not see how libstdc++ counts who has an exception.
#if defined(TETHER_TEST_TSAN)
constexpr bool futures_are_seen = false;
#else
constexpr bool futures_are_seen = true;
#endif

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

/// Lets everybody rest for a while, and wakes them when the storm is over.
class Weather {
public:
    void calm_down() {
        const std::scoped_lock lock{mutex_};
        over_ = true;
        changed_.notify_all();
    }
    [[nodiscard]] bool is_over() const noexcept { return over_; }
    void rest(Microseconds time) {
        std::unique_lock lock{mutex_};
        changed_.wait_for(lock, time, [this] { return over_.load(); });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<bool> over_{false};
};

/// The workers, and what everybody who deals with them needs.
struct Scene {
    explicit Scene(std::uint64_t the_seed) : seed(the_seed) {
        for (std::size_t i = 0; i < sites.size(); ++i) {
            const bool on_context = i % 2 == 0;
            workers.push_back(on_context ? std::make_unique<ChaosWorker>(context, options_of(i))
                                         : std::make_unique<ChaosWorker>(options_of(i)));
        }
    }

    [[nodiscard]] tether::WorkerOptions common_options() const {
        tether::WorkerOptions options;
        options.program = TETHER_HOSTS_DIR "/chaos";
        options.arguments = {folder / "ledger"};
        options.start_timeout = patience;
        options.call_timeout = patience;
        options.stop = {.drain = 50ms, .terminate = 50ms};
        options.restart = {.budget = tether::RestartPolicy::unlimited,
                           .window = 1s,
                           .initial_pause = 1ms,
                           .max_pause = 4ms};
        options.stuck.grace = 50ms;
        options.limits.core_bytes = 0;
        options.output = tether::Output::discard();
        mark.put_into(options);
        return options;
    }

    [[nodiscard]] tether::WorkerOptions options_of(std::size_t index) {
        static constexpr std::array transports{tether::Transport::unix_abstract,
                                               tether::Transport::unix_path, tether::Transport::tcp,
                                               tether::Transport::socket_pair};
        const auto& site = sites[index];
        auto options = common_options();
        options.name = site.name;
        options.transport = transports[index];
        options.max_message_bytes = site.max_message_bytes;
        if (index % 2 == 0) options.concurrency = 4;
        if (index >= 2) options.spin = 15us;
        if (site.has_budget) options.restart.budget = 4;
        if (site.is_hasty) options.start_timeout = 400ms * slowness;
        if (index == 1) options.output = tether::Output::to([this](const auto&) { hear_line(); });
        return options;
    }

    /// Of one worker; its lines come one at a time.
    void hear_line() {
        if (hearing.exchange(true)) book.complain("two lines of a worker at the same time");
        std::this_thread::yield();
        hearing = false;
        ++lines;
    }

    const std::uint64_t seed;
    const TemporaryFolder folder;
    const ProcessMark mark;
    Ledger ledger{folder / "ledger"};
    Log log;
    Book book{ledger, log};
    Weather weather;
    std::atomic<std::uint64_t> strangers{0};
    std::atomic<std::uint64_t> lines{0};
    std::atomic<bool> hearing{false};
    const std::array<Site, 4> sites{Site{.name = "abstract"},
                                    Site{.name = "path", .max_message_bytes = 1 << 20},
                                    Site{.name = "tcp", .has_budget = true},
                                    Site{.name = "pair", .meddles = true, .is_hasty = true}};
    const Site passing{.name = "passing"};
    asio::io_context context;
    std::vector<std::unique_ptr<ChaosWorker>> workers;
};

/// What is going on for longer than anything takes: told, and the end of this process.
class Watchdog {
public:
    explicit Watchdog(const Scene& scene)
        : thread_([&scene](const std::stop_token& token) {
              std::mutex mutex;
              std::condition_variable_any ended;
              std::unique_lock lock{mutex};
              while (!ended.wait_for(lock, token, 100ms, [&] { return token.stop_requested(); })) {
                  const auto overdue = scene.book.overdue(60s);
                  if (!overdue.empty()) give_up(scene, overdue);
              }
          }) {}

private:
    [[noreturn]] static void give_up(const Scene& scene, const std::string& overdue) {
        std::printf("The storm of seed %llu hangs. Overdue:\n%sWhat happened last:\n%s",
                    static_cast<unsigned long long>(scene.seed), overdue.c_str(),
                    scene.log.text().c_str());
        std::fflush(stdout);
        std::_Exit(1);
    }

    std::jthread thread_;
};

/// Something other than a call that must end. Whatever it throws is wrong.
template <class Act>
void attend(Scene& scene, const Site& site, const std::string& name, Act act) {
    const auto task = scene.book.open_task(name, site);
    try {
        act();
    } catch (const std::exception& error) {
        scene.book.complain(name + " of " + site.name + ": " + error.what());
    }
    scene.book.close_task(task);
}

// --- Callers

template <class R>
tether::CallOptions<R> call_options(Scene& scene, const Plan& plan) {
    if (!plan.cancel_after) return {.timeout = plan.timeout};
    std::stop_source source;
    auto timer = std::make_shared<Timer>(scene.context, *plan.cancel_after);
    timer->async_wait([timer, source](const auto&) mutable { source.request_stop(); });
    return {.timeout = plan.timeout, .stop_token = source.get_token()};
}

template <class R>
void call_and_wait(ChaosWorker& worker, const R& request, tether::CallOptions<R> options,
                   Ticket& ticket) {
    if constexpr (std::is_void_v<typename R::Response>) {
        worker.call(request, std::move(options));
        ticket.answer();
    } else {
        ticket.answer(worker.call(request, std::move(options)));
    }
}

template <class R>
void call_and_get(ChaosWorker& worker, R request, tether::CallOptions<R> options, Ticket& ticket) {
    auto future = worker.async_call(std::move(request), std::move(options), asio::use_future);
    if constexpr (std::is_void_v<typename R::Response>) {
        future.get();
        ticket.answer();
    } else {
        ticket.answer(future.get());
    }
}

template <class R>
void call_back(ChaosWorker& worker, R request, tether::CallOptions<R> options, Ticket ticket) {
    worker.async_call(std::move(request), std::move(options),
                      [ticket = std::move(ticket)](const std::exception_ptr& error,
                                                   const auto&... response) mutable {
                          ticket.complete(error, response...);
                      });
}

/// False: it failed at once, or later.
bool carry_out(Scene& scene, ChaosWorker& worker, const Site& site, const Plan& plan) {
    Ticket ticket{scene.book, plan, site};
    return plan.with_request(ticket.token(), [&](auto request) {
        auto options = call_options<decltype(request)>(scene, plan);
        try {
            if (plan.style == Style::callback) {
                call_back(worker, std::move(request), std::move(options), std::move(ticket));
            } else if (plan.style == Style::future) {
                call_and_get(worker, std::move(request), std::move(options), ticket);
            } else {
                call_and_wait(worker, request, std::move(options), ticket);
            }
            return true;
        } catch (...) {
            ticket.fail(std::current_exception());
            return false;
        }
    });
}

void call_around(Scene& scene, std::uint64_t actor) {
    Dice dice{scene.seed, actor};
    while (!scene.weather.is_over()) {
        const auto index = dice.below(scene.sites.size());
        auto plan = Planner{dice, scene.sites[index]}.next();
        if (plan.style == Style::future && !futures_are_seen) plan.style = Style::callback;
        if (scene.book.pending() > 64) plan.style = Style::blocking;
        const bool done = carry_out(scene, *scene.workers[index], scene.sites[index], plan);
        if (!done) scene.weather.rest(2ms);
        if (dice.one_in(50)) scene.weather.rest(dice.up_to(20ms));
    }
}

template <class R>
asio::awaitable<void> await_call(ChaosWorker& worker, Plan plan, R request, Ticket ticket) {
    const auto executor = co_await asio::this_coro::executor;
    const auto signal = std::make_shared<asio::cancellation_signal>();
    if (plan.cancel_after) {
        auto timer = std::make_shared<Timer>(executor, *plan.cancel_after);
        timer->async_wait(
            [timer, signal, type = plan.how_to_cancel](const auto&) { signal->emit(type); });
    }
    const tether::CallOptions<R> options{.timeout = plan.timeout};
    auto token = asio::bind_cancellation_slot(signal->slot(), moved::as_tuple(asio::use_awaitable));
    const auto outcome = co_await worker.async_call(std::move(request), options, token);
    std::apply([&](const auto&... parts) { ticket.complete(parts...); }, outcome);
}

asio::awaitable<void> call_as_coroutine(Scene& scene, std::uint64_t actor) {
    Dice dice{scene.seed, actor};
    Timer timer{co_await asio::this_coro::executor};
    while (!scene.weather.is_over()) {
        const auto index = dice.below(scene.sites.size());
        auto plan = Planner{dice, scene.sites[index]}.next();
        plan.style = Style::coroutine;
        Ticket ticket{scene.book, plan, scene.sites[index]};
        co_await plan.with_request(ticket.token(), [&](auto request) {
            return await_call(*scene.workers[index], plan, std::move(request), std::move(ticket));
        });
        timer.expires_after(dice.up_to(2ms));
        co_await timer.async_wait(asio::use_awaitable);
    }
}

// --- Those who have a worker for a moment only

struct Visit {
    Visit(Scene& the_scene, Dice& the_dice) : scene(the_scene), dice(the_dice) {
        auto options = scene.common_options();
        options.name = scene.passing.name;
        options.concurrency = 1 + static_cast<unsigned>(dice.below(3));
        if (dice.one_in(2)) {
            context.emplace();
            worker.emplace(*context, std::move(options));
        } else {
            worker.emplace(std::move(options));
        }
    }

    void make_calls() {
        for (auto left = dice.below(8); left != 0; --left) {
            auto plan = Planner{dice, scene.passing}.next();
            const bool waits = plan.style != Style::callback && dice.one_in(3);
            if (!waits) plan.style = Style::callback;
            if (plan.style == Style::future && context) plan.style = Style::blocking;
            plan.may_be_dropped = context.has_value();
            static_cast<void>(carry_out(scene, *worker, scene.passing, plan));
        }
        if (context && dice.one_in(2)) context->poll();
        if (dice.one_in(3)) {
            ChaosWorker other{std::move(*worker)};
            worker.emplace(std::move(other));
        }
    }

    /// The worker before its context, or after it.
    void leave() {
        const bool drops = dice.one_in(2);
        if (drops) context.reset();
        worker.reset();
        if (context) context->run();
    }

    Scene& scene;
    Dice& dice;
    std::optional<asio::io_context> context{};
    std::optional<ChaosWorker> worker{};
};

void come_and_go(Scene& scene, std::uint64_t actor) {
    Dice dice{scene.seed, actor};
    while (!scene.weather.is_over()) {
        Visit visit{scene, dice};
        visit.make_calls();
        scene.weather.rest(dice.up_to(30ms));
        attend(scene, scene.passing, "leaving", [&] { visit.leave(); });
        scene.weather.rest(dice.up_to(200ms * slowness));
    }
}

// --- Trouble

/// Ends and starts workers as their owner may.
class Manager {
public:
    Manager(Scene& scene, std::uint64_t actor) : scene_(scene), dice_(scene.seed, actor) {}

    void work() {
        while (!scene_.weather.is_over()) {
            scene_.weather.rest(10ms * slowness + dice_.up_to(120ms * slowness));
            manage(dice_.below(scene_.sites.size()));
        }
    }

private:
    void manage(std::size_t index) {
        auto& worker = *scene_.workers[index];
        const auto roll = dice_.below(10);
        if (roll < 3) return act(index, "kill", [&] { worker.kill(); });
        if (roll < 5) return act(index, "restart", [&] { worker.restart(); });
        if (roll < 6) return restart_differently(index);
        if (roll < 8) {
            act(index, "stop", [&] { static_cast<void>(worker.stop()); });
            scene_.weather.rest(dice_.up_to(30ms));
            return act(index, "restart", [&] { worker.restart(); });
        }
        act(index, "look", [&] { look_at(worker); });
    }

    void restart_differently(std::size_t index) {
        using Action = tether::StuckPolicy::Action;
        auto options = scene_.options_of(index);
        options.stuck.action =
            dice_.one_of(std::array{Action::replace, Action::report, Action::keep});
        const auto concurrency = 1 + static_cast<unsigned>(dice_.below(4));
        if (!scene_.sites[index].meddles) options.concurrency = concurrency;
        if (dice_.one_in(2)) options.idle_timeout = 20ms;
        act(index, "restart differently", [&] { scene_.workers[index]->restart(options); });
    }

    static void look_at(ChaosWorker& worker) {
        worker.ref();
        const auto report = worker.last_exit();
        if (report && (to_string(*report).empty() || report->generation > worker.generation())) {
            throw std::logic_error("the last exit is not known yet");
        }
        static_cast<void>(to_string(worker.state()));
        worker.unref();
    }

    template <class Act>
    void act(std::size_t index, const std::string& name, Act act) {
        const auto& site = scene_.sites[index];
        scene_.log.add(name + " " + site.name);
        attend(scene_, site, name, act);
    }

    Scene& scene_;
    Dice dice_;
};

/// Does to workers what others may.
class Vandal {
public:
    Vandal(Scene& scene, std::uint64_t actor) : scene_(scene), dice_(scene.seed, actor) {}

    void work() {
        while (!scene_.weather.is_over()) {
            scene_.weather.rest(2ms * slowness + dice_.up_to(60ms * slowness));
            wake(Clock::now());
            const auto index = dice_.below(scene_.sites.size());
            const auto roll = dice_.below(10);
            if (roll < 3) hit(index, dice_.one_of(std::array{SIGKILL, SIGKILL, SIGTERM, SIGSEGV}));
            if (roll >= 3 && roll < 5) put_to_sleep(index);
            if (roll >= 5) bring_strangers(index, roll >= 8);
        }
        wake(Clock::time_point::max());
        scene_.strangers = strangers_.connected();
    }

private:
    void hit(std::size_t index, int signal) {
        const auto pid = scene_.workers[index]->pid();
        const bool hit = Victim{pid}.send(signal);
        log(index, (hit ? "signal " : "missed with signal ") + std::to_string(signal), pid);
    }

    void put_to_sleep(std::size_t index) {
        const auto time = dice_.up_to(dice_.one_in(5) ? 1000ms : 100ms);
        const auto pid = scene_.workers[index]->pid();
        Victim victim{pid};
        if (!victim.send(SIGSTOP)) return;
        log(index, "stopped for " + std::to_string(time.count()) + " us", pid);
        asleep_.emplace_back(Clock::now() + time, std::move(victim));
    }

    void wake(Clock::time_point due) {
        std::erase_if(asleep_, [&](const auto& sleeper) {
            if (sleeper.first > due) return false;
            sleeper.second.send(SIGCONT);
            return true;
        });
    }

    /// A worker that has just been killed is followed by one that listens.
    void bring_strangers(std::size_t index, bool kill_first) {
        auto& worker = *scene_.workers[index];
        if (kill_first) hit(index, SIGKILL);
        for (int attempt = 0; attempt < 40; ++attempt) {
            const auto pid = worker.pid();
            if (pid != 0 && strangers_.send_to(pid)) return log(index, "strangers", pid);
            scene_.weather.rest(1ms);
        }
    }

    void log(std::size_t index, const std::string& text, std::int64_t pid) {
        scene_.log.add(text + " " + scene_.sites[index].name + " " + std::to_string(pid));
    }

    Scene& scene_;
    Dice dice_;
    Strangers strangers_{dice_};
    std::vector<std::pair<Clock::time_point, Victim>> asleep_;
};

// --- The whole

/// Everybody, from the first thunder to the last.
class Storm {
public:
    explicit Storm(Scene& scene) : scene_(scene), work_(scene.context.get_executor()) {
        for (int i = 0; i < 2; ++i) {
            context_threads_.emplace_back([&] { scene.context.run(); });
        }
        for (std::uint64_t i = 0; i < 4; ++i) {
            asio::co_spawn(asio::make_strand(scene.context), call_as_coroutine(scene, 100 + i),
                           asio::detached);
            actors_.emplace_back([&, i] { call_around(scene, i); });
        }
        for (std::uint64_t i = 10; i < 12; ++i) {
            actors_.emplace_back([&, i] { Manager{scene, i}.work(); });
        }
        actors_.emplace_back([&] { Vandal{scene, 20}.work(); });
        actors_.emplace_back([&] { come_and_go(scene, 30); });
    }

    /// Until all actors have ended, all calls are settled, and the context has nothing left to do.
    void end() {
        scene_.weather.calm_down();
        for (auto& actor : actors_) actor.join();
        work_.reset();
        attend(scene_, scene_.sites[0], "io_context::run()", [&] {
            for (auto& thread : context_threads_) thread.join();
        });
    }

private:
    Scene& scene_;
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::vector<std::thread> context_threads_;
    std::vector<std::thread> actors_;
};

/// A call that anybody may make; true when it has an answer.
bool answers(Scene& scene, std::size_t index) {
    const Plan plan{.kind = Kind::again, .timeout = Plan::long_timeout};
    return carry_out(scene, *scene.workers[index], scene.sites[index], plan);
}

/// At once after a restart, and before that soon.
bool recovers(Scene& scene, std::size_t index) {
    auto& worker = *scene.workers[index];
    const auto restart = [&] {
        attend(scene, scene.sites[index], "restart", [&] { worker.restart(); });
    };
    if (worker.state() == tether::WorkerState::stopped) restart();
    if (!eventually([&] { return answers(scene, index); })) return false;
    restart();
    return answers(scene, index);
}

/// Nothing that any worker has started is still there after a while.
void look_for_processes(Scene& scene) {
    std::vector<std::int64_t> left;
    const auto none_left = [&] {
        try {
            left = scene.mark.processes();
        } catch (const std::ios_base::failure&) {  // one of them ended while it was looked at
            return false;
        }
        return left.empty();
    };
    if (eventually(none_left, soon)) return;
    for (const auto pid : left) {
        scene.book.complain("process " + std::to_string(pid) + " is left, a child of " +
                            std::to_string(parent_of(pid)));
    }
}

/// After the storm each worker is as good as new, and goes.
void end_workers(Scene& scene) {
    for (std::size_t i = 0; i < scene.sites.size(); ++i) {
        const auto& site = scene.sites[i];
        if (!recovers(scene, i)) scene.book.complain(site.name + " does not answer any more");
        attend(scene, site, "destruction", [&] { scene.workers[i].reset(); });
    }
}

/// Waits until the storm has lasted its time. Returns the most memory in its first third.
std::uint64_t wait_for_the_end(Scene& scene, std::chrono::seconds time) {
    const auto start = Clock::now();
    std::uint64_t memory = 0;
    while (Clock::now() < start + time && scene.book.complaints().empty() &&
           scene.book.last() < Ledger::capacity - 10'000) {
        scene.weather.rest(50ms);
        if (Clock::now() < start + time / 3) memory = std::max(memory, resident_kibibytes());
    }
    return memory;
}

std::string as_lines(const std::vector<std::string>& texts) {
    std::string lines;
    for (const auto& text : texts) lines += "  " + text + "\n";
    return lines;
}

/// How much of it there was, for whoever wonders whether there was any.
void print_summary(const Scene& scene, std::uint64_t memory_before, std::uint64_t memory_after) {
    std::printf("%llu calls and tasks, %llu strangers, %llu lines, %llu -> %llu KiB\n%s",
                static_cast<unsigned long long>(scene.book.last()),
                static_cast<unsigned long long>(scene.strangers.load()),
                static_cast<unsigned long long>(scene.lines.load()),
                static_cast<unsigned long long>(memory_before),
                static_cast<unsigned long long>(memory_after), scene.book.summary().c_str());
    std::fflush(stdout);
}

TEST_CASE("a storm of failures leaves nothing behind", "[process][chaos]") {
    const Census census;
    const auto seed = number_from_environment("TETHER_CHAOS_SEED", 20'240'601);
    const auto seconds = number_from_environment("TETHER_CHAOS_SECONDS", 15);
    std::printf("TETHER_CHAOS_SEED=%llu TETHER_CHAOS_SECONDS=%llu\n",
                static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seconds));
    std::fflush(stdout);

    Scene scene{seed};
    const Watchdog watchdog{scene};
    Storm storm{scene};
    const auto memory_before = wait_for_the_end(scene, std::chrono::seconds{seconds});
    storm.end();
    scene.ledger.set_calm();
    const bool settled = eventually([&] { return scene.book.pending() == 0; });
    const auto memory_after = resident_kibibytes();
    end_workers(scene);
    scene.book.audit();
    look_for_processes(scene);

    print_summary(scene, memory_before, memory_after);
    const auto complaints = scene.book.complaints();
    INFO("seed " << seed << ", what happened last:\n" << scene.log.text());
    INFO("wrong:\n" << as_lines(complaints));
    CHECK(complaints.empty());
    CHECK(settled);
#if !defined(TETHER_TEST_SANITIZED)
    CHECK(memory_after < memory_before + 64 * 1024);
#endif
}

}  // namespace
}  // namespace tether_test::chaos
