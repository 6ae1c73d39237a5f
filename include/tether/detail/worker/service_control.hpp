// Why: the request loop and the thread that watches over it share a few facts: which calls run,
// whether to leave, and what to wake then. The loop knows no more of where it runs than this, so
// that it serves in a worker process, whose guard is that thread, and in a LoopbackWorker.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/worker/active_calls.hpp>
#include <tether/logging.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Outlives the Service that is made with it.
class ServiceControl {
public:
    ServiceControl(const ServiceControl&) = delete;
    ServiceControl& operator=(const ServiceControl&) = delete;

    [[nodiscard]] ActiveCalls& calls() noexcept { return calls_; }
    // The worker shall leave: finish what runs, take nothing new.
    [[nodiscard]] bool leaving() const noexcept { return leaving_.load(); }
    // Becomes readable then.
    [[nodiscard]] int leaving_fd() const noexcept { return leave_.fd(); }
    // Told when a handler was asked to stop.
    void set_helper(const WakeUp* helper) noexcept {
        const std::scoped_lock lock{lent_mutex_};
        helper_ = helper;
    }
    // Ended when the worker shall leave, so that the thread that reads from it wakes up.
    void set_connection(const Channel* connection) noexcept {
        const std::scoped_lock lock{lent_mutex_};
        connection_ = connection;
        if (leaving() && connection != nullptr) end_receiving(connection->fd());
    }
    // This process is a copy of the one that serves.
    [[nodiscard]] bool in_forked_copy() const noexcept { return forks_ != ForkedCopy::forks(); }
    // It has no part in what that began: it ends without a word.
    void end_forked_copy() const noexcept {
        if (in_forked_copy()) end_at_once(0);
    }

    // A call with a run timeout has begun.
    virtual void watch_overrun() noexcept = 0;
    // What a handler says, on its thread.
    virtual void log(Severity severity, std::string_view text) = 0;
    // A handler has ended its thread (pthread_exit, or a cancellation), and its error has left.
    // Returns where the other threads of this process are none of the worker's: then this one
    // serves on, and ends together with the service.
    virtual void on_thread_ended() noexcept = 0;

protected:
    explicit ServiceControl(std::size_t slots) : calls_(slots) {}
    ~ServiceControl() = default;

    void cancel(std::uint64_t number) noexcept {
        calls_.cancel(number);
        tell_helper();
    }

    void tell_helper() noexcept {
        const std::scoped_lock lock{lent_mutex_};
        if (helper_ != nullptr) helper_->notify();
    }

    void leave(void (*end)(int) noexcept) noexcept {
        leaving_.store(true);
        calls_.stop_all();
        tell_helper();
        leave_.notify();
        const std::scoped_lock lock{lent_mutex_};
        if (connection_ != nullptr && connection_->owns_socket()) end(connection_->fd());
    }

private:
    const unsigned forks_ = ForkedCopy::forks();
    ActiveCalls calls_;
    WakeUp leave_;
    std::atomic<bool> leaving_{false};
    std::mutex lent_mutex_;  // what the service lends
    const Channel* connection_ = nullptr;
    const WakeUp* helper_ = nullptr;
};

}  // namespace detail
TETHER_NAMESPACE_END
