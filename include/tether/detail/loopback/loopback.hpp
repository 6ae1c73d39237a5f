// Why: what a LoopbackWorker is when its handlers come and go: one session at a time, a new one
// when a call needs it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/reason.hpp>
#include <tether/detail/loopback/loopback_log.hpp>
#include <tether/detail/loopback/loopback_session.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>
#include <tether/options.hpp>
#include <tether/worker_state.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class LoopbackCarrier final : public WorkerCarrier {
    using Lock = std::unique_lock<std::mutex>;

public:
    LoopbackCarrier(WorkerOptions options, MakeHandler make, std::shared_ptr<Hub> hub)
        : WorkerCarrier(std::move(hub)),
          options_(named(std::move(options))),
          make_(std::move(make)),
          log_(std::make_shared<LoopbackLog>(options_.name, options_.output)) {}

    [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }

    // True in a forked copy of the process that made this.
    [[nodiscard]] bool forked() const noexcept override {
        return epoch_ != Runtime::fork_epoch().load();
    }
    // Before anything that locks: the lock may be held by a thread that does not exist here.
    void check_not_forked() const override {
        if (forked()) throw in_forked_copy(name());
    }

    // --- CallCarrier

    void check_may_block() const override {
        check_not_forked();
        if (Runtime::instance().on_thread()) throw on_background_thread(name());
    }

    [[nodiscard]] CallLimits call_limits() const noexcept override {
        return {options_.call_timeout, options_.max_message_bytes};
    }
    [[nodiscard]] unsigned calls_at_once() const override {
        const Lock lock{mutex_};
        return current_ == nullptr ? options_.concurrency : current_->calls_at_once();
    }

    void run(BlockingCall& call, const std::stop_token& token) override {
        if (Runtime::instance().on_thread()) {
            throw on_background_thread(name());
        }
        if (!token.stop_possible()) return run(call);
        call.interruptible = true;
        Cancellable cancellable{call};
        const std::stop_callback on_stop{token, [&] { cancel(cancellable); }};
        run(call, &cancellable);
    }

    void post(BlockingCall& call) override {
        while (!session_for(call, nullptr)->connection().post(call)) {
        }
    }

    void launch(std::shared_ptr<AsyncCall> call) noexcept override {
        try {
            launch_or_throw(call);
        } catch (...) {
            call->fail(current_call_error(describe_call(call->info.request, name())));
        }
    }

    void cancel(AsyncCall& call, bool only_unsent) override {
        if (forked()) return;  // it is the original's
        const auto ticket = call.ticket();
        if (ticket.connection != nullptr) ticket.connection->cancel(ticket.number, only_unsent);
    }

    // --- Ending

    // Ends all calls, waits for the handlers that run as long as StopPolicy says, destroys the
    // handler.
    std::optional<ExitStatus> stop() override {
        end({errc::stopped, "it was stopped"}, true);
        return std::nullopt;
    }
    void kill() override { end({errc::worker_killed, "it was killed"}, false); }
    void restart(std::optional<WorkerOptions>) override {
        stop();
        const Lock lock{mutex_};
        stopped_ = false;
    }

    // At the destructor of a LoopbackWorker, which may be part of the exit of the program. False:
    // another thread is held up inside of this, which must not be destroyed.
    bool retire() noexcept {
        const BoundedLocks bounded{std::chrono::milliseconds{500}};
        try {
            stop();
            return !bounded.spent();
        } catch (const HeldUp&) {
            return false;
        } catch (...) {  // no memory: its threads own what they use
            return true;
        }
    }

    [[nodiscard]] std::int64_t pid() const override { return 0; }
    [[nodiscard]] std::shared_ptr<const ExitReport> last_exit() const override { return nullptr; }
    [[nodiscard]] std::uint64_t generation() const override {
        const Lock lock{mutex_};
        return generation_;
    }
    [[nodiscard]] WorkerState state() const override {
        const Lock lock{mutex_};
        if (stopped_) return WorkerState::stopped;
        return takes_calls() ? WorkerState::ready : WorkerState::ended;
    }

