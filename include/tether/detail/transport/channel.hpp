// Why: both sides use the connection in the same way: any thread receives and sends frames. A
// thread that sends also sends what other threads queue meanwhile.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/wire/frame_reader.hpp>
#include <tether/detail/wire/outbox.hpp>

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <system_error>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class Channel {
public:
    using Lock = std::unique_lock<std::mutex>;

    Channel(Descriptor socket, std::uint64_t max_message_bytes)
        : socket_(std::move(socket)), reader_(max_message_bytes) {}

    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    // False: other code in the process has closed it.
    [[nodiscard]] bool owns_socket() const noexcept { return socket_.is_ours(); }

    // Ends both directions, and wakes the threads that wait for the socket. Any thread may call
    // this at any time.
    void shut_down() const noexcept { end_connection(socket_.get()); }

    // --- Sending. `lock` holds the owner's mutex; it is released around system calls.

    // Sends as much as the socket takes now. A small message is then no longer needed by the
    // channel; a large one stays referenced until it is done() or released.
    void send(OutgoingMessage& message, Lock& lock) {
        const bool small = message.wire_size() <= Outbox::copy_limit;
        if (small && (writing_ || !outbox_.empty())) {
            queue(message);
            flush(lock);
            return;
        }
        outbox_.push(message);
        flush(lock);
        if (!small || message.done()) return;
        settle(lock);
        if (message.done()) return;
        outbox_.detach(message);
        message.mark_done();
    }

    // Queues a small message to leave with the next flush.
    void queue(OutgoingMessage& message) {
        outbox_.push_copy(message);
        message.mark_done();
    }

    // The same with a message of any size.
    void queue_copy_of_all(OutgoingMessage& message) {
        outbox_.push_copy_of_all(message);
        message.mark_done();
    }

    // One thread sends at a time. It also sends what other threads queue meanwhile.
    void flush(Lock& lock) {
        if (writing_ || broken_) return;
        writing_ = true;
        while (!outbox_.empty() && !broken_) {
            std::array<ConstBuffer, 16> buffers;
            const auto count = outbox_.gather(buffers);
            lock.unlock();
            const auto sent = send_some(socket_.get(), {buffers.data(), count});
            const bool full = sent < 0 && would_block();
            const auto error = sent < 0 ? last_error() : std::error_code{};
            lock.lock();
            outbox_.consume(sent > 0 ? static_cast<std::size_t>(sent) : 0);
            if (settlers_ != 0) idle_.notify_all();
            blocked_ = full;
            if (full) break;
            if (sent < 0) {
                broken_ = true;
                send_error_ = error;
            }
        }
        writing_ = false;
        if (outbox_.empty()) blocked_ = false;  // the message that found no room may be withdrawn
    }

    // The socket was full at the last try: the owner must flush when it is writable.
    [[nodiscard]] bool blocked() const noexcept { return blocked_ && !broken_; }
    [[nodiscard]] bool broken() const noexcept { return broken_; }
    // Why nothing can be sent any more.
    [[nodiscard]] std::error_code send_error() const noexcept { return send_error_; }
    [[nodiscard]] bool has_output() const noexcept { return !outbox_.empty() && !broken_; }

    // Takes a message back for its owner. Waits while another thread is inside a system call with
    // it; that call never blocks.
    Outbox::Withdrawn release(OutgoingMessage& message, Lock& lock) {
        settle(lock);
        if (message.done()) return Outbox::Withdrawn::sent;
        auto result = Outbox::Withdrawn::aborted;
        try {
            result = outbox_.withdraw(message);
        } catch (const std::bad_alloc&) {  // better a broken connection than a dangling pointer
            send_error_ = std::make_error_code(std::errc::not_enough_memory);
            broken_ = true;
            outbox_.clear();
        }
        message.mark_done();
        flush(lock);
        return result;
    }

    // Withdraws a queued copy. False: it has left, or is leaving.
    bool withdraw_copy(std::uint64_t number) noexcept { return outbox_.withdraw_copy(number); }

    // Returns when no thread is inside a system call with messages.
    void settle(Lock& lock) {
        ++settlers_;
        wait_until_changed(idle_, lock, [&] { return !outbox_.in_flight(); });
        --settlers_;
    }

    // Sends nothing more, and drops all references to messages.
    void stop_sending(Lock& lock) {
        broken_ = true;
        settle(lock);
        outbox_.clear();
    }

    // --- Receiving. The owner holds its mutex for receiving, not the one for sending.

    enum class Received {
        nothing,  // there was nothing, or a signal came first
        drained,  // there was less than there is room for: nothing is left
        more,     // there may be more
        closed,   // the other side has ended the connection
    };

    // One system call, then `deliver(message)` for each message that is complete. Throws what
    // FrameReader::next throws, after the good messages were delivered. `wait`: blocks as long as
    // the socket does.
    template <class Deliver>
    Received receive(bool wait, Deliver deliver) {
        const auto space = reader_.space();
        const auto size = wait ? receive_once(socket_.get(), space, Blocking::yes)
                               : receive_some(socket_.get(), space, Blocking::no);
        if (size < 0 && (would_block() || was_interrupted())) return Received::nothing;
        if (size < 0) receive_error_ = last_error();
        if (size < 0) return Received::closed;
        if (size == 0) return Received::closed;
        const auto received = static_cast<std::size_t>(size);
        reader_.received(received);
        while (auto message = reader_.next()) deliver(*message);
        return received < space[0].size + space[1].size ? Received::drained : Received::more;
    }

    // Why nothing comes any more; none when the other side has ended the connection in order.
    [[nodiscard]] std::error_code receive_error() const noexcept { return receive_error_; }

    [[nodiscard]] FrameReader& reader() noexcept { return reader_; }

private:
    Descriptor socket_;
    FrameReader reader_;
    Outbox outbox_;
    std::condition_variable idle_;
    int settlers_ = 0;  // threads waiting for idle_
    bool writing_ = false;
    bool blocked_ = false;
    bool broken_ = false;
    std::error_code send_error_;
    std::error_code receive_error_;
};

}  // namespace detail
TETHER_NAMESPACE_END
