// Why: a message is sent from where it lies: its payload from one buffer, its blobs from the values
// they are part of. It is cut into frames on the way, and the socket may stop taking it at any
// byte.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/wire/frame.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// One message on its way out. Its owner keeps it, and the Bytes it points to, until done() or until
// the outbox no longer refers to it.
class OutgoingMessage {
public:
    static constexpr std::size_t kept_storage = std::size_t{256} * 1024;
    static constexpr std::size_t usual_storage = 240;
    static constexpr std::size_t prefix = FrameHeader::size + MessageHead::size;

    OutgoingMessage() { reset(); }

    // Keeps the storage, unless that is large.
    void reset() {
        drop_large_storage();
        if (buffer_.capacity() < usual_storage) buffer_.reserve(usual_storage);
        buffer_.resize(prefix);  // open() writes all of it
        blobs_.clear();
        total_ = body_at_ = frame_end_ = header_at_ = blob_at_ = blob_offset_ = 0;
    }

    // For a message that is no longer being sent.
    void drop_large_storage() noexcept {
        if (buffer_.capacity() > kept_storage) std::string{}.swap(buffer_);
    }

    // To append the payload to.
    std::string& payload() noexcept { return buffer_; }
    std::vector<const Bytes*>& blobs() noexcept { return blobs_; }
    [[nodiscard]] const std::vector<const Bytes*>& blobs() const noexcept { return blobs_; }

    // Payload and blobs together: what max_message_bytes limits. Before seal().
    [[nodiscard]] std::uint64_t content_size() const noexcept {
        std::uint64_t size = buffer_.size() - prefix;
        for (const auto* blob : blobs_) size += blob->size();
        return size;
    }

    // The payload and the blobs are complete.
    void seal() {
        if (!blobs_.empty()) insert_blob_sizes();
        total_ = buffer_.size() - FrameHeader::size;
        for (const auto* blob : blobs_) total_ += blob->size();
    }

    // After seal().
    [[nodiscard]] std::string_view sealed_payload() const noexcept {
        return std::string_view{buffer_}.substr(buffer_.size() -
                                                static_cast<std::size_t>(payload_size()));
    }

    // Before it goes into an outbox; again to send it once more. `flags`: of its first frame.
    void open(FrameType type, std::uint16_t message, std::uint64_t number, Timeouts timeouts = {},
              std::uint8_t flags = 0) noexcept {
        const MessageHead head{payload_size(), timeouts, static_cast<std::uint32_t>(blobs_.size())};
        head.store(buffer_.data() + FrameHeader::size);
        header_ = {0, type, flags, message, number};
        body_at_ = blob_offset_ = 0;
        blob_at_ = 0;
        begin_frame();
    }

    [[nodiscard]] std::uint64_t number() const noexcept { return header_.number; }
    [[nodiscard]] bool done() const noexcept { return body_at_ == total_ && frame_done(); }
    [[nodiscard]] bool opened() const noexcept { return body_at_ != 0 || header_at_ != 0; }
    [[nodiscard]] bool frame_done() const noexcept {
        return body_at_ == frame_end_ && header_at_ == FrameHeader::size;
    }
    [[nodiscard]] std::uint64_t wire_size() const noexcept { return FrameHeader::size + total_; }
    // The message is one frame, and nothing of it has left.
    [[nodiscard]] bool is_whole_frame() const noexcept {
        return body_at_ == 0 && frame_end_ == total_;
    }
    [[nodiscard]] bool last_frame() const noexcept { return frame_end_ == total_; }

    // What is left of the current frame, as far as `target` has room; returns the number of
    // buffers.
    std::size_t gather(std::span<ConstBuffer> target) const noexcept {
        std::size_t count = 0;
        visit_rest([&](ConstBuffer part) {
            if (count != 0 && target[count - 1].data + target[count - 1].size == part.data) {
                target[count - 1].size += part.size;
                return true;
            }
            if (count == target.size()) return false;
            target[count++] = part;
            return true;
        });
        return count;
    }

    // Appends the rest of the current frame. Appends nothing if there is no memory.
    void append_rest_of_frame(std::string& bytes) const {
        bytes.reserve(bytes.size() + (FrameHeader::size - header_at_) +
                      static_cast<std::size_t>(frame_end_ - body_at_));
        visit_rest([&](ConstBuffer part) {
            bytes.append(part.data, part.size);
            return true;
        });
    }
    // The same into memory that has room for it.
    void copy_rest_of_frame(char* target) const noexcept {
        visit_rest([&](ConstBuffer part) {
            target = std::copy_n(part.data, part.size, target);
            return true;
        });
    }
    [[nodiscard]] std::string rest_of_frame() const {
        std::string rest;
        append_rest_of_frame(rest);
        return rest;
    }

