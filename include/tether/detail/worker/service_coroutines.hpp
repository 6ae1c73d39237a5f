// Why: handlers that wait without a thread are many more than threads. One thread reads and has
// them started; those that run them never read. Apart from service.hpp only to keep both short;
// users of services include this header.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/worker/service.hpp>
#include <tether/detail/worker/service_handling.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A call, as long as its handler runs.
class Service::CoroutineCall final : public CoroutineRun {
public:
    CoroutineCall(Service& service, std::size_t slot, Task task)
        : service_(service),
          slot_(slot),
          message_(std::move(task.message)),
          request_(message_.view()),
          running_(std::in_place, service, slot, request_, answer_, std::move(task.inbox)) {}

    [[nodiscard]] std::uint16_t index() const noexcept override { return request_.index; }
    [[nodiscard]] std::string_view payload() const noexcept override { return request_.payload; }
    [[nodiscard]] std::span<Bytes> blobs() const noexcept override { return request_.blobs; }
    AsyncCallControl& control() noexcept override { return *running_; }
    Responder& responder() noexcept override { return *running_; }

    void refuse(errc cause, const std::string& text) {
        running_->send_error({cause, text, {}});
        end(nullptr);
    }
    void end(std::exception_ptr failure) noexcept override {
        try {
            if (failure != nullptr) service_.answer_failure(*running_, failure);
            service_.flush();
        } catch (...) {  // no memory, not even for its error
            service_.give_up_serving();
        }
        running_.reset();
        service_.end_coroutine(slot_);
    }

private:
    Service& service_;
    const std::size_t slot_;
    StoredMessage message_;
    IncomingMessage request_;
    OutgoingMessage answer_{};
    std::optional<Running> running_;
};

inline void Service::serve_coroutines() {
    for (auto slot = control_.calls().size(); slot != 0; --slot) free_slots_.push_back(slot - 1);
    std::jthread reader;
    try {
        const AllSignalsBlocked blocked;
        reader = std::jthread{[this] { accept_requests(); }};
    } catch (const std::system_error& error) {
        reading_trouble_ = "could not start the thread that reads: " + std::string{error.what()};
        return;
    }
    const auto run = [this](unsigned) noexcept { coroutines_->run(); };
    const auto threads = start_threads(run);
    run(0);
}

// The thread that reads may be blocked in that.
inline void Service::give_up_serving() noexcept {
    exhausted_ = true;
    live_->intake().end();
    if (channel_->owns_socket()) end_receiving(channel_->fd());
}

inline void Service::accept_requests() {
    name_this_thread("tether-reader");
    std::optional<std::size_t> slot;  // taken, and of no call yet
    const auto may_take = [&] {
        const std::scoped_lock lock{slots_mutex_};
        return !free_slots_.empty();
    };
    const auto take_slot = [&] {
        const std::scoped_lock lock{slots_mutex_};
        slot = free_slots_.back();
        free_slots_.pop_back();
        return *slot;
    };
    try {
        while (auto task = next_live_task(take_slot, may_take)) {
            const bool wanted = task->wanted;
            auto call = std::make_shared<CoroutineCall>(*this, *slot, std::move(*task));
            slot.reset();
            if (!wanted) {
                call->refuse(errc::cancelled, "cancelled before it was started");
            } else if (!coroutines_->start(call)) {
                call->refuse(errc::codec, "no such request in this protocol");
            }
        }
    } catch (const std::bad_alloc&) {
        exhausted_ = true;
        const std::scoped_lock lock{slots_mutex_};
        if (slot) free_slots_.push_back(*slot);
    }
    control_.end_forked_copy();
    live_->intake().end();
    // The parent reads no answer of what still runs.
    control_.calls().stop_all();
    helper_wake_.notify();
    std::unique_lock lock{slots_mutex_};
    slot_freed_.wait(lock, [&] { return free_slots_.size() == control_.calls().size(); });
    lock.unlock();
    coroutines_->end();
}

inline void Service::answer_failure(Running& call, const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const CodecFailure& codec) {
        call.send_error({errc::codec, codec.what(), {}});
    } catch (...) {
        call.send_error({errc::handler, {}, describe_thrown()});
    }
}

inline void Service::end_coroutine(std::size_t slot) noexcept {
    control_.calls().end(slot);
    bool reader_waits = false;
    {
        const std::scoped_lock lock{slots_mutex_};
        reader_waits = free_slots_.empty();
        free_slots_.push_back(slot);
        slot_freed_.notify_all();
    }
    if (reader_waits) live_->intake().wake();
}

}  // namespace detail
TETHER_NAMESPACE_END