private:
    // A blocking call that a stop token may end, wherever it waits.
    struct Cancellable {
        BlockingCall& call;
        std::shared_ptr<LoopbackSession> session{};  // where it was sent to
        bool cancelled = false;
    };

    static WorkerOptions named(WorkerOptions options) {
        if (options.name.empty()) options.name = "loopback";
        return options;
    }

    void run(BlockingCall& call, Cancellable* cancellable = nullptr) {
        while (!session_for(call, cancellable)->carry_out(call)) {
        }
    }

    void cancel(Cancellable& cancellable) {
        std::shared_ptr<LoopbackSession> session;
        {
            const Lock lock{mutex_};
            cancellable.cancelled = true;
            session = cancellable.session;
            changed_.notify_all();
        }
        if (session != nullptr) session->cancel(cancellable.call);
    }

    void launch_or_throw(const std::shared_ptr<AsyncCall>& call) {
        check_not_forked();
        for (;;) {
            if (call->cancel_requested) {
                throw refusal(*call, name(), errc::cancelled, "cancelled before it could be sent");
            }
            const auto session = session_for(*call, nullptr);
            call->hold(call);
            const auto launch = ++call->launches;
            const auto number = session->submit(*call);
            if (number == 0) continue;
            if (!call->may_be_cancelled() && call->feed == nullptr) return;
            call->set_ticket({launch, number, {session, &session->connection()}});
            call->on_sent();
            if (call->cancel_requested) session->connection().cancel(number, false);
            return;
        }
    }

    // A session that takes calls. Makes the handler where there is none, and waits where another
    // thread does.
    std::shared_ptr<LoopbackSession> session_for(const Call& call, Cancellable* cancellable) {
        Lock lock{mutex_};
        for (;;) {
            if (stopped_) throw CallError(errc::stopped, "worker \"" + name() + "\" was stopped");
            if (cancellable != nullptr && cancellable->cancelled) {
                throw refusal(call, name(), errc::cancelled, "cancelled before it could be sent");
            }
            if (takes_calls()) {
                if (cancellable != nullptr) cancellable->session = current_;
                return current_;
            }
            if (starting_ == std::thread::id{}) {
                start(lock);
            } else {
                wait_for_start(call, lock);
            }
        }
    }

    void wait_for_start(const Call& call, Lock& lock) {
        if (starting_ == std::this_thread::get_id()) {
            throw refusal(call, name(), errc::would_deadlock,
                          "its handler is being made, by this thread");
        }
        if (call.deadline() == TimePoint::max()) return changed_.wait(lock);
        if (Clock::now() >= call.deadline()) {
            throw refusal(call, name(), errc::timeout, "its handler could not be made in time");
        }
        changed_.wait_until(lock, call.deadline());
    }

    // The handler's constructor is user code: no lock is held then.
    void start(Lock& lock) {
        struct Starting {
            Starting(LoopbackCarrier& the_carrier, Lock& the_lock)
                : carrier(the_carrier), lock(the_lock) {
                carrier.starting_ = std::this_thread::get_id();
                lock.unlock();
            }
            Starting(const Starting&) = delete;
            Starting& operator=(const Starting&) = delete;
            ~Starting() {
                lock.lock();
                carrier.starting_ = {};
                carrier.changed_.notify_all();
            }
            LoopbackCarrier& carrier;
            Lock& lock;
        };
        const auto generation = ++generation_;
        set_aside();
        std::shared_ptr<LoopbackSession> session;
        {
            const Starting starting{*this, lock};
            session = make_session(generation);
        }
        current_ = std::move(session);
    }

    std::shared_ptr<LoopbackSession> make_session(std::uint64_t generation) const {
        std::unique_ptr<AnyHandler> handler;
        try {
            handler = make_();
        } catch (ForcedUnwind&) {
            throw;
        } catch (...) {
            throw CallError(errc::start_failed, "worker \"" + name() +
                                                    "\": its handler's constructor threw: " +
                                                    describe_thrown_in_words());
        }
        try {
            return LoopbackSession::start(options_, generation, std::move(handler), hub(), log_);
        } catch (const std::system_error& error) {
            throw CallError(errc::start_failed,
                            "worker \"" + name() + "\" could not be started: " + error.what(),
                            nullptr, error.code());
        }
    }

    void end(const Reason& reason, bool for_good) {
        std::vector<std::shared_ptr<LoopbackSession>> sessions;
        {
            auto lock = acquire(mutex_);
            stopped_ = stopped_ || for_good;
            changed_.notify_all();
            wait_until_changed(changed_, lock, [&] {
                return starting_ == std::thread::id{} || starting_ == std::this_thread::get_id();
            });
            set_aside();
            sessions = ending_;
        }
        for (const auto& session : sessions) session->end(reason);
        for (const auto& session : sessions) session->wait_for_end(options_.stop);
        const auto lock = acquire(mutex_);
        std::erase_if(ending_, [&](const auto& session) {
            return std::find(sessions.begin(), sessions.end(), session) != sessions.end();
        });
    }

    // --- With mutex_ held

    [[nodiscard]] bool takes_calls() const {
        return current_ != nullptr && current_->connection().takes_calls();
    }

    // Whether it is ended now or has ended by itself, stop() waits for it.
    void set_aside() {
        std::erase_if(ending_, [](const auto& session) { return session->finished(); });
        if (current_ == nullptr) return;
        ending_.push_back(current_);
        current_ = nullptr;
    }

    const WorkerOptions options_;
    const MakeHandler make_;
    const std::shared_ptr<LoopbackLog> log_;
    const unsigned epoch_ = Runtime::fork_epoch().load();
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::shared_ptr<LoopbackSession> current_;
    std::vector<std::shared_ptr<LoopbackSession>> ending_;
    std::thread::id starting_{};  // the thread that makes the next
    bool stopped_ = false;
    std::uint64_t generation_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
