// Why: one background thread for all workers of a process. It watches descriptors and timers, and
// never stands between a blocking caller and its answer. At exit it is stopped first, and the
// workers are then ended by plain polling, whatever state the program is in.
//
// A host that turns into a daemon closes what that thread watches. The thread that notices it
// first starts a substitute, which settles what belongs to the runtime and runs what is left to
// run. It opens no descriptors, since at that moment the host may count on the numbers that the
// next files get: the next Worker makes the next runtime.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/alarm.hpp>
#include <tether/detail/background/endable.hpp>
#include <tether/detail/background/turn.hpp>
#include <tether/detail/background/wake_up_pool.hpp>
#include <tether/detail/base/block_cache.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/os/watches.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// An owner of calls that wait for a runtime's timers.
class Bereaved {
public:
    virtual void on_runtime_lost() = 0;

protected:
    ~Bereaved() = default;
};

// Of calls whose worker's descriptors were closed.
inline constexpr const char* descriptors_closed =
    "this process has closed the descriptors of its workers, as a daemon does; make a new Worker";

class Runtime final : public ReactorOwner {
public:
    // For all workers together.
    static constexpr auto exit_limit = std::chrono::seconds{3};

    // Of this process: a forked copy makes its own when it needs one. Leaked on purpose.
    static Runtime& instance() {
        auto* runtime = current().load();
        const bool stale = runtime != nullptr && runtime->epoch_ != fork_epoch().load();
        if (runtime == nullptr || stale) return create(runtime);
        return *runtime;
    }

    // The same where something begins, which may cost a system call: never one whose descriptors
    // the host has closed.
    static Runtime& usable() {
        auto& runtime = instance();
        return runtime.has_descriptors() ? runtime : replace(runtime);
    }

    // After something was posted to a context that may be that of a runtime.
    static void see_to(const asio::execution_context* context) noexcept {
        auto* runtime = current().load();
        while (runtime != nullptr && &runtime->context_ != context) runtime = runtime->before_;
        if (runtime != nullptr && runtime->lost_) runtime->wake_substitute();
    }

    // Runs `act` on the background thread.
    template <class Act>
    void post(Act act) {
        asio::post(context_, std::move(act));
        if (lost_) wake_substitute();
    }

    // Grows by one in each forked copy.
    static std::atomic<unsigned>& fork_epoch() noexcept {
        static std::atomic<unsigned> epoch{0};
        return epoch;
    }

    asio::io_context& context() noexcept { return context_; }
    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    // With the thread running, whether or not there is a worker.
    asio::io_context::executor_type started_executor() {
        const std::scoped_lock lock{mutex_};
        if (!exiting_ && !lost_) start_thread();
        return context_.get_executor();
    }
    [[nodiscard]] unsigned epoch() const noexcept { return epoch_; }
    [[nodiscard]] bool on_thread() const noexcept {
        return thread_id_.load() == std::this_thread::get_id();
    }
    // What the background thread is doing. Null on other threads.
    [[nodiscard]] Turn* turn() noexcept { return on_thread() ? &turn_ : nullptr; }
    // After this the background thread does nothing any more.
    [[nodiscard]] bool exiting() const noexcept { return exiting_.load(); }

    // False: the host has closed them. In a forked copy they are the original's.
    [[nodiscard]] bool has_descriptors() const noexcept override {
        return !lost_ && reactor_.is_there();
    }

    // Where the host may have closed them. Costs a system call.
    void look_after_descriptors() noexcept override {
        if (!has_descriptors() && epoch_ == fork_epoch().load()) lose();
    }

    // What a worker wakes the background thread by when they are closed; null where there are none
    // to be had for it.
    std::shared_ptr<Alarm> alarm() noexcept {
        try {
            const auto lock = acquire(mutex_);
            auto alarm = alarm_.lock();
            if (alarm != nullptr || !watches_closed_files) return alarm;
            alarm = std::make_shared<Alarm>(*this, context_);
            alarm->watch();
            alarm_ = alarm;
            return alarm;
        } catch (...) {
            return nullptr;
        }
    }

