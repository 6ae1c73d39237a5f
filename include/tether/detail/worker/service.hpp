// Why: the worker's side of the connection. The thread that reads a request handles it and answers
// it; Answers to requests that arrived together leave together, and never late: a helper thread
// sends what a slow handler would hold up.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/spin.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/coroutines.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/protocol/observed_run.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/detail/wire/ledger.hpp>
#include <tether/detail/wire/stored_message.hpp>
#include <tether/detail/worker/live.hpp>
#include <tether/detail/worker/own_observer.hpp>
#include <tether/detail/worker/service_control.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class Service final : private LiveHost {
public:
    Service(std::unique_ptr<Channel> channel, ServiceControl& control, AnyHandler& handler,
            const Bootstrap& bootstrap, LedgerWriter ledger = LedgerWriter{})
        : channel_(std::move(channel)),
          control_(control),
          handler_(handler),
          ledger_(ledger),
          concurrency_(bootstrap.concurrency),
          max_message_bytes_(bootstrap.max_message_bytes),
          mark_severity_(bootstrap.mark_severity),
          spin_(std::chrono::microseconds{
              static_cast<std::int64_t>(std::min<std::uint64_t>(bootstrap.spin_us, 1000))}) {
        control_.set_connection(channel_.get());
        coroutines_ = handler.coroutines();
        if (handler.is_live() || coroutines_ != nullptr) {
            live_.emplace(*channel_, writing_, control, static_cast<LiveHost&>(*this),
                          max_message_bytes_, spin_, handler.is_live());
        }
        if (handler.is_live()) {
            outlet_ = std::make_shared<LiveOutlet>(*live_);
            handler.connect(outlet_);
        }
    }
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    ~Service() {
        if (live_) live_->intake().end();
        if (outlet_ != nullptr) outlet_->close();
        control_.set_connection(nullptr);
        control_.set_helper(nullptr);
        if (!helper_.joinable()) return;
        helper_ends_.store(true);
        helper_wake_.notify();
        helper_.join();
    }

    void welcome(const Secret& secret, const ProtocolId& protocol) {
        OutgoingMessage message;
        Greeting{secret, protocol}.append_to(message.payload());
        message.seal();
        message.open(FrameType::welcome, 0, 0);
        send(message);
        flush();
    }

    // Serves until the worker shall leave or the connection ends. Returns what else ended it, or an
    // empty text. A handler may end this thread: then that goes on from here once all is over.
    std::string run() {
        if (coroutines_ != nullptr) {
            serve_coroutines();
        } else {
            const auto threads = start_threads();
            serve_on(0);
        }
        return failure();
    }

    // How many handlers may run at once.
    [[nodiscard]] unsigned threads() const noexcept { return threads_.load(); }

