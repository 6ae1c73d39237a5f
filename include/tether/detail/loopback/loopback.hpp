// Why: the same calls without a process. A request is encoded and decoded as on the wire, and its
// handler runs on a thread, so that codecs, deadlines, cancellation and errors behave alike.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/error_category.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/call_table.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/wire/line_splitter.hpp>
#include <tether/options.hpp>
#include <tether/worker_state.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Its threads own it too, since one whose handler never returns is left behind.
class LoopbackCarrier final : public CallCarrier,
                              public std::enable_shared_from_this<LoopbackCarrier> {
    using Lock = std::unique_lock<std::mutex>;

public:
    LoopbackCarrier(WorkerOptions options, HandlerType type)
        : options_(std::move(options)), type_(type) {
        if (options_.name.empty()) options_.name = "loopback";
    }

    [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }

    [[nodiscard]] CallLimits call_limits() const noexcept {
        return {options_.call_timeout, options_.max_message_bytes};
    }

    void run(BlockingCall& call, const std::stop_token& token) {
        const std::stop_callback on_stop{token, [&] {
                                             const Lock lock{mutex_};
                                             call.cancelled = true;
                                             call.changed->notify_one();
                                         }};
        Lock lock{mutex_};
        submit(call);
        const Departure departure{*this, call, lock};
        const Waiting waiting{*this, call};
        const auto ready = [&] { return call.settled || call.cancelled; };
        while (!call.settled) {
            if (call.cancelled) {
                give_up(call, errc::cancelled);
            } else if (call.deadline() == TimePoint::max()) {
                call.changed->wait(lock, ready);
            } else if (!call.changed->wait_until(lock, call.deadline(), ready)) {
                give_up(call, errc::timeout);
            }
        }
    }

    void launch(std::shared_ptr<AsyncCall> call) noexcept override {
        try {
            Lock lock{mutex_};
            submit(*call);
            const Departure departure{*this, *call, lock};
            call->hold(call);  // nobody can settle it before the lock is released
            if (call->cancel_requested) return give_up(*call, errc::cancelled);
            if (call->deadline() == TimePoint::max()) return;
            deadlines_.add(call->deadline(), call->number);
            wake_keeper();
        } catch (...) {
            call->fail(current_call_error(describe_call(call->info.request, name())));
        }
    }

    void cancel(AsyncCall& call, bool only_unsent) override {
        const Lock lock{mutex_};
        if (call.settled || calls_.find(call.number) != &call) return;
        const bool queued = current_->queue.contains(call.number);
        if (queued || !only_unsent) give_up(call, errc::cancelled);
    }

    // At the destructor of a LoopbackWorker, which may be part of the exit of the program.
    void retire() noexcept {
        const BoundedLocks bounded{std::chrono::milliseconds{500}};
        try {
            stop();
        } catch (...) {  // held up, or no memory: its threads own what they use
        }
    }

    // Ends all calls, waits for the handlers that run as long as StopPolicy says, destroys the
    // handler.
    void stop() { end(errc::stopped, true); }
    void kill() { end(errc::worker_killed, false); }
    void restart() {
        stop();
        const Lock lock{mutex_};
        stopped_ = false;
    }

    [[nodiscard]] std::uint64_t generation() const {
        const Lock lock{mutex_};
        return generation_;
    }
    [[nodiscard]] WorkerState state() const {
        const Lock lock{mutex_};
        if (stopped_) return WorkerState::stopped;
        return current_ == nullptr ? WorkerState::ended : WorkerState::ready;
    }

private:
    // A request on its way to a handler, and the call as the handler sees it.
    struct Job final : CallControl {
        explicit Job(LoopbackCarrier& the_carrier) : carrier(the_carrier) {}
        std::uint64_t id() const noexcept override { return number; }
        bool stop_requested() const noexcept override { return source.stop_requested(); }
        std::stop_token stop_token() override { return source.get_token(); }
        std::optional<TimePoint> deadline() const noexcept override {
            return due == TimePoint::max() ? std::nullopt : std::optional{due};
        }
        void log(Severity severity, std::string_view text) override { carrier.say(severity, text); }

        LoopbackCarrier& carrier;
        std::uint64_t number = 0;
        std::uint16_t index = 0;
        TimePoint due{};
        Duration run_timeout = no_timeout;
        std::string payload{};
        std::vector<Bytes> blobs{};
        std::stop_source source{};
    };

    struct Answer final : Responder {
        std::string& payload() override { return bytes; }
        std::vector<const Bytes*>& blobs() override { return parts; }
        void send() override {
            // The value is gone when the handler's dispatch returns: keep copies.
            for (const auto* part : parts) copies.push_back(*part);
        }
        std::string bytes{};
        std::vector<const Bytes*> parts{};
        std::vector<Bytes> copies{};
        [[nodiscard]] std::uint64_t size() const noexcept {
            std::uint64_t sum = bytes.size();
            for (const auto& copy : copies) sum += copy.size();
            return sum;
        }
        bool is_error = false;
    };

    // Threads that end together. Of those that do not, nothing else is waited for.
    struct Crew {
        std::vector<std::thread> threads{};
        std::size_t left = 0;  // threads that have not ended
        bool ending = false;
    };

    // What a process is to a Worker: a handler and all that runs in it.
    struct Generation {
        Generation() = default;
        Generation(const Generation&) = delete;
        Generation& operator=(const Generation&) = delete;
        ~Generation() {
            const auto failure = destroy_handler(std::move(handler));
            if (failure.empty()) return;
            std::fprintf(stderr, "tether: a LoopbackWorker %s\n", failure.c_str());
        }

        std::unique_ptr<AnyHandler> handler{};
        // By number: of very many calls that are given up, each must be found without a search.
        std::map<std::uint64_t, std::shared_ptr<Job>> queue{};
        std::vector<std::shared_ptr<Job>> running{};
        std::vector<const BlockingCall*> waiting{};  // of its handlers, to this worker
    };

    // A thread ends, by whatever way.
    struct Leaves {
        Leaves(LoopbackCarrier& the_carrier, Crew& the_crew) noexcept
            : carrier(the_carrier), crew(the_crew) {}
        Leaves(const Leaves&) = delete;
        Leaves& operator=(const Leaves&) = delete;
        ~Leaves() {
            const Lock lock{carrier.mutex_};
            --crew.left;
        }
        LoopbackCarrier& carrier;
        Crew& crew;
    };

    // What an exception must not leave behind: a call that lives no longer.
    struct Departure {
        Departure(LoopbackCarrier& the_carrier, Call& the_call, Lock& the_lock)
            : carrier(the_carrier), call(the_call), lock(the_lock) {}
        Departure(const Departure&) = delete;
        Departure& operator=(const Departure&) = delete;
        ~Departure() {
            if (std::uncaught_exceptions() == exceptions) return;
            if (!lock.owns_lock()) lock.lock();
            if (!call.settled) carrier.forget(call);
        }
        LoopbackCarrier& carrier;
        Call& call;
        Lock& lock;
        const int exceptions = std::uncaught_exceptions();
    };

    // A blocking call, and if it is a handler's to its own worker: then that handler's thread is of
    // no use meanwhile. With mutex_ held.
    struct Waiting {
        Waiting(const LoopbackCarrier& carrier, const BlockingCall& the_call) : call(the_call) {
            const auto* served = served_by_this_thread();
            if (served == nullptr || served != carrier.current_.get()) return;
            auto& others = carrier.current_->waiting;
            const auto stuck = std::count_if(others.begin(), others.end(), [](const auto* other) {
                return !other->settled && !other->cancelled;
            });
            if (static_cast<std::size_t>(stuck) + 1 == carrier.crew_->threads.size()) {
                throw CallError(errc::would_deadlock,
                                describe_call(call.info.request, carrier.name()) +
                                    ": a handler of this worker would wait for itself, as all "
                                    "its other handlers do; use async_call there");
            }
            others.push_back(&call);
            generation = carrier.current_;
        }
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;
        ~Waiting() {
            if (generation != nullptr) std::erase(generation->waiting, &call);
        }
        const BlockingCall& call;
        std::shared_ptr<Generation> generation{};
    };

    // On a handler's thread: what it serves.
    static const Generation*& served_by_this_thread() noexcept {
        static thread_local const Generation* served = nullptr;
        return served;
    }

    // --- With mutex_ held

    void forget(const Call& call) noexcept {
        if (current_ != nullptr) current_->queue.erase(call.number);
        calls_.remove(call.number);
    }

    void submit(Call& call) {
        if (stopped_) throw CallError(errc::stopped, "worker \"" + name() + "\" was stopped");
        if (call.deadline() <= call.info.made) {
            throw CallError(errc::timeout,
                            describe_call(call.info.request, name()) + ": " + expired(call).text);
        }
        if (current_ == nullptr) start();
        auto job = std::make_shared<Job>(*this);
        job->index = call.info.index;
        job->due = call.deadline();
        job->run_timeout = call.info.run_timeout;
        job->payload = call.message.sealed_payload();
        for (const auto* blob : call.message.blobs()) job->blobs.push_back(*blob);
        call.number = job->number = calls_.add(call);
        try {
            current_->queue.emplace(job->number, job);
        } catch (...) {
            calls_.remove(call.number);
            throw;
        }
        changed_.notify_all();
    }

    void start() {
        ++generation_;
        auto fresh = std::make_shared<Generation>();
        try {
            fresh->handler = type_.make();
        } catch (ForcedUnwind&) {
            throw;
        } catch (...) {
            throw CallError(errc::start_failed, "worker \"" + name() +
                                                    "\": its handler's constructor threw: " +
                                                    describe_thrown_in_words());
        }
        const auto crew = std::make_shared<Crew>();
        crew->threads.reserve(options_.concurrency);
        try {
            for (unsigned i = 0; i < options_.concurrency; ++i) {
                enlist(crew, [this, crew, generation = fresh]() mutable {
                    serve(*generation, *crew);
                    generation.reset();  // the last destroys the handler
                });
            }
        } catch (const std::system_error& error) {  // the system has no more to give
            if (crew->threads.empty()) {
                throw CallError(errc::start_failed,
                                "worker \"" + name() + "\": start a thread: " + error.what(),
                                nullptr, error.code());
            }
        }
        current_ = fresh;
        crew_ = crew;
    }

    // With mutex_ held. Its last words are under mutex_, too.
    template <class Work>
    void enlist(const std::shared_ptr<Crew>& crew, Work work) {
        crew->threads.emplace_back(
            [self = shared_from_this(), crew, work = std::move(work)]() mutable {
                const Leaves leaves{*self, *crew};
                work();
            });
        ++crew->left;
    }

    void settle(Call& call) {
        calls_.remove(call.number);
        call.settled = true;
        if (const auto waiter = call.on_settled()) waiter->notify_one();
    }

    void give_up(Call& call, errc cause) {
        current_->queue.erase(call.number);
        auto& jobs = current_->running;
        const auto running = std::find_if(
            jobs.begin(), jobs.end(), [&](const auto& job) { return job->number == call.number; });
        const bool begun = running != jobs.end();
        if (begun) {
            stops_.push_back((*running)->source);
            wake_keeper();
        }
        call.outcome.error = CallError{
            code_of(cause, begun && !call.info.idempotent),
            describe_call(call.info.request, name()) + ": " + std::string{describe(cause)}};
        settle(call);
    }

    // The keeper expires async calls, and runs stop callbacks, which are user code.
    void wake_keeper() {
        if (keeper_ == nullptr) {
            const auto keeper = std::make_shared<Crew>();
            keeper->threads.reserve(1);
            enlist(keeper, [this, keeper] { keep_time(*keeper); });
            keeper_ = keeper;
        }
        changed_.notify_all();
    }

    // --- On a thread of its own

    void serve(Generation& generation, const Crew& crew) {
        served_by_this_thread() = &generation;
        Lock lock{mutex_};
        for (;;) {
            changed_.wait(lock, [&] { return crew.ending || !generation.queue.empty(); });
            if (crew.ending) return;
            auto job = std::move(generation.queue.begin()->second);
            generation.queue.erase(generation.queue.begin());
            generation.running.push_back(job);
            watch_overrun(*job);
            lock.unlock();
            Answer answer;
            try {
                handle(*generation.handler, *job, answer);
            } catch (ForcedUnwind&) {  // this thread ends, but not before it is not needed
                refuse(answer, {errc::handler, {}, describe_ended_thread()});
                finish(generation, job, answer, lock);
                lock.unlock();
                serve(generation, crew);
                throw;
            }
            finish(generation, job, answer, lock);
        }
    }

    void finish(Generation& generation, const std::shared_ptr<Job>& job, Answer& answer,
                Lock& lock) {
        lock.lock();
        std::erase(generation.running, job);
        deliver(*job, answer);
    }

    void watch_overrun(Job& job) {
        if (job.run_timeout == no_timeout) return;
        const auto overruns = deadline_after(Clock::now(), job.run_timeout);
        job.due = std::min(job.due, overruns);
        deadlines_.add(overruns, job.number);
        wake_keeper();
    }

    void handle(AnyHandler& handler, Job& job, Answer& answer) const {
        try {
            handler.dispatch(job.index, job.payload, job.blobs, job, answer);
            if (answer.size() > options_.max_message_bytes) {
                refuse(answer,
                       {errc::message_too_large, "the response is over max_message_bytes", {}});
            }
        } catch (const CodecFailure& failure) {
            refuse(answer, {errc::codec, failure.what(), {}});
        } catch (ForcedUnwind&) {
            throw;
        } catch (...) {
            refuse_thrown(answer);
        }
    }

    static void refuse(Answer& answer, const ErrorAnswer& error) {
        answer.is_error = true;
        answer.bytes.clear();
        answer.copies.clear();
        error.append_to(answer.bytes);
    }

    static void refuse_thrown(Answer& answer) noexcept {
        try {
            refuse(answer, {errc::handler, {}, describe_thrown()});
        } catch (...) {  // no memory: an error without words
            answer.bytes.clear();
        }
    }

    void deliver(const Job& job, Answer& answer) {
        auto* call = calls_.find(job.number);
        if (call == nullptr) return;
        call->outcome.is_error_answer = answer.is_error;
        call->outcome.payload = std::move(answer.bytes);
        call->outcome.blobs = std::move(answer.copies);
        settle(*call);
    }

    void keep_time(const Crew& keeper) {
        const auto pending = [this](std::uint64_t number) {
            return calls_.find(number) != nullptr;
        };
        Lock lock{mutex_};
        while (!keeper.ending || !stops_.empty()) {
            auto stops = std::exchange(stops_, {});
            if (!stops.empty()) {
                lock.unlock();
                for (auto& source : stops) source.request_stop();
                lock.lock();
            }
            for (const auto number : deadlines_.take_due(Clock::now())) {
                auto* call = calls_.find(number);
                if (call != nullptr) give_up(*call, errc::timeout);
            }
            const auto next = deadlines_.next(pending);
            if (!stops_.empty() || keeper.ending) continue;
            if (next == TimePoint::max()) {
                changed_.wait(lock);
            } else {
                changed_.wait_until(lock, next);
            }
        }
    }

    void end(errc cause, bool for_good) {
        std::shared_ptr<Crew> crews[2];
        auto lock = acquire(mutex_);
        stopped_ = stopped_ || for_good;
        if (current_ != nullptr) {
            for (auto* call : calls_.calls()) give_up(*call, cause);
            current_.reset();
            crews[0] = std::exchange(crew_, nullptr);
        }
        if (for_good) crews[1] = std::exchange(keeper_, nullptr);
        for (const auto& crew : crews) {
            if (crew != nullptr) crew->ending = true;
        }
        changed_.notify_all();
        ++ending_;
        wait_for_the_end_of(crews, lock);
        --ending_;
        changed_.notify_all();
        wait_until_changed(changed_, lock, [&] { return ending_ == 0; });
    }

    // As long as a Worker would wait; then the threads that have not ended are left behind. By
    // sleeping, since a condition variable may trust a clock that stands still.
    void wait_for_the_end_of(std::span<const std::shared_ptr<Crew>> crews, Lock& lock) {
        const auto left = [&] {
            std::size_t sum = 0;
            for (const auto& crew : crews) sum += crew != nullptr ? crew->left : 0;
            return sum;
        };
        WaitClock clock;
        const auto drained = deadline_after(clock.now(), options_.stop.drain);
        const auto deadline = deadline_after(drained, options_.stop.terminate);
        Duration pause = std::chrono::microseconds{20};
        while (left() != 0 && clock.now() < deadline) {
            lock.unlock();
            std::this_thread::sleep_for(pause);
            clock.slept(pause);
            pause = std::min<Duration>(2 * pause, std::chrono::milliseconds{1});
            lock.lock();
        }
        const auto behind = left();
        lock.unlock();
        for (const auto& crew : crews) {
            if (crew == nullptr) continue;
            for (auto& thread : crew->threads) {
                if (behind == 0) {
                    thread.join();
                } else {
                    thread.detach();
                }
            }
        }
        if (behind != 0) {
            say(Severity::warning, name() + ": " + std::to_string(behind) +
                                       " of its threads did not end, since a handler or a stop "
                                       "callback did not return, and are left behind");
        }
        lock.lock();
    }

    void say(Severity severity, std::string_view text) const {
        const auto& output = options_.output;
        if (output.mode() == Output::Mode::callback) {
            const std::scoped_lock lock{saying_};
            for_each_line(text, [&](std::string_view line) {
                output.callback()({options_.name, 0, LogSource::log, severity, line});
            });
        } else if (output.mode() != Output::Mode::discard) {
            std::string lines;
            for_each_line(text, [&](std::string_view line) {
                lines.append(output.prefix()).append(line).append(1, '\n');
            });
            std::fwrite(lines.data(), 1, lines.size(), stderr);
        }
    }

    WorkerOptions options_;
    const HandlerType type_;
    mutable std::mutex saying_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::shared_ptr<Generation> current_;
    CallTable<Call> calls_;
    Deadlines deadlines_;
    std::shared_ptr<Crew> crew_;           // of the current generation
    std::shared_ptr<Crew> keeper_;         // one thread
    std::vector<std::stop_source> stops_;  // to be requested by the keeper
    int ending_ = 0;                       // threads inside end()
    bool stopped_ = false;
    std::uint64_t generation_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