    // To be told when the host has closed the descriptors. False: it has.
    bool tell_of_loss(std::weak_ptr<Bereaved> bereaved) {
        const std::scoped_lock lock{mutex_};
        if (lost_) return false;
        std::erase_if(bereaved_, [](const auto& other) { return other.expired(); });
        bereaved_.push_back(std::move(bereaved));
        return true;
    }

    // Starts the thread with the first. False: the program is exiting, or the descriptors are lost;
    // nothing may be started.
    bool add(const std::shared_ptr<Endable>& process) {
        const std::scoped_lock lock{mutex_};
        if (exiting_ || lost_) return false;
        start_thread();
        processes_.insert(process);
        wake_ups_.keep(true);
        return true;
    }

    void remove(const std::shared_ptr<Endable>& process) {
        const auto lock = acquire(mutex_);
        processes_.erase(process);
        if (processes_.empty()) wake_ups_.keep(false);
    }

    [[nodiscard]] WakeUpPool& wake_ups() noexcept { return wake_ups_; }

    // For what must neither be used nor destroyed during exit.
    void keep_for_ever(std::shared_ptr<void> object) noexcept {
        try {
            const auto lock = acquire(mutex_);
            kept_.push_back(std::move(object));
        } catch (...) {  // then it is destroyed after all
        }
    }

private:
    Runtime(unsigned epoch, Runtime* before, int lowest) : epoch_(epoch), before_(before) {
        // The first timer makes Asio open all the descriptors it ever will for itself.
        asio::steady_timer first{context_, Duration::zero()};
        // A reactor to which the system refuses something does not say so: it would never call.
        first.async_wait([](const std::error_code&) {});
        for (int attempt = 0; context_.poll() == 0; ++attempt) {
            if (attempt == 50) {
                throw std::system_error(std::make_error_code(std::errc::function_not_supported),
                                        "wait for a timer of the background thread (epoll)");
            }
            nap(std::chrono::milliseconds{1});
        }
        context_.restart();
        find_reactor(lowest);
    }

    // Its number is `lowest` or above, unless another thread has let go of one in that moment, such
    // as the substitute of the runtime before, which reads files of the system.
    void find_reactor(int lowest) {
        try {
            const WakeUp watched;
            WatchedDescriptor watch{context_, watched.fd()};
            reactor_ = ReactorDescriptor::find(watched.fd(), lowest, watched.fd() + 64);
            if (reactor_.number() == -1) {
                reactor_ = ReactorDescriptor::find(watched.fd(), 0, lowest);
            }
            Watches::let_go(watch);
        } catch (const std::system_error&) {  // no descriptors: their end goes unnoticed
        }
    }

    static std::atomic<Runtime*>& current() noexcept {
        static std::atomic<Runtime*> runtime{nullptr};
        return runtime;
    }

    static Runtime& create(Runtime* stale) {
        register_hooks_once();
        auto fresh = construct(stale);
        if (!current().compare_exchange_strong(stale, fresh.get())) return *stale;
        BlockCache::instance().set_reminder(look_after_memory);
        return *fresh.release();
    }

    // Asio chooses no numbers. Low ones would be the first that a host gets again after it has
    // closed all: its own reactor could have the same as the one that was lost, whose thread might
    // still use them. So each runtime has higher numbers than the one before.
    // It also makes the kernel grow the table of descriptors before this process has a second
    // thread: afterwards the first high number takes some 10 ms.
    static std::unique_ptr<Runtime> construct(Runtime* before) {
        const auto epoch = fork_epoch().load();
        const int used = before == nullptr ? -1 : before->reactor_.number();
        // Asio has three, side by side.
        const int lowest = std::max(Descriptor::usual_lowest(), used + 4);
        try {
            for (int attempt = 0;; ++attempt) {
                const LowDescriptorsHeld held{lowest};
                std::unique_ptr<Runtime> made{new Runtime{epoch, before, lowest}};
                const int number = made->reactor_.number();
                if (number == -1 || number >= lowest || attempt == 10) return made;
            }
        } catch (const std::system_error&) {  // they are scarce
            const StandardDescriptorsHeld held;
            return std::unique_ptr<Runtime>{new Runtime{epoch, before, 0}};
        }
    }

