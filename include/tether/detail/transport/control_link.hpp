// Why: the parent's end of the control channel. A record that cannot be sent at once must not be
// lost, because a stopped worker reads nothing. The sender must not wait for it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/wire/control_record.hpp>

#include <cstddef>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Thread-safe.
class ControlLink {
public:
    explicit ControlLink(Descriptor socket) : socket_(std::move(socket)) {}

    [[nodiscard]] int fd() const noexcept { return socket_.get(); }

    // Sends the record, or keeps it. False: something is left; call this with an empty record when
    // there is room.
    bool send(std::string_view record) {
        const auto lock = acquire(mutex_);
        if (!record.empty()) ++said_;
        unsent_ += record;
        return flush();
    }

    // Drops the record while others wait: records that are repeated anyway must not pile up.
    bool send_unless_behind(std::string_view record) {
        const auto lock = acquire(mutex_);
        if (!unsent_.empty()) return true;  // the earlier sender already waits for room
        ++said_;
        unsent_ += record;
        return flush();
    }

    struct Received {
        bool open = true;     // the worker has not closed its end
        bool unread = false;  // it has, without having read its bootstrap
        bool heard = false;   // its guard said something
        std::optional<StartFailure> failure{};
        std::vector<std::uint64_t> running{};  // requests whose handlers still run
        std::vector<std::uint64_t> overran{};  // requests whose handlers ran too long
    };

    // Receives what has arrived, without blocking, but at most a slice of it: a worker that writes
    // without end harms only itself. `calls_made`: a worker may send a record for each call and for
    // each record that it was sent; one that sends more floods.
    Received receive(std::uint64_t calls_made) {
        const auto lock = acquire(mutex_);
        Received result;
        for (int round = 0; round < 8 && socket_ && !in_.broken(); ++round) {
            const MutableBuffer space{in_.space(), in_.space_size()};
            const auto size = receive_some(socket_.get(), {&space, 1}, Blocking::no);
            result.open = size > 0 || (size < 0 && would_block());
            if (size < 0) fail(last_error(), result);
            if (size <= 0) break;
            in_.received(static_cast<std::size_t>(size));
            while (const auto record = in_.next()) {
                ++heard_;
                take(*record, result);
            }
        }
        if (heard_ > 1024 + said_ + calls_made) {
            result.open = false;
            result.failure = {errc::framing,
                              "its control channel carried more records than there is to say"};
        }
        if (in_.broken()) {
            result.open = false;
            result.failure = {errc::framing,
                              "its control channel carried bytes that are no record"};
        }
        return result;
    }

    // Ends both directions: the worker's guard then ends the worker, and a stopped worker runs
    // again. A copy of the descriptor that leaked by a fork does not prevent that.
    void cut() {
        const auto lock = acquire(mutex_);
        if (socket_) end_connection(socket_.get());
    }

    void close() {
        const auto lock = acquire(mutex_);
        socket_.reset();
    }

private:
    void fail(const std::error_code& error, Received& result) const {
        // The kernel reports a peer that closed with bytes unread. With nothing sent since, these
        // are the bootstrap.
        if (error == std::errc::connection_reset && said_ == 0) result.unread = true;
        if (result.open || is_hang_up(error)) return;
        result.failure = {errc::framing, "its control channel cannot be read: " + error.message()};
    }

    static void take(const ControlRecord& record, Received& result) {
        result.heard = result.heard || record.type >= ControlType::running;
        const auto number = [&] { return BinaryReader{record.content}.number<std::uint64_t>(); };
        if (record.type == ControlType::failed) {
            result.failure = StartFailure::decode(record.content);
        }
        if (record.type == ControlType::running) result.running.push_back(number());
        if (record.type == ControlType::overran) result.overran.push_back(number());
    }

    bool flush() {
        while (!unsent_.empty() && socket_) {
            const ConstBuffer buffer{unsent_.data(), unsent_.size()};
            const auto sent = send_some(socket_.get(), {&buffer, 1});
            if (sent < 0 && would_block()) return false;
            if (sent < 0) break;
            unsent_.erase(0, static_cast<std::size_t>(sent));
        }
        unsent_.clear();
        return true;
    }

    std::mutex mutex_;
    Descriptor socket_;
    ControlReader in_;
    std::string unsent_;
    std::uint64_t said_ = 0;   // records beside the bootstrap
    std::uint64_t heard_ = 0;  // records
};

}  // namespace detail
TETHER_NAMESPACE_END
