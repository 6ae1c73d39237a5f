// Why: what a pool is while its workers come and go. Which call goes where is for Placement to say;
// here are the threads and calls that wait, and the workers, each of which carries out calls by
// itself.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/os/watches.hpp>
#include <tether/detail/pool/placement.hpp>
#include <tether/detail/pool/pool_carrier.hpp>
#include <tether/pool_options.hpp>
#include <tether/pool_statistics.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What the workers of a pool are.
class PoolMembers {
public:
    using Carrier = std::shared_ptr<WorkerCarrier>;

    PoolMembers() = default;
    PoolMembers(const PoolMembers&) = delete;
    PoolMembers& operator=(const PoolMembers&) = delete;
    virtual ~PoolMembers() = default;

    virtual Carrier make(const std::shared_ptr<Hub>& hub) = 0;
    // Ends one that has no call, without waiting for that.
    virtual void retire(Carrier carrier) noexcept = 0;
    // Ends them side by side, and waits.
    virtual void stop(const std::vector<Carrier>& carriers) = 0;
    // The last that is done with one.
    virtual void release(Carrier carrier) noexcept = 0;
};

class Pool final : public PoolCarrier, public std::enable_shared_from_this<Pool> {
    using Carrier = PoolMembers::Carrier;

public:
    Pool(PoolOptions options, std::size_t size, std::string name,
         std::unique_ptr<PoolMembers> members)
        : options_(std::move(options)),
          name_(std::move(name)),
          maker_(std::move(members)),
          runtime_(Runtime::usable()),
          placement_(size, seats_of(options_.worker), options_.priority_step),
          timer_(runtime_.context()) {
        members_.reserve(size);
        for (std::size_t i = 0; i < size; ++i) members_.push_back(std::make_unique<Member>());
        runtime_.started_executor();
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() override {
        for (const auto& member : members_) {
            if (member->carrier != nullptr) maker_->release(std::move(member->carrier));
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
        return static_cast<unsigned>(members_.size()) * seats_of(options_.worker);
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
            Seated seated{*this, seat_for(call, token, again)};
            std::optional<CallError> refused;
            try {
                carrier_of(seated.worker())->run(call, token);
            } catch (const CallError& error) {  // it was not sent
                refused = error;
            }
            const auto& error = refused ? refused : call.outcome.error;
            seated.leave(error ? &*error : nullptr);
            const bool moves = error && moves_on(seated.worker(), *error);
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
        bool waits = false;
        {
            const Locked lock{*this};
            const auto place = places_.find(call.place);
            if (place == places_.end()) return;
            waits = place->second.worker == nobody;
            if (waits) {
                withdraw(place);
                ++refused_;
            } else {
                carrier = members_[place->second.worker]->carrier;
            }
        }
        if (waits) {
            call.fail(refusal(call, name_, errc::cancelled, "cancelled before it had a worker"));
        } else if (carrier != nullptr) {
            carrier->cancel(call, only_unsent);
        }
    }

    void on_settled(AsyncCall& call) noexcept override {
        const auto* const error = call.outcome.error ? &*call.outcome.error : nullptr;
        const auto worker = leave(call.place, error);
        if (worker == nobody) return;
        // A stream has told its user of the failure.
        if (error != nullptr && call.feed == nullptr && moves_on(worker, *error)) {
            call.outcome.resend = Resend::freely;
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
            refused_ += placement_.waiting();
            refused = withdraw_all(std::nullopt);
        }
        for (const auto& call : refused) call->fail(stopped(*call));
        // One that is being made is ended, too.
        for (const auto& member : members_) const std::scoped_lock starting{member->starting};
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
            for (std::size_t i = 0; i < members_.size(); ++i) {
                auto& member = *members_[i];
                member.failures = 0;
                member.rests_until = TimePoint::min();
                placement_.trust(i);
                if (member.carrier == nullptr) {
                    if (member.outdated == nullptr) placement_.open(i);
                    continue;
                }
                member.outdated = &recycled_restart_;
                placement_.close(i);
                if (auto carrier = take_outdated(i)) retired.push_back(std::move(carrier));
            }
        }
        for (auto& carrier : retired) maker_->retire(std::move(carrier));
        place();
    }

    // --- Looking

    [[nodiscard]] std::size_t size() const noexcept override { return members_.size(); }
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
            result.waiting = placement_.waiting();
            result.moved = moved_;
            result.failed = refused_;
            result.recycled_used_up = recycled_used_up_;
            result.recycled_restart = recycled_restart_;
            result.queue = queue_times_;
            result.run = run_times_;
            for (std::size_t i = 0; i < members_.size(); ++i) {
                const auto& member = *members_[i];
                result.workers.push_back({.started = member.started,
                                          .served = member.served,
                                          .failed = member.failed,
                                          .running = placement_.used(i),
                                          .resting = is_resting(member)});
                present.push_back(member.carrier);
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

    static constexpr auto nobody = static_cast<std::size_t>(-1);

    // A thread that waits for a worker.
    struct Thread {
        std::condition_variable changed{};
        bool told = false;
        std::optional<CallError> error{};
        void tell() {
            told = true;
            changed.notify_one();
        }
    };
    // A call of the pool, which waits or has a worker. One of a thread, or an async one.
    struct Place {
        Thread* thread = nullptr;
        std::shared_ptr<AsyncCall> call{};  // while it waits
        TimePoint deadline = TimePoint::max();
        TimePoint since{};            // it waits, or has its worker
        std::size_t worker = nobody;  // it waits
    };
    using Places = std::unordered_map<std::uint64_t, Place>;
    struct Member {
        std::mutex starting{};  // held while it is made, before mutex_
        Carrier carrier{};
        std::uint64_t taken = 0;            // calls of this carrier
        std::uint64_t* outdated = nullptr;  // the reason's count: it ends when it has no call
        std::uint64_t started = 0;          // by earlier carriers
        std::uint64_t served = 0;
        std::uint64_t failed = 0;
        unsigned failures = 0;  // to start, one after the other
        TimePoint rests_until = TimePoint::min();
    };

    // The worker that a blocking call has.
    class Seated {
    public:
        Seated(Pool& pool, std::uint64_t number) : pool_(pool), number_(number) {
            const Locked lock{pool_};
            worker_ = pool_.places_.at(number_).worker;
        }
        Seated(const Seated&) = delete;
        Seated& operator=(const Seated&) = delete;
        ~Seated() {
            if (number_ == 0) return;
            leave(nullptr);
            pool_.place();
        }
        [[nodiscard]] std::size_t worker() const noexcept { return worker_; }
        // It is over.
        void leave(const CallError* error) noexcept {
            const auto number = std::exchange(number_, 0);
            if (number == 0) return;
            pool_.leave(number, error);
        }

    private:
        Pool& pool_;
        std::uint64_t number_;
        std::size_t worker_ = nobody;
    };

    [[nodiscard]] static unsigned seats_of(const WorkerOptions& options) noexcept {
        return std::max(options.concurrency, options.calls_in_work);
    }

    // --- Waiting for a worker

    static Placement::Wish wish_of(const Call& call) noexcept {
        return {call.info.affinity, call.info.priority};
    }

    [[nodiscard]] CallError stopped(const Call& call) const {
        return refusal(call, name_, errc::stopped, "the pool was stopped");
    }

    // With mutex_ held.
    std::uint64_t add(const Call& call, Place place) {
        if (stopped_) throw stopped(call);
        const auto number = ++last_number_;
        place.since = call.info.made;
        const auto added = places_.emplace(number, std::move(place)).first;
        try {
            if (added->second.call != nullptr) deadlines_.emplace(call.deadline(), number);
            placement_.add(number, wish_of(call), call.info.made);
        } catch (...) {
            withdraw(added);
            throw;
        }
        return number;
    }

    // It waits no more. With mutex_ held.
    void withdraw(Places::iterator place) noexcept {
        placement_.withdraw(place->first);
        deadlines_.erase({place->second.deadline, place->first});
        places_.erase(place);
    }
    // The same for all that wait: threads are told of the error, or that the pool was stopped, and
    // the calls returned.
    std::vector<std::shared_ptr<AsyncCall>> withdraw_all(const std::optional<CallError>& error) {
        std::vector<std::shared_ptr<AsyncCall>> calls;
        for (auto place = places_.begin(); place != places_.end();) {
            const auto next = std::next(place);
            auto& [thread, call, deadline, since, worker] = place->second;
            if (worker == nobody) {
                if (call != nullptr) calls.push_back(std::move(call));
                if (thread != nullptr) {
                    thread->error = error;
                    thread->tell();
                }
                withdraw(place);
            }
            place = next;
        }
        return calls;
    }

    // Null: it does not wait. With mutex_ held.
    [[nodiscard]] Places::iterator find_waiting(std::uint64_t number) noexcept {
        const auto place = places_.find(number);
        return place != places_.end() && place->second.worker != nobody ? places_.end() : place;
    }
    [[nodiscard]] bool is_over_limit() const noexcept {
        return placement_.waiting() > options_.queue_limit;
    }

    std::uint64_t enqueue(const std::shared_ptr<AsyncCall>& call) {
        const Locked lock{*this};
        if (call->cancel_requested) {
            throw refusal(*call, name_, errc::cancelled, "cancelled before it had a worker");
        }
        call->place = add(*call, {.call = call, .deadline = call->deadline()});
        return call->place;
    }

    [[nodiscard]] CallError full(const Call& call) const {
        return refusal(call, name_, errc::queue_full,
                       "the queue of the pool is full: " + std::to_string(options_.queue_limit) +
                           " calls wait");
    }

    // Where it waits, and had better not.
    void refuse_if_full(AsyncCall& call, std::uint64_t number) {
        {
            const Locked lock{*this};
            const auto place = find_waiting(number);
            if (place == places_.end() || !is_over_limit()) return;
            withdraw(place);
            ++refused_;
        }
        call.fail(full(call));
    }

    // Returns the number of its place.
    std::uint64_t seat_for(const BlockingCall& call, const std::stop_token& token, bool again) {
        Thread thread;
        std::uint64_t number = 0;
        {
            const Locked lock{*this};
            number = add(call, {.thread = &thread});
        }
        place();
        const std::stop_callback on_stop{token, [&] {
                                             const Locked lock{*this};
                                             thread.tell();
                                         }};
        Locked locked{*this};
        const bool may_refuse = options_.when_full == WhenFull::refuse && !again;
        for (bool refuses = may_refuse;; refuses = false) {
            const auto place = find_waiting(number);
            if (place == places_.end()) break;
            const auto refuse = [&](CallError error) {
                withdraw(place);
                ++refused_;
                throw error;
            };
            if (refuses && is_over_limit()) refuse(full(call));
            if (token.stop_requested()) {
                refuse(refusal(call, name_, errc::cancelled, "cancelled before it had a worker"));
            }
            if (Clock::now() >= call.deadline()) refuse(out_of_time(call));
            wait(thread, locked.lock(), call.deadline());
        }
        if (!places_.contains(number)) throw thread.error ? *thread.error : stopped(call);
        return number;
    }

    [[nodiscard]] CallError out_of_time(const Call& call) const {
        return refusal(call, name_, errc::timeout, "no worker of the pool was free in time");
    }

    static void wait(Thread& thread, std::unique_lock<std::mutex>& lock, TimePoint until) {
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
        while (auto next = next_call()) begin(std::move(next->first), next->second);
        placing = before;
    }

    // The next async call, and its worker. Threads are told here.
    std::optional<std::pair<std::shared_ptr<AsyncCall>, std::size_t>> next_call() noexcept {
        const Locked lock{*this};
        const auto now = Clock::now();
        reopen(now);
        while (const auto grant = placement_.next(now)) {
            auto& place = places_.find(grant->call)->second;
            queue_times_.add(now - std::exchange(place.since, now));
            place.worker = grant->worker;
            take(grant->worker);
            if (place.thread != nullptr) {
                place.thread->tell();
                continue;
            }
            deadlines_.erase({place.deadline, grant->call});
            return std::pair{std::move(place.call), grant->worker};
        }
        look_later();
        return std::nullopt;
    }

    void begin(std::shared_ptr<AsyncCall> call, std::size_t worker) noexcept {
        // At exit nothing is completed.
        if (runtime_.exiting()) {
            leave(call->place, nullptr);
            return runtime_.keep_for_ever(std::move(call));
        }
        try {
            carrier_of(worker)->launch(call);
        } catch (...) {
            call->fail(current_call_error(describe_call(call->info.request, name_)));
        }
    }

    // The worker, which is started if there is none.
    Carrier carrier_of(std::size_t worker) {
        auto& member = *members_[worker];
        const std::scoped_lock starting{member.starting};
        {
            const Locked lock{*this};
            if (stopped_) {
                throw CallError(errc::stopped, "worker \"" + name_ + "\": the pool was stopped");
            }
            if (member.carrier != nullptr) return member.carrier;
        }
        auto carrier = maker_->make(hub());
        {
            const Locked lock{*this};
            if (!stopped_) return member.carrier = carrier;
        }
        maker_->retire(carrier);
        throw CallError(errc::stopped, "worker \"" + name_ + "\": the pool was stopped");
    }

    [[nodiscard]] std::size_t least_loaded() const {
        const Locked lock{*this};
        return placement_.least_loaded(Clock::now());
    }

    // A call of this worker's begins. With mutex_ held.
    void take(std::size_t worker) noexcept {
        auto& member = *members_[worker];
        if (++member.taken < options_.recycle.requests || member.outdated != nullptr) return;
        member.outdated = &recycled_used_up_;
        placement_.close(worker);
    }

    // A call is over. Returns its worker; nobody: it had none.
    std::size_t leave(std::uint64_t number, const CallError* error) noexcept {
        std::size_t worker = nobody;
        Carrier retired;
        {
            const Locked lock{*this};
            const auto place = places_.find(number);
            if (place == places_.end() || place->second.worker == nobody) return nobody;
            worker = place->second.worker;
            run_times_.add(Clock::now() - place->second.since);
            places_.erase(place);
            placement_.release(worker);
            auto& member = *members_[worker];
            const bool answered = error == nullptr || error->cause() == errc::handler;
            ++(answered ? member.served : member.failed);
            if (answered) {
                member.failures = 0;
                placement_.trust(worker);
            } else if (const auto doubt = doubt_after(error->cause()); doubt > Duration::zero()) {
                placement_.doubt(worker, deadline_after(Clock::now(), doubt));
            }
            retired = take_outdated(worker);
        }
        if (retired != nullptr) maker_->retire(std::move(retired));
        return worker;
    }

    // How long a handler may go on after such an end of its call. One that has overrun its time has
    // been replaced by then, see StuckPolicy; one that was cancelled most likely stops.
    [[nodiscard]] Duration doubt_after(errc cause) const noexcept {
        if (cause == errc::cancelled) return std::chrono::milliseconds{100};
        if (cause != errc::timeout) return Duration::zero();
        return std::min<Duration>(options_.worker.stuck.grace, std::chrono::minutes{1}) +
               std::chrono::seconds{1};
    }

    // A worker that is to be replaced, once it has no call. With mutex_ held.
    Carrier take_outdated(std::size_t worker) noexcept {
        auto& member = *members_[worker];
        if (member.outdated == nullptr || placement_.used(worker) != 0) return nullptr;
        ++*std::exchange(member.outdated, nullptr);
        member.taken = 0;
        member.started += member.carrier == nullptr ? 0 : member.carrier->generation();
        if (!is_resting(member)) placement_.open(worker);
        return std::exchange(member.carrier, nullptr);
    }

    // --- Workers that cannot be started

    static bool is_failed_start(errc cause) noexcept {
        return cause == errc::start_failed || cause == errc::start_timeout ||
               cause == errc::restart_budget_spent;
    }
    [[nodiscard]] static bool is_resting(const Member& member) noexcept {
        return member.rests_until != TimePoint::min();
    }

    // Whether a call whose worker could not be started goes to another one. If no other works, all
    // that wait fail with the same error.
    bool moves_on(std::size_t worker, const CallError& error) noexcept {
        if (!is_failed_start(error.cause())) return false;
        std::vector<std::shared_ptr<AsyncCall>> failed;
        {
            const Locked lock{*this};
            if (stopped_) return false;
            if (another_works(worker)) {
                rest(worker);
                ++moved_;
                return true;
            }
            refused_ += placement_.waiting();
            failed = withdraw_all(error);
        }
        for (const auto& call : failed) call->fail(error);
        return false;
    }

    [[nodiscard]] bool another_works(std::size_t worker) const noexcept {
        for (std::size_t i = 0; i < members_.size(); ++i) {
            const auto& member = *members_[i];
            if (i != worker && !is_resting(member)) return true;
        }
        return false;
    }

    // With mutex_ held.
    void rest(std::size_t worker) noexcept {
        auto& member = *members_[worker];
        if (is_resting(member)) return;
        const auto pause = std::chrono::seconds{1} * (1U << std::min(member.failures++, 5U));
        member.rests_until = Clock::now() + pause;
        placement_.close(worker);
    }

    void reopen(TimePoint now) noexcept {
        for (std::size_t i = 0; i < members_.size(); ++i) {
            auto& member = *members_[i];
            if (!is_resting(member) || now < member.rests_until) continue;
            member.rests_until = TimePoint::min();
            if (member.outdated == nullptr) placement_.open(i);
        }
    }

    // --- What happens by itself

    // With mutex_ held.
    void look_later() noexcept {
        if (placement_.waiting() == 0) return;
        auto when = placement_.next_look(Clock::now());
        if (!deadlines_.empty()) when = std::min(when, deadlines_.begin()->first);
        for (const auto& member : members_) {
            if (is_resting(*member)) when = std::min(when, member->rests_until);
        }
        if (when >= next_look_ || runtime_.exiting() || !runtime_.has_descriptors()) return;
        next_look_ = when;
        static_cast<void>(
            Watches::at(timer_, when, shared_from_this(), [](Pool& pool) { pool.look(); }));
    }

    // On the background thread.
    void look() {
        std::vector<std::shared_ptr<AsyncCall>> expired;
        {
            const Locked lock{*this};
            next_look_ = TimePoint::max();
            const auto now = Clock::now();
            while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
                const auto number = deadlines_.begin()->second;
                expired.push_back(places_.at(number).call);
                withdraw(places_.find(number));
                ++refused_;
            }
        }
        for (const auto& call : expired) {
            call->fail(out_of_time(*call));
        }
        place();
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
        for (const auto& member : members_) {
            if (member->carrier != nullptr) result.push_back(member->carrier);
        }
        return result;
    }

    const PoolOptions options_;
    const std::string name_;
    const std::unique_ptr<PoolMembers> maker_;
    Runtime& runtime_;

    // Guards the rest. No call is settled and no worker made or ended under it.
    mutable std::mutex mutex_;
    Placement placement_;
    std::vector<std::unique_ptr<Member>> members_{};
    Places places_{};
    std::set<std::pair<TimePoint, std::uint64_t>> deadlines_{};  // of async calls that wait
    std::uint64_t last_number_ = 0;
    bool stopped_ = false;
    WatchTimer timer_;
    TimePoint next_look_ = TimePoint::max();

    std::uint64_t moved_ = 0;
    std::uint64_t refused_ = 0;
    std::uint64_t recycled_used_up_ = 0;
    std::uint64_t recycled_restart_ = 0;
    Histogram queue_times_{};
    Histogram run_times_{};
};

}  // namespace detail
TETHER_NAMESPACE_END