    // Makes another runtime take the place of one whose descriptors are closed.
    static Runtime& replace(Runtime& lost) {
        lost.lose();
        auto* const now = current().load();
        return now == &lost ? create(now) : *now;
    }

    // The background thread ends, unless it sleeps: then nothing wakes it any more.
    void lose() noexcept {
        if (lost_.exchange(true)) return;
        ++descriptor_losses();
        context_.stop();
        try {
            const AllSignalsBlocked blocked;
            const auto lock = acquire(mutex_);
            if (!exiting_) substitute_ = std::thread{[this] { substitute(); }};
        } catch (...) {  // no thread, or no memory: the workers end by themselves
        }
    }

    // Of the thread that lets go of a large block, also in a forked copy.
    static bool look_after_memory() noexcept {
        auto* runtime = current().load();
        if (runtime->epoch_ != fork_epoch().load() || runtime->exiting() || runtime->lost_) {
            return false;
        }
        try {
            asio::post(runtime->context_, [runtime] { runtime->give_back_memory_later(); });
            return true;
        } catch (...) {  // no memory
            return false;
        }
    }

    void give_back_memory_later() noexcept {
        auto& cache = BlockCache::instance();
        try {
            give_back_.expires_after(BlockCache::look_period);
            give_back_.async_wait([this, &cache](std::error_code error) {
                if (!error && cache.give_back()) give_back_memory_later();
            });
        } catch (...) {  // no memory: at the next block
            cache.set_reminder(look_after_memory);
        }
    }

    static void register_hooks_once() {
        [[maybe_unused]] static const bool once = [] {
            call_in_forked_copies([] {
                fork_epoch().fetch_add(1);
                StderrSink::start_over();
            });
            call_at_exit([] { at_exit(); });
            return true;
        }();
    }

    static void at_exit() noexcept {
        auto* runtime = current().load();
        // In a forked copy there is nothing that belongs to it.
        if (runtime == nullptr || runtime->epoch_ != fork_epoch().load()) return;
        try {
            runtime->end_everything();
        } catch (...) {  // held up, or no memory: the workers notice the end of this process
        }
    }

    void start_thread() {
        if (thread_.joinable()) return;
        const AllSignalsBlocked blocked;
        if (!work_) work_.emplace(context_.get_executor());
        try {
            thread_ = std::thread([this] { run(); });
        } catch (const std::system_error& error) {
            throw std::system_error(error.code(), "start the background thread");
        }
    }

    void run() {
        name_this_thread("tether");
        thread_id_.store(std::this_thread::get_id());
        context_.run();
        finished_ = true;
    }

    void substitute() noexcept {
        name_this_thread("tether");
        try {
            end_forsaken(take_forsaken(), TimePoint::max());
        } catch (...) {  // no memory: the workers notice the end of their control channels
        }
        stand_in();
        substitute_finished_ = true;
    }

    // Runs what was and what will be posted here. The old thread has ended, or sleeps for ever,
    // unless a handler holds it up.
    void stand_in() {
        for (int round = 0; round < 50 && !finished_; ++round) nap(std::chrono::milliseconds{1});
        std::unique_lock lock{mutex_};
        while (!exiting_) {
            lock.unlock();
            context_.restart();
            context_.poll();
            context_.stop();
            lock.lock();
            posted_.wait(lock, [this] { return exiting_ || std::exchange(has_posts_, false); });
        }
    }

