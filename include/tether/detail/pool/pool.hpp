// Why: what a pool is while its workers come and go. Which call goes where is for Placement to say,
// and when a worker is replaced for Upkeep; here they meet the workers, each of which carries out
// calls by itself.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/os/watches.hpp>
#include <tether/detail/pool/places.hpp>
#include <tether/detail/pool/pool_carrier.hpp>
#include <tether/detail/pool/pool_members.hpp>
#include <tether/detail/pool/upkeep.hpp>
#include <tether/pool_options.hpp>
#include <tether/pool_statistics.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class Pool final : public PoolCarrier, public std::enable_shared_from_this<Pool> {
    using Carrier = PoolMembers::Carrier;

public:
    Pool(PoolOptions options, std::size_t size, std::string name,
         std::unique_ptr<PoolMembers> makers)
        : options_(std::move(options)),
          name_(std::move(name)),
          maker_(std::move(makers)),
          runtime_(Runtime::usable()),
          places_(size, seats_of(options_.worker), options_.priority_step),
          upkeep_(size, options_.recycle),
          timer_(runtime_.context()) {
        workers_.reserve(size);
        for (std::size_t i = 0; i < size; ++i) workers_.push_back(std::make_unique<Worker>());
        runtime_.started_executor();
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() override {
        for (const auto& worker : workers_) {
            if (worker->carrier != nullptr) maker_->release(std::move(worker->carrier));
        }
    }

    // At the destructor of a pool. False: it must not be destroyed.
    bool retire() noexcept {
        const BoundedLocks bounded{std::chrono::milliseconds{500}};
        try {
            stop();
            return !bounded.spent();
        } catch (const HeldUp&) {
            return false;
        } catch (...) {  // no memory: the processes end with this one at the latest
            return true;
        }
    }

    // --- CallCarrier

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    [[nodiscard]] CallLimits call_limits() const noexcept override {
        return {options_.worker.call_timeout, options_.worker.max_message_bytes};
    }
    [[nodiscard]] unsigned calls_at_once() const override {
        return static_cast<unsigned>(workers_.size()) * seats_of(options_.worker);
    }
    [[nodiscard]] bool forked() const noexcept override {
        return runtime_.epoch() != Runtime::fork_epoch().load();
    }
    void check_not_forked() const override {
        if (forked()) throw in_forked_copy(name_);
    }
    void check_may_block() const override {
        check_not_forked();
        check_not_interrupted();
        if (runtime_.on_thread()) throw on_background_thread(name_);
    }

    void run(BlockingCall& call, const std::stop_token& token) override {
        check_may_block();
        for (bool again = false;; again = true) {
            Seat seat{*this, seek(call, token, again)};
            std::optional<CallError> refused;
            try {
                carrier_of(seat.worker())->run(call, token);
            } catch (const CallError& error) {  // it was not sent
                refused = error;
            }
            const auto& error = refused ? refused : call.outcome.error;
            seat.leave(error ? std::optional{error->cause()} : std::nullopt);
            const bool moves = error && moves_on(seat.worker(), *error);
            place();
            if (!moves) {
                if (refused) throw CallError{*refused};
                return;
            }
            call.settled = false;
            call.outcome.reset();
        }
    }

    // It takes no seat: nothing tells when it is handled.
    void post(BlockingCall& call) override {
        check_not_interrupted();
        for (int tries = 3;; --tries) {
            try {
                return carrier_of(least_loaded())->post(call);
            } catch (const CallError& error) {  // one that was replaced meanwhile
                const Locked lock{*this};
                if (error.cause() != errc::stopped || stopped_ || tries == 0) throw;
            }
        }
    }

    void launch(std::shared_ptr<AsyncCall> call) noexcept override {
        try {
            check_not_forked();
            check_not_interrupted();
            call->settled = false;
            call->outcome.reset();
            const bool again = call->place != 0;
            const auto number = enqueue(call);
            place();
            if (!again) refuse_if_full(*call, number);
        } catch (...) {
            call->fail(current_call_error(describe_call(call->info.request, name_)));
        }
    }

    void cancel(AsyncCall& call, bool only_unsent) override {
        if (forked()) return;
        Carrier carrier;
        bool withdrawn = false;
        {
            const Locked lock{*this};
            withdrawn = places_.withdraw(call.place);
            if (withdrawn) ++refused_;
            const auto worker = places_.worker_of(call.place);
            if (worker != Places::nobody) carrier = workers_[worker]->carrier;
        }
        if (withdrawn) call.fail(cancelled_unsent(call));
        if (carrier != nullptr) carrier->cancel(call, only_unsent);
    }

    void on_settled(AsyncCall& call) noexcept override {
        const auto& error = call.outcome.error;
        try {
            const auto worker =
                leave(call.place, error ? std::optional{error->cause()} : std::nullopt);
            if (worker == Places::nobody) return;
            // A stream has told its user of the failure.
            if (error && call.feed == nullptr && moves_on(worker, *error)) {
                call.outcome.resend = Resend::freely;
            }
        } catch (...) {  // the program exits, and a thread that does not run holds the lock
        }
        place();
    }

    // --- Ending

    void stop() override {
        check_not_interrupted();
        std::vector<std::shared_ptr<AsyncCall>> refused;
        {
            const Locked lock{*this};
            stopped_ = true;
            refused_ += places_.placement().waiting();
            refused = places_.withdraw_all(std::nullopt);
        }
        for (const auto& call : refused) call->fail(stopped(*call));
        // One that is being made is ended, too.
        for (const auto& worker : workers_) const std::scoped_lock starting{worker->starting};
        maker_->stop(carriers());
    }

    void kill() override {
        check_not_interrupted();
        for (const auto& carrier : carriers()) carrier->kill();
    }

    // Each worker is replaced once it has no call.
    void restart() override {
        check_not_interrupted();
        std::vector<Carrier> retired;
        {
            const Locked lock{*this};
            stopped_ = false;
            for (std::size_t i = 0; i < workers_.size(); ++i) {
                upkeep_.forget_failures(i);
                places_.placement().trust(i);
                if (workers_[i]->carrier != nullptr) upkeep_.outdate(i, Recycled::restart);
                if (auto carrier = take_outdated(i)) retired.push_back(std::move(carrier));
            }
        }
        for (auto& carrier : retired) maker_->retire(std::move(carrier));
        place();
    }

    // --- Looking

    [[nodiscard]] std::size_t size() const noexcept override { return workers_.size(); }
    [[nodiscard]] std::size_t map_window() const noexcept override {
        const std::size_t seats = calls_at_once();
        return seats + std::min(seats, options_.queue_limit);
    }

    [[nodiscard]] std::shared_ptr<const ExitReport> last_exit() const override {
        std::shared_ptr<const ExitReport> last;
        for (const auto& carrier : carriers()) {
            if (auto report = carrier->last_exit()) last = std::move(report);
        }
        return last;
    }

    [[nodiscard]] PoolStatistics statistics() const override {
        PoolStatistics result;
        std::vector<Carrier> present;
        {
            const Locked lock{*this};
            result.waiting = places_.placement().waiting();
            result.moved = moved_;
            result.failed = refused_;
            result.recycled_used_up = upkeep_.recycled(Recycled::used_up);
            result.recycled_restart = upkeep_.recycled(Recycled::restart);
            result.queue = queue_times_;
            result.run = run_times_;
            for (std::size_t i = 0; i < workers_.size(); ++i) {
                const auto& worker = *workers_[i];
                result.workers.push_back({.started = worker.started,
                                          .served = worker.served,
                                          .failed = worker.failed,
                                          .running = places_.placement().used(i),
                                          .resting = upkeep_.rests(i)});
                present.push_back(worker.carrier);
            }
        }
        for (std::size_t i = 0; i < present.size(); ++i) {
            auto& worker = result.workers[i];
            if (present[i] != nullptr) {
                worker.pid = present[i]->pid();
                worker.started += present[i]->generation();
            }
            result.started += worker.started;
            result.served += worker.served;
            result.failed += worker.failed;
        }
        return result;
    }

private:
    // The lock, and the mark that this thread is inside of Tether.
    class Locked {
    public:
        explicit Locked(const Pool& pool) : lock_(acquire(pool.mutex_)) {}
        [[nodiscard]] std::unique_lock<std::mutex>& lock() noexcept { return lock_; }

    private:
        Entered entered_;
        std::unique_lock<std::mutex> lock_;
    };

    struct Worker {
        std::mutex starting{};  // held while it is made, before mutex_
        Carrier carrier{};
        std::uint64_t started = 0;  // by earlier carriers
        std::uint64_t served = 0;
        std::uint64_t failed = 0;
    };

    // The worker that a blocking call has.
    class Seat {
    public:
        Seat(Pool& pool, std::uint64_t number) : pool_(pool), number_(number) {
            const Locked lock{pool_};
            worker_ = pool_.places_.worker_of(number_);
        }
        Seat(const Seat&) = delete;
        Seat& operator=(const Seat&) = delete;
        // An exception that is no CallError goes by, or the thread is ended.
        ~Seat() {
            if (number_ == 0) return;
            try {
                leave(errc::start_failed);
            } catch (...) {  // see on_settled()
            }
            pool_.place();
        }
        [[nodiscard]] std::size_t worker() const noexcept { return worker_; }
        // Its call is over.
        void leave(std::optional<errc> failure) { pool_.leave(std::exchange(number_, 0), failure); }

    private:
        Pool& pool_;
        std::uint64_t number_;
        std::size_t worker_ = Places::nobody;
    };

    [[nodiscard]] static unsigned seats_of(const WorkerOptions& options) noexcept {
        return std::max(options.concurrency, options.calls_in_work);
    }

    // --- Waiting for a worker

    [[nodiscard]] CallError stopped(const Call& call) const {
        return refusal(call, name_, errc::stopped, "the pool was stopped");
    }
    [[nodiscard]] CallError cancelled_unsent(const Call& call) const {
        return refusal(call, name_, errc::cancelled, "cancelled before it had a worker");
    }
    [[nodiscard]] CallError out_of_time(const Call& call) const {
        return refusal(call, name_, errc::timeout, "no worker of the pool was free in time");
    }
    [[nodiscard]] CallError full(const Call& call) const {
        return refusal(call, name_, errc::queue_full,
                       "the queue of the pool is full: " + std::to_string(options_.queue_limit) +
                           " calls wait");
    }
    [[nodiscard]] bool is_over_limit() const noexcept {
        return places_.placement().waiting() > options_.queue_limit;
    }

    std::uint64_t enqueue(const std::shared_ptr<AsyncCall>& call) {
        const Locked lock{*this};
        if (call->cancel_requested) throw cancelled_unsent(*call);
        if (stopped_) throw stopped(*call);
        call->place = places_.add(*call, {.call = call});
        return call->place;
    }

    // Where it waits, and had better not.
    void refuse_if_full(AsyncCall& call, std::uint64_t number) {
        {
            const Locked lock{*this};
            if (!is_over_limit() || !places_.withdraw(number)) return;
            ++refused_;
        }
        call.fail(full(call));
    }

    // Waits for a worker. Returns the number of its place.
    std::uint64_t seek(const BlockingCall& call, const std::stop_token& token, bool again) {
        PlaceSeeker thread;
        std::uint64_t number = 0;
        {
            const Locked lock{*this};
            if (stopped_) throw stopped(call);
            number = places_.add(call, {.thread = &thread});
        }
        place();
        const std::stop_callback on_stop{token, [&] {
                                             const Locked lock{*this};
                                             thread.tell();
                                         }};
        Locked locked{*this};
        const auto refuse_if = [&](bool reason, auto error) {
            if (!reason || !places_.withdraw(number)) return;
            ++refused_;
            throw error();
        };
        refuse_if(!again && options_.when_full == WhenFull::refuse && is_over_limit(),
                  [&] { return full(call); });
        while (places_.waits(number)) {
            refuse_if(token.stop_requested(), [&] { return cancelled_unsent(call); });
            refuse_if(Clock::now() >= call.deadline(), [&] { return out_of_time(call); });
            wait(thread, locked.lock(), call.deadline());
        }
        if (places_.worker_of(number) != Places::nobody) return number;
        throw thread.error ? *thread.error : stopped(call);
    }

    static void wait(PlaceSeeker& thread, std::unique_lock<std::mutex>& lock, TimePoint until) {
        const auto told = [&] { return std::exchange(thread.told, false); };
        if (until == TimePoint::max()) {
            thread.changed.wait(lock, told);
        } else {
            thread.changed.wait_until(lock, until, told);
        }
    }

    // --- Placing

    // Lets all begin that can. Not within itself: a call that fails at once is seen to by the loop.
    void place() noexcept {
        static thread_local const Pool* placing = nullptr;
        if (placing == this) return;
        const auto* const before = std::exchange(placing, this);
        const Left left;  // what is settled may be inside of another worker
        const auto self = weak_from_this().lock();
        try {
            while (auto next = next_call()) begin(std::move(next->first), next->second);
        } catch (...) {  // see on_settled()
        }
        placing = before;
    }

    // The next async call, and its worker. Threads are told here.
    std::optional<std::pair<std::shared_ptr<AsyncCall>, std::size_t>> next_call() {
        const Locked lock{*this};
        const auto now = Clock::now();
        if (upkeep_.wake(now)) {
            for (std::size_t i = 0; i < workers_.size(); ++i) open_or_close(i);
        }
        while (auto* const place = places_.next(now)) {
            queue_times_.add(now - std::exchange(place->since, now));
            upkeep_.take(place->worker);
            open_or_close(place->worker);
            if (place->thread == nullptr) return std::pair{std::move(place->call), place->worker};
            place->thread->tell();
        }
        look_later(now);
        return std::nullopt;
    }

    void begin(std::shared_ptr<AsyncCall> call, std::size_t worker) {
        // At exit nothing is completed.
        if (runtime_.exiting()) {
            leave(call->place, errc::stopped);
            return runtime_.keep_for_ever(std::move(call));
        }
        try {
            carrier_of(worker)->launch(call);
        } catch (...) {
            call->fail(current_call_error(describe_call(call->info.request, name_)));
        }
    }

    // The worker, which is started if there is none.
    Carrier carrier_of(std::size_t index) {
        auto& worker = *workers_[index];
        const std::scoped_lock starting{worker.starting};
        {
            const Locked lock{*this};
            if (stopped_) throw CallError(errc::stopped, stopped_text());
            if (worker.carrier != nullptr) return worker.carrier;
        }
        auto carrier = maker_->make(hub());
        {
            const Locked lock{*this};
            if (!stopped_) return worker.carrier = carrier;
        }
        maker_->retire(carrier);
        throw CallError(errc::stopped, stopped_text());
    }

    [[nodiscard]] std::string stopped_text() const {
        return "worker \"" + name_ + "\": the pool was stopped";
    }

    [[nodiscard]] std::size_t least_loaded() const {
        const Locked lock{*this};
        return places_.placement().least_loaded(Clock::now());
    }

    // --- What becomes of workers

    // With mutex_ held.
    void open_or_close(std::size_t worker) noexcept {
        places_.placement().set_open(worker, upkeep_.is_open(worker));
    }

    // A call is over. Returns its worker; nobody: it had none.
    std::size_t leave(std::uint64_t number, std::optional<errc> failure) {
        std::size_t index = Places::nobody;
        Carrier retired;
        {
            const Locked lock{*this};
            const auto place = places_.leave(number);
            if (!place) return index;
            index = place->worker;
            auto& worker = *workers_[index];
            run_times_.add(Clock::now() - place->since);
            if (!failure || failure == errc::handler) {
                ++worker.served;
                upkeep_.answered(index);
                places_.placement().trust(index);
            } else {
                ++worker.failed;
                const auto doubt = doubt_after(*failure);
                if (doubt > Duration::zero()) {
                    places_.placement().doubt(index, deadline_after(Clock::now(), doubt));
                }
            }
            retired = take_outdated(index);
        }
        if (retired != nullptr) maker_->retire(std::move(retired));
        return index;
    }

    // How long a handler may go on after such an end of its call. One that has overrun its time has
    // been replaced by then, see StuckPolicy; one that was cancelled most likely stops.
    [[nodiscard]] Duration doubt_after(errc cause) const noexcept {
        if (cause == errc::cancelled) return std::chrono::milliseconds{100};
        if (cause != errc::timeout) return Duration::zero();
        return std::min<Duration>(options_.worker.stuck.grace, std::chrono::minutes{1}) +
               std::chrono::seconds{1};
    }

    // Takes a worker away that is to be replaced and has no call. With mutex_ held.
    Carrier take_outdated(std::size_t index) {
        auto& worker = *workers_[index];
        Carrier taken;
        if (places_.placement().used(index) == 0 && upkeep_.replace(index)) {
            taken = std::exchange(worker.carrier, nullptr);
            if (taken != nullptr) worker.started += taken->generation();
        }
        open_or_close(index);
        return taken;
    }

    static bool is_failed_start(errc cause) noexcept {
        return cause == errc::start_failed || cause == errc::start_timeout ||
               cause == errc::restart_budget_spent;
    }

    // Whether a call whose worker could not be started goes to another one. If no other works, all
    // that wait fail with the same error.
    bool moves_on(std::size_t worker, const CallError& error) {
        if (!is_failed_start(error.cause())) return false;
        std::vector<std::shared_ptr<AsyncCall>> failed;
        {
            const Locked lock{*this};
            if (stopped_) return false;
            if (upkeep_.another_works(worker)) {
                upkeep_.rest(worker, Clock::now());
                open_or_close(worker);
                ++moved_;
                return true;
            }
            refused_ += places_.placement().waiting();
            failed = places_.withdraw_all(error);
        }
        for (const auto& call : failed) call->fail(error);
        return false;
    }

    // --- What happens by itself

    // With mutex_ held.
    void look_later(TimePoint now) {
        if (places_.placement().waiting() == 0) return;
        const auto when = std::min(
            {places_.placement().next_look(now), places_.first_deadline(), upkeep_.next_wake()});
        if (when >= next_look_ || runtime_.exiting() || !runtime_.has_descriptors()) return;
        next_look_ = when;
        static_cast<void>(
            Watches::at(timer_, when, shared_from_this(), [](Pool& pool) { pool.look(); }));
    }

    // On the background thread.
    void look() {
        {
            const Locked lock{*this};
            next_look_ = TimePoint::max();
        }
        while (const auto call = take_expired()) call->fail(out_of_time(*call));
        place();
    }

    std::shared_ptr<AsyncCall> take_expired() {
        const Locked lock{*this};
        auto call = places_.withdraw_expired(Clock::now());
        if (call != nullptr) ++refused_;
        return call;
    }

    // ---

    void check_not_interrupted() const {
        if (!is_interrupted()) return;
        throw CallError(errc::would_deadlock, "pool \"" + name_ +
                                                  "\" was used in a signal handler that had "
                                                  "interrupted Tether");
    }

    [[nodiscard]] std::vector<Carrier> carriers() const {
        const Locked lock{*this};
        std::vector<Carrier> result;
        for (const auto& worker : workers_) {
            if (worker->carrier != nullptr) result.push_back(worker->carrier);
        }
        return result;
    }

    const PoolOptions options_;
    const std::string name_;
    const std::unique_ptr<PoolMembers> maker_;
    Runtime& runtime_;

    // Guards the rest. No call is settled and no worker made or ended under it.
    mutable std::mutex mutex_;
    Places places_;
    Upkeep upkeep_;
    std::vector<std::unique_ptr<Worker>> workers_{};
    bool stopped_ = false;
    WatchTimer timer_;
    TimePoint next_look_ = TimePoint::max();

    std::uint64_t moved_ = 0;
    std::uint64_t refused_ = 0;  // calls that had no worker
    Histogram queue_times_{};
    Histogram run_times_{};
};

}  // namespace detail
TETHER_NAMESPACE_END