private:
    using Lock = Channel::Lock;

    static constexpr auto patience_when_leaving = std::chrono::milliseconds{100};

    // Counted from now. Without a limit the clock is not read.
    static TimePoint call_deadline(const Timeouts& timeouts) noexcept {
        if (timeouts.call_us == 0) return TimePoint::max();
        const auto most = std::uint64_t{1} << 53;
        const auto left = static_cast<std::int64_t>(std::min(timeouts.call_us, most));
        return deadline_after(Clock::now(), std::chrono::microseconds{left});
    }
    static TimePoint run_deadline(const Timeouts& timeouts) noexcept {
        if (timeouts.run_ms == 0) return TimePoint::max();
        return deadline_after(Clock::now(), std::chrono::milliseconds{timeouts.run_ms});
    }

    // A call that is handled; defined in service_handling.hpp.
    class Running;

    std::vector<std::jthread> start_threads() {
        return start_threads([this](unsigned slot) { take_turns(slot); });
    }
    // Beside this one. Starts fewer if the system refuses more.
    template <class Serve>
    std::vector<std::jthread> start_threads(Serve serve) {
        std::vector<std::jthread> threads;
        threads.reserve(concurrency_);
        try {
            for (unsigned slot = 1; slot < concurrency_; ++slot) {
                threads.emplace_back([serve, slot] { serve(slot); });
            }
        } catch (const std::system_error& error) {
            threads_.store(static_cast<unsigned>(threads.size()) + 1);
            std::fprintf(stderr,
                         "tether: this worker runs %zu handlers at once instead of %u: %s\n",
                         threads.size() + 1, concurrency_, error.what());
        }
        return threads;
    }

    std::string failure() {
        if (!reading_trouble_.empty()) return reading_trouble_;
        if (exhausted_ || (live_ && live_->intake().is_exhausted())) {
            return "ran out of memory with a request or an answer";
        }
        if (live_ && live_->intake().receive_error() != 0) {
            receive_error_ = live_->intake().receive_error();
        }
        const Lock lock{writing_};
        if (!channel_->owns_socket()) {
            return "lost its connection: code in its process has closed descriptors that are "
                   "Tether's, or has put files of its own in their place";
        }
        if (const auto error = channel_->send_error(); error && !is_hang_up(error)) {
            return "could not send an answer: " + error.message();
        }
        if (const int error = receive_error_; error != 0) {
            return "could not receive a request: " + std::system_category().message(error);
        }
        return {};
    }

    // --- Reading

    void serve_on(std::size_t slot) {
        if (concurrency_ == 1 && !live_) return run_alone();
        take_turns(slot);
    }

    // Handles on the thread that reads, straight from the reader's buffer.
    void run_alone() {
        OutgoingMessage answer;
        auto& reader = channel_->reader();
        try {
            for (;;) {
                while (auto request = reader.next()) {
                    if (control_.leaving() || !ledger_.begin(request->number)) break;
                    others_wait_ = reader.has_buffered();
                    const bool wanted = begin(0, *request);
                    handle(0, wanted, *request, answer, nullptr);
                    if (others_wait_) hold_back();
                }
                if (!flush() || control_.leaving() || !receive()) return;
            }
        } catch (const FramingError&) {
            // Tether's parents never send this. The parent is told by the end of this process.
        } catch (const std::bad_alloc&) {
            give_up_for_memory();
        }
        flush();
    }

    // Notes the request as begun: unlike those behind it, it must not go to the next process.
    void give_up_for_memory() noexcept {
        static_cast<void>(ledger_.begin(channel_->reader().looked_at()));
        exhausted_ = true;
    }

    // One of several threads: takes a request, lets the next thread read, handles it.
    void take_turns(std::size_t slot) {
        try {
            OutgoingMessage answer;
            while (auto task = next_task(slot)) {
                handle(slot, task->wanted, task->message.view(), answer, std::move(task->inbox));
                if (!flush()) break;
            }
        } catch (const std::bad_alloc&) {
            exhausted_ = true;
        }
        control_.end_forked_copy();
        if (live_) live_->intake().end();
        // Wakes the other threads: no further request will come.
        if (channel_->owns_socket()) end_receiving(channel_->fd());
    }

    struct Task {
        StoredMessage message;
        bool wanted;
        std::shared_ptr<Inbox> inbox{};  // of a live protocol
    };

    std::optional<Task> next_live_task(std::size_t slot) {
        return next_live_task([slot] { return slot; }, [] { return true; });
    }
    // The slot is taken once there is a request.
    template <class TakeSlot, class MayTake>
    std::optional<Task> next_live_task(TakeSlot take_slot, MayTake may_take) {
        bool wanted = false;
        const auto accept = [&](const Intake::Request& next, std::uint64_t oldest) {
            const auto& message = next.message;
            if (!ledger_.begin(message.number)) return false;
            wanted = begin(take_slot(), message.number, message.timeouts, oldest);
            return true;
        };
        auto request = live_->intake().next_request(accept, may_take);
        if (live_->intake().is_exhausted()) {
            static_cast<void>(ledger_.begin(live_->intake().looked_at()));
        }
        if (!request) return std::nullopt;
        return Task{std::move(request->message), wanted, std::move(request->inbox)};
    }

    std::optional<Task> next_task(std::size_t slot) {
        if (live_) return next_live_task(slot);
        const std::scoped_lock lock{reading_};
        try {
            while (!control_.leaving()) {
                if (auto request = channel_->reader().next()) {
                    if (!ledger_.begin(request->number)) break;
                    const bool wanted = begin(slot, *request);
                    return Task{StoredMessage{*request}, wanted};
                }
                if (!receive()) break;
            }
        } catch (const FramingError&) {
        } catch (const std::bad_alloc&) {
            give_up_for_memory();
        }
        return std::nullopt;
    }

    bool receive() {
        auto& reader = channel_->reader();
        const auto space = reader.space();
        std::ptrdiff_t size = -1;
        const bool found = spin_([&] {
            size = receive_some(channel_->fd(), space, Blocking::no);
            return size >= 0 || !would_block();
        });
        if (!found) size = receive_some(channel_->fd(), space, Blocking::yes);
        if (size < 0 && would_block()) return look_up();
        if (size < 0 && !is_hang_up(last_error())) receive_error_ = last_error().value();
        if (size <= 0) return false;
        reader.received(static_cast<std::size_t>(size));
        if (own_tracer() != nullptr) received_ = Clock::now();
        return true;
    }

    // The socket limits how long a receive waits, or a handler has made it non-blocking. False: it
    // is lost.
    bool look_up() {
        PollItem items[] = {readable(channel_->fd()), readable(control_.leaving_fd())};
        wait_ready(items, Clock::now() + std::chrono::seconds{1});
        return channel_->owns_socket();
    }

    // --- Handling

    // Where the request was read, so that cancellations meet requests in their order.
    bool begin(std::size_t slot, const IncomingMessage& request) {
        if (request.type != FrameType::request) throw FramingError("not a request");
        const auto oldest = channel_->reader().oldest_open(request.number);
        if (own_tracer() != nullptr) observe_queued(request.number, received_);
        return begin(slot, request.number, request.timeouts, oldest);
    }
    bool begin(std::size_t slot, std::uint64_t number, const Timeouts& timeouts,
               std::uint64_t oldest) {
        const auto overruns = run_deadline(timeouts);
        const bool wanted = control_.calls().begin(slot, number, oldest, overruns);
        if (overruns != TimePoint::max()) control_.watch_overrun();
        return wanted;
    }

    // Defined in service_handling.hpp.
    void handle(std::size_t slot, bool wanted, const IncomingMessage& request,
                OutgoingMessage& answer, std::shared_ptr<Inbox> inbox);
    void answer_or_error(std::size_t slot, const IncomingMessage& request, Running& call);

    // --- Handlers that wait without a thread: defined in service_coroutines.hpp

    class CoroutineCall;
    void serve_coroutines();
    void accept_requests();
    void answer_failure(Running& call, const std::exception_ptr& failure);
    void end_coroutine(std::size_t slot) noexcept;
    void give_up_serving() noexcept;

    // --- Answering

    // Small answers wait for flush(); large ones are sent from where they are.
    void send(OutgoingMessage& message) {
        Lock lock{writing_};
        held_ = true;
        if (message.wire_size() <= Outbox::copy_limit) {
            if (others_wait_) held_ = ledger_.hold(message, !channel_->has_output());
            channel_->queue(message);
            return;
        }
        channel_->send(message, lock);
        while (!message.done() && !channel_->broken()) wait_for_room(lock);
        if (!message.done()) channel_->release(message, lock);
        message.drop_large_storage();  // it may be long until the next answer
    }

    // False: nothing can be sent any more.
    bool flush() {
        control_.end_forked_copy();
        Lock lock{writing_};
        channel_->flush(lock);
        while (channel_->has_output()) wait_for_room(lock);
        return !channel_->broken();
    }

    // Another request is here already: both answers leave together, unless its handler takes long.
    // An answer that would not survive this process leaves now.
    void hold_back() {
        if (!held_) {
            flush();
            return;
        }
        Lock lock{writing_};
        send_soon(lock);
    }

    // The helper stops ticking only when nothing is held back. Releases the lock.
    void send_soon(Lock& lock) override {
        const bool ticks = std::exchange(ticking_, true);
        lock.unlock();
        if (ticks) return;
        try {
            ensure_helper();
        } catch (const std::system_error&) {  // the system refuses a thread
            lock.lock();
            ticking_ = false;
            lock.unlock();
            flush();
            return;
        }
        helper_wake_.notify();
    }

    // The parent always reads while it writes, so this side may block without reading. But a parent
    // with no call pending reads nothing, and a late answer must not keep this process.
    void wait_for_room(Lock& lock) {
        lock.unlock();
        PollItem items[] = {writable(channel_->fd()), readable(control_.leaving_fd())};
        wait_ready(items, TimePoint::max());
        // True as well if the system refuses to wait: then the guard ends this process.
        const bool leaving = !is_ready(items[0]);
        if (leaving && wait_ready({items, 1}, Clock::now() + patience_when_leaving) <= 0) {
            channel_->shut_down();
        }
        lock.lock();
        channel_->flush(lock);
    }

    // --- The helper: stop callbacks, and answers that wait for a slow handler

    void ensure_helper() override {
        if (control_.in_forked_copy()) return;  // the copy would send what was held back
        const std::scoped_lock lock{helper_mutex_};
        if (helper_.joinable()) return;
        const AllSignalsBlocked blocked;
        helper_ = std::thread{[this] { help(); }};
        control_.set_helper(&helper_wake_);
    }

    void help() {
        name_this_thread("tether-helper");
        int quiet_ticks = 0;
        bool ticking = false;
        while (!helper_ends_.load()) {
            PollItem item = readable(helper_wake_.fd());
            wait_ready({&item, 1},
                       ticking ? Clock::now() + std::chrono::milliseconds{1} : TimePoint::max());
            helper_wake_.drain();
            control_.calls().fire();
            if (live_) live_->intake().wake();
            Lock lock{writing_};
            if (ticking && live_) live_->on_tick();
            if (ticking && channel_->has_output()) {
                channel_->flush(lock);
                quiet_ticks = 0;
            } else if (ticking && ++quiet_ticks == 50) {
                ticking_ = false;
                quiet_ticks = 0;
            }
            ticking = ticking_;
        }
    }

    std::unique_ptr<Channel> channel_;
    ServiceControl& control_;
    AnyHandler& handler_;
    LedgerWriter ledger_;
    const unsigned concurrency_;
    std::atomic<unsigned> threads_{concurrency_};  // as many as the system gave
    const std::uint64_t max_message_bytes_;
    const bool mark_severity_;
    Spin spin_;  // of the thread that reads

    std::atomic<bool> exhausted_{false};  // no memory for a request or an answer
    std::atomic<int> receive_error_{0};

    TimePoint received_ = Clock::now();  // what was read last, where that is traced

    std::mutex reading_;
    std::mutex writing_;

    std::mutex helper_mutex_;
    std::thread helper_;
    WakeUp helper_wake_;
    std::atomic<bool> helper_ends_{false};
    bool ticking_ = false;  // the helper flushes held answers; under writing_

    // Used only where one thread reads and handles.
    bool others_wait_ = false;  // another request has arrived behind the present one
    bool held_ = true;          // its answer would survive this process

    std::optional<Live> live_;  // of a live protocol, and where handlers wait without a thread
    std::shared_ptr<LiveOutlet> outlet_;

    Coroutines* coroutines_ = nullptr;
    std::mutex slots_mutex_;
    std::condition_variable slot_freed_;
    std::vector<std::size_t> free_slots_;  // for calls of coroutines_
    std::string reading_trouble_{};
};

}  // namespace detail
TETHER_NAMESPACE_END