    // `size` bytes of what gather() gave have been sent; at most the current frame.
    void consume(std::size_t size) noexcept {
        const auto of_header = std::min(size, FrameHeader::size - header_at_);
        header_at_ += of_header;
        size -= of_header;
        if (body_at_ < in_buffer()) {
            const auto of_buffer = std::min<std::uint64_t>(size, in_buffer() - body_at_);
            body_at_ += of_buffer;
            size -= of_buffer;
        }
        body_at_ += size;
        for (blob_offset_ += size;
             blob_at_ < blobs_.size() && blob_offset_ >= blobs_[blob_at_]->size(); ++blob_at_) {
            if (body_at_ < in_buffer()) break;
            blob_offset_ -= blobs_[blob_at_]->size();
        }
        if (frame_done() && body_at_ != total_) {
            header_.type = FrameType::data;
            header_.flags = 0;
            begin_frame();
        }
    }

    // As if the rest of the current frame had been sent.
    void skip_frame() noexcept {
        consume((FrameHeader::size - header_at_) + static_cast<std::size_t>(frame_end_ - body_at_));
    }

    // From now on the outbox does not refer to this message: it has sent it, dropped it or copied
    // the rest.
    void mark_done() noexcept {
        body_at_ = frame_end_ = total_;
        header_at_ = FrameHeader::size;
    }

    // True between two frames: other messages may go first.
    [[nodiscard]] bool between_frames() const noexcept { return header_at_ == 0; }

private:
    // Bytes of the body that lie in buffer_; the rest lies in the blobs.
    [[nodiscard]] std::uint64_t in_buffer() const noexcept {
        return buffer_.size() - FrameHeader::size;
    }
    [[nodiscard]] std::uint64_t payload_size() const noexcept {
        return buffer_.size() - prefix - 8 * blobs_.size();
    }
    [[nodiscard]] const char* header_bytes() const noexcept {
        return first_frame_ ? buffer_.data() : later_header_.data();
    }

    // Gives `visit` the parts of the rest of the current frame until it returns false.
    template <class Visit>
    void visit_rest(Visit visit) const {
        const auto give = [&](const char* data, std::uint64_t size) {
            return size == 0 || visit(ConstBuffer{data, static_cast<std::size_t>(size)});
        };
        if (!give(header_bytes() + header_at_, FrameHeader::size - header_at_)) return;
        auto left = frame_end_ - body_at_;
        if (body_at_ < in_buffer()) {
            const auto size = std::min(left, in_buffer() - body_at_);
            if (!give(buffer_.data() + FrameHeader::size + body_at_, size)) return;
            left -= size;
        }
        auto offset = blob_offset_;
        for (auto at = blob_at_; left != 0; ++at, offset = 0) {
            const auto size = std::min<std::uint64_t>(left, blobs_[at]->size() - offset);
            if (!give(reinterpret_cast<const char*>(blobs_[at]->data()) + offset, size)) return;
            left -= size;
        }
    }

    void insert_blob_sizes() {
        buffer_.insert(prefix, 8 * blobs_.size(), '\0');
        char* at = buffer_.data() + prefix;
        for (const auto* blob : blobs_) {
            store_le(at, static_cast<std::uint64_t>(blob->size()));
            at += 8;
        }
    }

    void begin_frame() noexcept {
        first_frame_ = body_at_ == 0;
        const auto body = std::min<std::uint64_t>(total_ - body_at_, max_frame_body);
        frame_end_ = body_at_ + body;
        header_at_ = 0;
        header_.body = static_cast<std::uint32_t>(body);
        if (frame_end_ != total_) header_.flags |= FrameHeader::more;
        header_.store(first_frame_ ? buffer_.data() : later_header_.data());
    }

    std::string buffer_;  // header, head, blob sizes, payload
    std::vector<const Bytes*> blobs_;
    FrameHeader header_{};
    std::array<char, FrameHeader::size> later_header_{};
    bool first_frame_ = true;
    std::uint64_t total_ = 0;      // bytes of all bodies
    std::uint64_t body_at_ = 0;    // of these, sent
    std::uint64_t frame_end_ = 0;  // where the current frame ends, in the same count
    std::size_t header_at_ = 0;    // bytes of the current header sent
    std::size_t blob_at_ = 0;
    std::uint64_t blob_offset_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
