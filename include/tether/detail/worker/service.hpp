// Why: the worker's side of the connection. The thread that reads a request handles it and answers
// it; answers to requests that arrived together leave together, and never late: a helper thread
// sends what a slow handler would hold up.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/spin.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/ledger.hpp>
#include <tether/detail/wire/line_splitter.hpp>
#include <tether/detail/worker/active_calls.hpp>
#include <tether/detail/worker/guard.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
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

class Service {
public:
    Service(std::unique_ptr<Channel> channel, Guard& guard, AnyHandler& handler,
            const Bootstrap& bootstrap, LedgerWriter ledger = LedgerWriter{})
        : channel_(std::move(channel)),
          guard_(guard),
          handler_(handler),
          ledger_(ledger),
          concurrency_(bootstrap.concurrency),
          max_message_bytes_(bootstrap.max_message_bytes),
          mark_severity_(bootstrap.mark_severity),
          spin_(std::chrono::microseconds{
              static_cast<std::int64_t>(std::min<std::uint64_t>(bootstrap.spin_us, 1000))}) {
        guard_.set_connection(channel_->fd());
    }
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    ~Service() {
        guard_.set_connection(-1);
        guard_.set_helper(nullptr);
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

    // Serves until the worker shall leave or the connection ends. The result: what else ended it,
    // or nothing.
    std::string run() {
        if (concurrency_ == 1) {
            run_alone();
            return failure();
        }
        auto threads = start_threads();
        take_turns(0);
        for (auto& thread : threads) thread.join();
        return failure();
    }

private:
    using Lock = Channel::Lock;

    static constexpr auto patience_when_leaving = std::chrono::milliseconds{100};

    // From now on; the clock is not asked for what has no limit.
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

    // One call, as its handler and its answer see it.
    class Running final : public CallControl, public Responder {
    public:
        Running(Service& service, std::size_t slot, const IncomingMessage& request,
                OutgoingMessage& answer)
            : service_(service),
              slot_(slot),
              number_(request.number),
              index_(request.index),
              answer_(answer) {
            const auto due =
                std::min(call_deadline(request.timeouts), run_deadline(request.timeouts));
            if (due != TimePoint::max()) deadline_ = due;
        }

        std::uint64_t id() const noexcept override { return number_; }
        bool stop_requested() const noexcept override {
            return service_.guard_.calls().stop_requested(slot_);
        }
        std::stop_token stop_token() override {
            auto token = service_.guard_.calls().token(slot_);
            service_.ensure_helper();
            service_.helper_wake_.notify();  // it may have been told to stop before
            return token;
        }
        std::optional<TimePoint> deadline() const noexcept override { return deadline_; }
        void log(Severity severity, std::string_view text) override {
            logged_.store(true, std::memory_order_relaxed);
            auto line =
                service_.mark_severity_ ? with_mark(severity, text) : std::string{text} + '\n';
            GivenStderr::instance().write(line);
        }

        std::string& payload() override { return answer_.payload(); }
        std::vector<const Bytes*>& blobs() override { return answer_.blobs(); }
        void send() override {
            ForkedCopy::end_here();
            if (is_cut_short()) return;
            if (answer_.content_size() > service_.max_message_bytes_ ||
                answer_.blobs().size() > MessageHead::max_blobs) {
                return send_error({errc::message_too_large,
                                   "the response has " + std::to_string(answer_.content_size()) +
                                       " bytes in " + std::to_string(answer_.blobs().size()) +
                                       " blobs and a payload; the limit is " +
                                       std::to_string(service_.max_message_bytes_) + " bytes and " +
                                       std::to_string(MessageHead::max_blobs) + " blobs",
                                   {}});
            }
            finish(FrameType::response);
        }
        void send_error(const ErrorAnswer& error) {
            ForkedCopy::end_here();
            if (!is_cut_short()) answer(error);
        }

    private:
        // A handler that was told to stop may have returned anything. Whoever still waits gets an
        // error instead, or, when this worker leaves by itself, learns of its end.
        bool is_cut_short() {
            const auto how = service_.guard_.calls().cut_short(slot_);
            if (how == ActiveCalls::CutShort::overran) {
                answer({errc::timeout, "its handler has had its run timeout", {}});
                return true;
            }
            return how == ActiveCalls::CutShort::yes && service_.guard_.leaving();
        }
        void answer(ErrorAnswer error) {
            error.shorten(service_.max_message_bytes_);
            answer_.reset();
            error.append_to(answer_.payload());
            finish(FrameType::error);
        }
        void finish(FrameType type) {
            answer_.seal();
            const bool logged = service_.mark_severity_ && logged_.load(std::memory_order_relaxed);
            answer_.open(type, index_, number_, {}, logged ? FrameHeader::logged : 0);
            service_.send(answer_);
        }

        Service& service_;
        std::size_t slot_;
        std::uint64_t number_;
        std::uint16_t index_;
        OutgoingMessage& answer_;
        std::optional<TimePoint> deadline_;
        std::atomic<bool> logged_{false};
    };

    // Fewer than were asked for, where the system has no more to give.
    std::vector<std::thread> start_threads() {
        std::vector<std::thread> threads;
        threads.reserve(concurrency_);
        try {
            for (unsigned slot = 1; slot < concurrency_; ++slot) {
                threads.emplace_back([this, slot] { take_turns(slot); });
            }
        } catch (const std::system_error& error) {
            std::fprintf(stderr,
                         "tether: this worker runs %zu handlers at once instead of %u: %s\n",
                         threads.size() + 1, concurrency_, error.what());
        }
        return threads;
    }

    std::string failure() {
        if (exhausted_) return "ran out of memory with a request or an answer";
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

    // Handles where it reads, straight from the reader's buffer.
    void run_alone() {
        OutgoingMessage answer;
        auto& reader = channel_->reader();
        try {
            for (;;) {
                while (auto request = reader.next()) {
                    if (guard_.leaving() || !ledger_.begin(request->number)) break;
                    others_wait_ = reader.has_buffered();
                    const bool wanted = begin(0, *request);
                    handle(0, wanted, *request, answer);
                    if (others_wait_) hold_back();
                }
                if (!flush() || guard_.leaving() || !receive()) return;
            }
        } catch (const FramingError&) {
            // The parent sends no such thing. It learns by the end of this process.
        } catch (const std::bad_alloc&) {
            give_up_for_memory();
        }
        flush();
    }

    // It is told apart from the requests behind it: the next process should not have it, too.
    void give_up_for_memory() noexcept {
        static_cast<void>(ledger_.begin(channel_->reader().looked_at()));
        exhausted_ = true;
    }

    // One of several threads: takes a request, lets the next thread read, handles it.
    void take_turns(std::size_t slot) {
        try {
            OutgoingMessage answer;
            while (auto task = next_task(slot)) {
                handle(slot, task->wanted, task->view(), answer);
                if (!flush()) break;
            }
        } catch (const std::bad_alloc&) {
            exhausted_ = true;
        }
        ForkedCopy::end_here();
        // The others must not wait for what will not come.
        end_receiving(channel_->fd());
    }

    // A request with storage of its own.
    struct Task {
        IncomingMessage message{};
        std::string payload{};
        Bytes large_payload{};
        std::vector<Bytes> blobs{};

        bool wanted;

        Task(IncomingMessage& source, bool is_wanted) : message(source), wanted(is_wanted) {
            if (source.storage != nullptr) {
                large_payload = std::move(*source.storage);
            } else {
                payload = source.payload;
            }
            std::move(source.blobs.begin(), source.blobs.end(), std::back_inserter(blobs));
        }
        IncomingMessage view() {
            message.payload =
                large_payload.empty() ? std::string_view{payload} : large_payload.view();
            message.blobs = blobs;
            return message;
        }
    };

    std::optional<Task> next_task(std::size_t slot) {
        const std::scoped_lock lock{reading_};
        try {
            while (!guard_.leaving()) {
                if (auto request = channel_->reader().next()) {
                    if (!ledger_.begin(request->number)) break;
                    const bool wanted = begin(slot, *request);
                    return Task{*request, wanted};
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
        if (size < 0 && !is_hang_up(last_error())) receive_error_ = last_error().value();
        if (size <= 0) return false;
        reader.received(static_cast<std::size_t>(size));
        return true;
    }

    // --- Handling

    // Where the request was read, so that cancellations meet requests in their order.
    bool begin(std::size_t slot, const IncomingMessage& request) {
        if (request.type != FrameType::request) throw FramingError("not a request");
        const auto oldest = channel_->reader().oldest_open(request.number);
        const auto overruns = run_deadline(request.timeouts);
        const bool wanted = guard_.calls().begin(slot, request.number, oldest, overruns);
        if (overruns != TimePoint::max()) guard_.watch_overrun();
        return wanted;
    }

    void handle(std::size_t slot, bool wanted, const IncomingMessage& request,
                OutgoingMessage& answer) {
        answer.reset();
        Running call{*this, slot, request, answer};
        if (wanted) {
            answer_or_error(request, call);
        } else {
            call.send_error({errc::cancelled, "cancelled before it was started", {}});
        }
        guard_.calls().end(slot);
    }

    void answer_or_error(const IncomingMessage& request, Running& call) {
        try {
            if (!handler_.dispatch(request.index, request.payload, request.blobs, call, call)) {
                call.send_error({errc::codec, "no such request in this protocol", {}});
            }
        } catch (const CodecFailure& failure) {
            call.send_error({errc::codec, failure.what(), {}});
        } catch (ForcedUnwind&) {  // never leaves here: the main thread cannot end alone
            call.send_error({errc::handler, {}, describe_ended_thread()});
            flush();
            std::fflush(stdout);
            kill_descendants();
            end_at_once(1);
        } catch (...) {
            call.send_error({errc::handler, {}, describe_thrown()});
        }
    }

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
        ForkedCopy::end_here();
        Lock lock{writing_};
        channel_->flush(lock);
        while (channel_->has_output()) wait_for_room(lock);
        return !channel_->broken();
    }

    // Another request is here already: its answer leaves together with this one, unless its handler
    // takes long. What is held back must not be lost with this process.
    void hold_back() {
        if (!held_) {
            flush();
            return;
        }
        {
            const Lock lock{writing_};  // the helper stops ticking only when nothing is held back
            if (std::exchange(ticking_, true)) return;
        }
        try {
            ensure_helper();
        } catch (const std::system_error&) {  // no thread to be had
            {
                const Lock lock{writing_};
                ticking_ = false;
            }
            flush();
            return;
        }
        helper_wake_.notify();
    }

    // The parent always reads while it writes, so this side may wait without reading. But it reads
    // nothing while it waits for nothing: an answer that came too late must not keep this process.
    void wait_for_room(Lock& lock) {
        lock.unlock();
        PollItem items[] = {writable(channel_->fd()), readable(guard_.leaving_fd())};
        wait_ready(items, TimePoint::max());
        // Also where the system refuses to wait: then the guard ends this process.
        const bool leaving = !is_ready(items[0]);
        if (leaving && wait_ready({items, 1}, Clock::now() + patience_when_leaving) <= 0) {
            channel_->shut_down();
        }
        lock.lock();
        channel_->flush(lock);
    }

    // --- The helper: stop callbacks, and answers that wait for a slow handler

    void ensure_helper() {
        if (ForkedCopy::here()) return;  // it would send what was held back
        const std::scoped_lock lock{helper_mutex_};
        if (helper_.joinable()) return;
        const AllSignalsBlocked blocked;
        helper_ = std::thread{[this] { help(); }};
        guard_.set_helper(&helper_wake_);
    }

    void help() {
        int quiet_ticks = 0;
        bool ticking = false;
        while (!helper_ends_.load()) {
            PollItem item = readable(helper_wake_.fd());
            wait_ready({&item, 1},
                       ticking ? Clock::now() + std::chrono::milliseconds{1} : TimePoint::max());
            helper_wake_.drain();
            guard_.calls().fire();
            Lock lock{writing_};
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
    Guard& guard_;
    AnyHandler& handler_;
    LedgerWriter ledger_;
    const unsigned concurrency_;
    const std::uint64_t max_message_bytes_;
    const bool mark_severity_;
    Spin spin_;  // whoever reads

    std::atomic<bool> exhausted_{false};  // no memory for a request or an answer
    std::atomic<int> receive_error_{0};

    std::mutex reading_;
    std::mutex writing_;

    std::mutex helper_mutex_;
    std::thread helper_;
    WakeUp helper_wake_;
    std::atomic<bool> helper_ends_{false};
    bool ticking_ = false;  // the helper looks after answers; under writing_

    // Of the thread that reads and handles, where there is only one.
    bool others_wait_ = false;  // another request has arrived behind the one that is handled
    bool held_ = true;          // its answer would survive this process
};

}  // namespace detail
TETHER_NAMESPACE_END
