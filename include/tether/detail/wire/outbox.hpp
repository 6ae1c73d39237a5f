// Why: many threads write to one connection. Messages that are queued while one thread sends leave
// with its next send. Large messages take turns, frame by frame. A caller that gives up in the
// middle of a frame must be able to free its memory.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/wire/outgoing_message.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Not thread-safe. Messages open in the order they were pushed, so numbers only grow on the wire.
class Outbox {
public:
    // Up to this size a message is copied rather than referenced, so its caller need not stay.
    static constexpr std::size_t copy_limit = std::size_t{16} * 1024;

    [[nodiscard]] bool empty() const noexcept { return idle() && current_.empty(); }

    // References the message until it is done, detached or withdrawn.
    void push(OutgoingMessage& message) {
        if (empty()) {
            sending_ = &message;
        } else {
            queue_.push_back(Entry{message, in_order(message)});
        }
    }

    // A message of a single frame, by value.
    void push_copy(const OutgoingMessage& message) {
        if (idle() && !in_flight_ && sent_ == 0 && current_.size() < most_merged) {
            message.append_rest_of_frame(current_);  // not after a part of it has left: it might
                                                     // never become empty
            return;
        }
        const bool merges = !queue_.empty() && queue_.back().message == nullptr &&
                            queue_.back().bytes.size() < most_merged;
        if (!merges) queue_.emplace_back();
        queue_.back().append(message, in_order(message));
    }

    // All frames of a message, by value.
    void push_copy_of_all(OutgoingMessage& message) {
        while (!message.done()) {
            push_copy(message);
            message.skip_frame();
        }
    }

    // Forgets a copy of which nothing was sent. False: there is none. Numbers must only grow, for a
    // binary search: very many messages may expire behind a full socket.
    bool withdraw_copy(std::uint64_t number) noexcept {
        const auto after = std::upper_bound(
            queue_.begin(), queue_.end(), number,
            [](std::uint64_t wanted, const Entry& entry) { return wanted < entry.first; });
        if (after == queue_.begin() || !std::prev(after)->withdraw(number)) return false;
        trim();
        return true;
    }

    // What to send next. The buffers stay valid until consume(), whatever is pushed meanwhile.
    std::size_t gather(std::span<ConstBuffer> target) noexcept {
        choose();
        in_flight_ = true;
        if (sending_ != nullptr) return sending_->gather(target);
        if (current_.empty()) return 0;
        target[0] = {current_.data() + sent_, current_.size() - sent_};
        return 1;
    }

    // `size` bytes of the gathered buffers were sent; 0 when the socket took none.
    void consume(std::size_t size) noexcept {
        in_flight_ = false;
        if (sending_ != nullptr) {
            consume_stream(size);
        } else if (size != 0) {
            sent_ += size;
            if (sent_ == current_.size()) {
                finish_current();
                stream_next_ = true;
            }
        }
    }

    // Between gather() and consume(): a thread is sending, outside the lock.
    [[nodiscard]] bool in_flight() const noexcept { return in_flight_; }

    // Copies the rest of a message of one frame and forgets the original. Not while in flight.
    void detach(const OutgoingMessage& message) {
        std::string rest = message.rest_of_frame();
        if (sending_ == &message) {
            remove(message);
            put_first(std::move(rest));
        } else {
            const auto place = std::find_if(queue_.begin(), queue_.end(), [&](const Entry& entry) {
                return entry.message == &message;
            });
            if (place != queue_.end()) *place = Entry{message.number(), std::move(rest)};
        }
    }

    // What became of a message that was withdrawn.
    enum class Withdrawn {
        unsent,   // the peer never sees it
        aborted,  // the peer drops what it has, without an answer
        sent,     // the peer has it all, or will have
    };

    // Forgets a message that is not done. A frame that was begun is finished from a copy, and an
    // abort follows unless it was the last. Not while in flight.
    Withdrawn withdraw(const OutgoingMessage& message) {
        const bool mid_frame = sending_ == &message && !message.between_frames();
        const bool whole = mid_frame && message.last_frame();
        const bool opened = message.opened();
        std::string rest = mid_frame ? message.rest_of_frame() : std::string{};
        if (opened && !whole) {
            std::array<char, FrameHeader::size> abort{};
            FrameHeader{0, FrameType::abort, 0, 0, message.number()}.store(abort.data());
            rest.append(abort.data(), abort.size());
        }
        // Allocate the replacement before forgetting anything.
        if (sending_ == &message) {
            remove(message);
            current_.swap(rest);
        } else {
            if (opened) put_first(std::move(rest));
            remove(message);
        }
        if (!opened) return Withdrawn::unsent;
        return whole ? Withdrawn::sent : Withdrawn::aborted;
    }

    // Forgets everything. Not while in flight.
    void clear() noexcept {
        queue_.clear();
        streams_.clear();
        sending_ = nullptr;
        finish_current();
    }

private:
    // Copies are merged up to this size, so that one system call sends many, but a few of them do
    // not keep the memory of all.
    static constexpr std::size_t most_merged = std::size_t{64} * 1024;

