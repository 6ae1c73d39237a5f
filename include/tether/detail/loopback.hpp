// Why: the same calls without a process. A request is encoded and decoded as on the wire, and its
// handler runs on a thread, so that codecs, deadlines, cancellation and errors behave alike.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/async_call.hpp>
#include <tether/detail/call.hpp>
#include <tether/detail/call_table.hpp>
#include <tether/detail/remote_cause.hpp>
#include <tether/handler.hpp>
#include <tether/options.hpp>
#include <tether/worker_state.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class LoopbackCarrier final : public CallCarrier {
    using Lock = std::unique_lock<std::mutex>;

public:
    LoopbackCarrier(WorkerOptions options, HandlerType type)
        : options_(std::move(options)), type_(type) {
        if (options_.name.empty()) options_.name = "loopback";
    }
    ~LoopbackCarrier() override { stop(); }

    [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }

    struct CallLimits {
        Duration timeout{};
        std::uint64_t max_message_bytes{};
    };
    [[nodiscard]] CallLimits call_limits() const {
        return {options_.call_timeout, options_.max_message_bytes};
    }

    void run(BlockingCall& call, const std::stop_token& token) {
        const std::stop_callback on_stop{token, [&] {
                                             const Lock lock{mutex_};
                                             call.cancelled = true;
                                             call.changed.notify_one();
                                         }};
        Lock lock{mutex_};
        submit(call);
        const auto ready = [&] { return call.settled || call.cancelled; };
        while (!call.settled) {
            if (call.cancelled) {
                give_up(call, errc::cancelled);
            } else if (call.deadline() == TimePoint::max()) {
                call.changed.wait(lock, ready);
            } else if (!call.changed.wait_until(lock, call.deadline(), ready)) {
                give_up(call, errc::timeout);
            }
        }
    }

    void launch(std::shared_ptr<AsyncCall> call) noexcept override {
        try {
            const Lock lock{mutex_};
            submit(*call);
            call->hold();  // nobody can settle it before the lock is released
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
        const bool queued = std::ranges::any_of(
            queue_, [&](const auto& job) { return job->number == call.number; });
        if (queued || !only_unsent) give_up(call, errc::cancelled);
    }

    // Ends all calls, waits for the handlers that run, destroys the handler.
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
        return handler_ == nullptr ? WorkerState::ended : WorkerState::ready;
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
        bool is_error = false;
    };

    // --- With mutex_ held

    void submit(Call& call) {
        if (stopped_) throw CallError(errc::stopped, "worker \"" + name() + "\" was stopped");
        if (handler_ == nullptr) start();
        auto job = std::make_shared<Job>(*this);
        call.number = job->number = calls_.add(call);
        job->index = call.info.index;
        job->due = call.deadline();
        job->payload = call.message.sealed_payload();
        for (const auto* blob : call.message.blobs()) job->blobs.push_back(*blob);
        queue_.push_back(std::move(job));
        changed_.notify_all();
    }

    void start() {
        ++generation_;
        try {
            handler_ = type_.make();
        } catch (const std::exception& error) {
            throw CallError(
                errc::start_failed,
                "worker \"" + name() + "\": its handler's constructor threw: " + error.what());
        }
        ending_ = false;
        for (unsigned i = 0; i < options_.concurrency; ++i) {
            threads_.emplace_back([this] { serve(); });
        }
    }

    void settle(Call& call) {
        calls_.remove(call.number);
        call.settled = true;
        call.on_settled();
    }

    void give_up(Call& call, errc cause) {
        std::erase_if(queue_, [&](const auto& job) { return job->number == call.number; });
        for (const auto& job : running_) {
            if (job->number != call.number) continue;
            stops_.push_back(job->source);
            wake_keeper();
        }
        call.outcome.error = CallError{
            cause, describe_call(call.info.request, name()) + ": " + std::string{describe(cause)}};
        settle(call);
    }

    // The keeper expires async calls, and runs stop callbacks, which are user code.
    void wake_keeper() {
        if (!keeper_.joinable()) keeper_ = std::thread{[this] { keep_time(); }};
        changed_.notify_all();
    }

    // --- On a thread of its own

    void serve() {
        Lock lock{mutex_};
        for (;;) {
            changed_.wait(lock, [&] { return ending_ || !queue_.empty(); });
            if (ending_) return;
            auto job = std::move(queue_.front());
            queue_.pop_front();
            running_.push_back(job);
            lock.unlock();
            Answer answer;
            handle(*job, answer);
            lock.lock();
            std::erase(running_, job);
            deliver(*job, answer);
        }
    }

    void handle(Job& job, Answer& answer) {
        const auto refuse = [&](const ErrorAnswer& error) {
            answer.is_error = true;
            answer.bytes.clear();
            answer.copies.clear();
            error.append_to(answer.bytes);
        };
        try {
            handler_->dispatch(job.index, job.payload, job.blobs, job, answer);
        } catch (const CodecFailure& failure) {
            refuse({errc::codec, failure.what(), {}});
        } catch (...) {
            refuse({errc::handler, {}, describe_chain(std::current_exception())});
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

    void keep_time() {
        const auto pending = [this](std::uint64_t number) {
            return calls_.find(number) != nullptr;
        };
        Lock lock{mutex_};
        while (!keeper_ends_ || !stops_.empty()) {
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
            if (!stops_.empty() || keeper_ends_) continue;
            if (next == TimePoint::max()) {
                changed_.wait(lock);
            } else {
                changed_.wait_until(lock, next);
            }
        }
    }

    void end(errc cause, bool for_good) {
        std::vector<std::thread> threads;
        {
            const Lock lock{mutex_};
            stopped_ = stopped_ || for_good;
            ending_ = true;
            for (auto* call : calls_.calls()) give_up(*call, cause);
            queue_.clear();
            keeper_ends_ = true;
            changed_.notify_all();
            threads.swap(threads_);
            if (keeper_.joinable()) threads.push_back(std::move(keeper_));
        }
        for (auto& thread : threads) thread.join();
        const Lock lock{mutex_};
        keeper_ends_ = false;
        handler_.reset();
    }

    void say(Severity severity, std::string_view text) const {
        const auto& output = options_.output;
        if (output.mode() == Output::Mode::callback) {
            const std::scoped_lock lock{saying_};
            output.callback()({options_.name, 0, LogSource::log, severity, text});
        } else if (output.mode() != Output::Mode::discard) {
            const auto line = output.prefix() + std::string{text} + '\n';
            std::fwrite(line.data(), 1, line.size(), stderr);
        }
    }

    WorkerOptions options_;
    const HandlerType type_;
    mutable std::mutex saying_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::unique_ptr<AnyHandler> handler_;
    CallTable<Call> calls_;
    Deadlines deadlines_;
    std::deque<std::shared_ptr<Job>> queue_;
    std::vector<std::shared_ptr<Job>> running_;
    std::vector<std::thread> threads_;
    std::thread keeper_;
    std::vector<std::stop_source> stops_;  // to be requested by the keeper
    bool keeper_ends_ = false;
    bool ending_ = false;
    bool stopped_ = false;
    std::uint64_t generation_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