    void wake_substitute() noexcept {
        try {
            const auto lock = acquire(mutex_);
            has_posts_ = true;
            posted_.notify_one();
        } catch (const HeldUp&) {  // at exit
        }
    }

    std::vector<std::shared_ptr<Endable>> take_forsaken() {
        std::vector<std::shared_ptr<Endable>> left;
        std::vector<std::weak_ptr<Bereaved>> bereaved;
        {
            const auto lock = acquire(mutex_);
            left.assign(processes_.begin(), processes_.end());
            bereaved.swap(bereaved_);
            if (thread_.joinable()) thread_.detach();
        }
        for (const auto& process : left) {
            or_held_up([&] { return process->forsake_descriptors(), true; });
        }
        for (const auto& weak : bereaved) {
            if (const auto there = weak.lock()) there->on_runtime_lost();
        }
        return left;
    }

    static void end_forsaken(const std::vector<std::shared_ptr<Endable>>& left, TimePoint limit) {
        end_all(left, StopLadder::Step::kill, limit, false);
    }

    // Where a signal handler has interrupted Tether nothing is done: this thread may hold any lock,
    // that of the allocator included, and the workers notice the end of this process.
    void end_everything() {
        const BoundedLocks bounded{std::chrono::milliseconds{200}};
        if (is_interrupted()) {
            exiting_ = true;
            return;
        }
        std::vector<std::shared_ptr<Endable>> left;
        {
            const auto lock = acquire(mutex_);
            if (exiting_.exchange(true)) return;
            left.assign(processes_.begin(), processes_.end());
        }
        for (auto* lost = before_; lost != nullptr; lost = lost->before_) lost->stop_standing_in();
        if (!has_descriptors()) {
            if (!lost_.exchange(true)) ++descriptor_losses();
            context_.stop();
            stop_standing_in();
            return end_forsaken(take_forsaken(), deadline_after(Clock::now(), exit_limit));
        }
        context_.stop();
        stop_thread(thread_, finished_);
        end_all(left, StopLadder::Step::ask, deadline_after(Clock::now(), exit_limit), true);
    }

    void stop_standing_in() {
        if (epoch_ != fork_epoch().load()) return;
        exiting_ = true;
        wake_substitute();
        std::thread substitute;
        {
            const auto lock = acquire(mutex_);
            substitute.swap(substitute_);
        }
        stop_thread(substitute, substitute_finished_);
    }

    // User code may hold the thread up: then it is left behind after a second. By rounds: no clock
    // is needed, and a condition variable may trust one that stands still.
    static void stop_thread(std::thread& thread, const std::atomic<bool>& finished) {
        if (!thread.joinable()) return;
        const bool here = thread.get_id() == std::this_thread::get_id();
        for (int round = 0; round < 1000 && !here && !finished; ++round) {
            nap(std::chrono::microseconds{round < 50 ? 20 : 1000});
        }
        if (finished) {
            thread.join();
        } else {
            thread.detach();
        }
    }

    const unsigned epoch_;
    Runtime* const before_;
    asio::io_context context_{1};
    const asio::any_io_executor executor_{context_.get_executor()};
    asio::steady_timer give_back_{context_};
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
    std::mutex mutex_;
    std::unordered_set<std::shared_ptr<Endable>> processes_;
    std::vector<std::shared_ptr<void>> kept_;
    std::vector<std::weak_ptr<Bereaved>> bereaved_;
    WakeUpPool wake_ups_;
    ReactorDescriptor reactor_;
    std::weak_ptr<Alarm> alarm_;
    std::thread thread_;
    std::thread substitute_;
    std::condition_variable posted_;  // to a context whose descriptors are lost
    bool has_posts_ = false;
    Turn turn_;  // the thread's
    std::atomic<std::thread::id> thread_id_{};
    std::atomic<bool> finished_{false};
    std::atomic<bool> substitute_finished_{false};
    std::atomic<bool> lost_{false};
    std::atomic<bool> exiting_{false};
};

}  // namespace detail
TETHER_NAMESPACE_END
