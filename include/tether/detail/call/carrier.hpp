// Why: typed code must not know how a call is carried out. All that it needs of a worker process,
// or of a worker without one, is behind these classes, so that a file that makes calls compiles
// neither supervisor nor session.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/hub.hpp>
#include <tether/exit_status.hpp>
#include <tether/options.hpp>
#include <tether/worker_state.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class AsyncCall;
class EndWait;
struct CarrierAccess;

struct CallLimits {
    Duration timeout{};
    std::uint64_t max_message_bytes{};
};

// Carries out calls, of any protocol.
class CallCarrier {
public:
    // `hub`: that of the pool that this belongs to; null: one of its own.
    explicit CallCarrier(std::shared_ptr<Hub> hub = nullptr)
        : hub_(hub != nullptr ? std::move(hub) : std::make_shared<Hub>()) {}
    CallCarrier(const CallCarrier&) = delete;
    CallCarrier& operator=(const CallCarrier&) = delete;
    virtual ~CallCarrier() = default;

    [[nodiscard]] virtual const std::string& name() const noexcept = 0;
    [[nodiscard]] virtual CallLimits call_limits() const noexcept = 0;
    // Handlers at once.
    [[nodiscard]] virtual unsigned calls_at_once() const = 0;
    // True in a forked copy of the process that made this: locks may be held by threads that do not
    // exist there.
    [[nodiscard]] virtual bool forked() const noexcept = 0;
    virtual void check_not_forked() const = 0;
    // Carries out a call on this thread. On return it is settled; throws where it was never sent.
    virtual void run(BlockingCall& call, const std::stop_token& token) = 0;
    // Sends a request that gets no answer. Throws where it could not be sent.
    virtual void post(BlockingCall& call) = 0;
    // Starts it, or starts it over. Settles it on failure; never throws.
    virtual void launch(std::shared_ptr<AsyncCall> call) noexcept = 0;
    virtual void cancel(AsyncCall& call, bool only_unsent) = 0;
    // A call that was launched here is settled, or goes on by another launch. Under no lock.
    virtual void on_settled(AsyncCall&) noexcept {}
    // Throws where the calling thread must not block: it would have to end that itself.
    virtual void check_may_block() const = 0;

    // Subscriptions to its notifications, and answers to its questions.
    [[nodiscard]] const std::shared_ptr<Hub>& hub() const noexcept { return hub_; }
    // Where this thread answers a question of the worker's, how many calls that runs at once.
    [[nodiscard]] unsigned room_for_nested_calls() const {
        return hub_->answers_on_this_thread() ? calls_at_once() : 0;
    }

private:
    const std::shared_ptr<Hub> hub_;
};

// The same with the life of what carries them. The functions do what those of `Worker` do.
class WorkerCarrier : public CallCarrier {
public:
    using CallCarrier::CallCarrier;

    virtual std::optional<ExitStatus> stop() = 0;
    virtual void kill() = 0;
    virtual void restart(std::optional<WorkerOptions> options) = 0;

    [[nodiscard]] virtual WorkerState state() const = 0;
    [[nodiscard]] virtual std::int64_t pid() const = 0;
    [[nodiscard]] virtual std::uint64_t generation() const = 0;
    [[nodiscard]] virtual std::shared_ptr<const ExitReport> last_exit() const = 0;
};

// The same with a process.
class ProcessCarrier : public WorkerCarrier {
public:
    using WorkerCarrier::WorkerCarrier;

    // Completes `wait` when the process that there is now has ended; at once where there is none.
    // If `wait` stops it, the process is ended first, as by stop(). Failures are the handler's.
    virtual void await_end(std::shared_ptr<EndWait> wait) noexcept = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