    // A message, or copies of some.
    struct Entry {
        struct Copy {
            std::uint64_t number = 0;
            std::size_t size = 0;
            bool wanted = true;
            bool is_side = false;  // has the number of a request before it, and always leaves
        };

        Entry() = default;
        Entry(OutgoingMessage& whole, std::uint64_t number) : message(&whole), first(number) {}
        Entry(std::uint64_t number, std::string copy) : bytes(std::move(copy)), first(number) {
            copies.push_back({number, bytes.size()});
        }

        void append(const OutgoingMessage& copied, std::uint64_t number) {
            if (copies.empty()) first = number;
            copies.push_back({number, 0, false});
            const auto before = bytes.size();
            copied.append_rest_of_frame(bytes);
            // A part of a message leaves, too: others of it may have left.
            const bool leaves = SideNumbers::is_side(copied.number()) || !copied.is_whole_frame();
            copies.back() = {number, bytes.size() - before, true, leaves};
        }

        bool withdraw(std::uint64_t number) noexcept {
            const auto copy = std::lower_bound(
                copies.begin(), copies.end(), number,
                [](const Copy& one, std::uint64_t wanted) { return one.number < wanted; });
            if (copy == copies.end() || copy->number != number || !copy->wanted || copy->is_side) {
                return false;
            }
            copy->wanted = false;
            unwanted += copy->size;
            if (2 * unwanted >= bytes.size()) compact();
            return true;
        }

        [[nodiscard]] bool is_empty() const noexcept { return message == nullptr && bytes.empty(); }

        // Drops what was withdrawn.
        void compact() noexcept {
            if (unwanted == 0) return;
            auto from = bytes.begin();
            auto to = bytes.begin();
            for (const auto& copy : copies) {
                const auto end = from + static_cast<std::ptrdiff_t>(copy.size);
                to = copy.wanted ? std::copy(from, end, to) : to;
                from = end;
            }
            bytes.erase(to, bytes.end());
            std::erase_if(copies, [](const Copy& copy) { return !copy.wanted; });
            unwanted = 0;
            if (!bytes.empty()) return;
            std::string{}.swap(bytes);
            std::vector<Copy>{}.swap(copies);
        }

        std::string bytes{};
        OutgoingMessage* message = nullptr;
        std::uint64_t first = 0;  // the lowest number
        std::vector<Copy> copies{};
        std::size_t unwanted = 0;  // bytes
    };

    // Its place among the numbers of requests, which only grow.
    [[nodiscard]] std::uint64_t in_order(const OutgoingMessage& message) noexcept {
        if (!SideNumbers::is_side(message.number())) last_number_ = message.number();
        return last_number_;
    }

    // Removes empty entries at both ends. Those in between stay.
    void trim() noexcept {
        while (!queue_.empty() && queue_.front().is_empty()) queue_.pop_front();
        while (!queue_.empty() && queue_.back().is_empty()) queue_.pop_back();
    }

    // Holds nothing except, perhaps, the current bytes.
    [[nodiscard]] bool idle() const noexcept {
        return queue_.empty() && streams_.empty() && sending_ == nullptr;
    }

    // Chooses the message that the next bytes come from.
    void choose() noexcept {
        if (sending_ != nullptr || !current_.empty()) return;
        const bool queued = !queue_.empty();
        if (queued && (queue_.front().message != nullptr || streams_.empty() || !stream_next_)) {
            sending_ = queue_.front().message;
            queue_.front().compact();
            current_.swap(queue_.front().bytes);
            queue_.pop_front();
            trim();
        } else if (!streams_.empty()) {
            sending_ = streams_.front();
            streams_.pop_front();
            stream_next_ = false;
        }
    }

    void consume_stream(std::size_t size) noexcept {
        sending_->consume(size);
        if (sending_->done()) {
            sending_ = nullptr;
        } else if (size != 0 && sending_->between_frames()) {
            streams_.push_back(std::exchange(sending_, nullptr));
        }
    }

    void remove(const OutgoingMessage& message) noexcept {
        if (sending_ == &message) sending_ = nullptr;
        std::erase(streams_, &message);
        std::erase_if(queue_, [&](const Entry& entry) { return entry.message == &message; });
        trim();
    }

    // Whole frames, or the rest of one that was begun.
    void put_first(std::string bytes) {
        if (sending_ != nullptr) {  // finish the frame of the other message first
            queue_.push_front(Entry{0, std::move(bytes)});
        } else if (current_.empty()) {
            current_.swap(bytes);
        } else {
            current_.append(bytes);
        }
    }

    // Keeps the storage, unless that is large.
    void finish_current() noexcept {
        if (current_.capacity() > OutgoingMessage::kept_storage) std::string{}.swap(current_);
        current_.clear();
        sent_ = 0;
    }

    std::deque<Entry> queue_;               // not opened yet, in order; bytes merge
    std::uint64_t last_number_ = 0;         // of a request
    std::deque<OutgoingMessage*> streams_;  // opened, between two frames, taking turns
    // What is being sent, or is next; at most one of the two is set.
    OutgoingMessage* sending_ = nullptr;
    std::string current_;
    std::size_t sent_ = 0;  // of current_
    bool stream_next_ = false;
    bool in_flight_ = false;
};

}  // namespace detail
TETHER_NAMESPACE_END
