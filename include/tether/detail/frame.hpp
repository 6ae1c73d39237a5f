// Why: one connection carries many messages at once. A message is cut into frames of at most 1 MiB,
// so that a large one never blocks a small one, and its head says all sizes at once, so that bytes
// are received straight into the storage they stay in. docs/wire-protocol.md has the layout.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/binary.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

enum class FrameType : std::uint8_t {
    hello = 1,     // parent -> worker, first on the connection
    welcome = 2,   // worker -> parent, first on the connection
    request = 3,   // parent -> worker
    response = 4,  // worker -> parent
    error = 5,     // worker -> parent
    data = 6,      // more of a message that was opened by one of the above
    abort = 7,     // the rest of an opened message will not come
};

struct FrameHeader {
    static constexpr std::size_t size = 16;
    static constexpr std::uint8_t more = 1;  // flag: data frames follow

    std::uint32_t body = 0;
    FrameType type = FrameType::data;
    std::uint8_t flags = 0;
    std::uint16_t message = 0;
    std::uint64_t number = 0;

    void store(char* target) const noexcept {
        store_le(target, body);
        target[4] = static_cast<char>(type);
        target[5] = static_cast<char>(flags);
        store_le(target + 6, message);
        store_le(target + 8, number);
    }
    static FrameHeader load(const char* source) noexcept {
        return {load_le<std::uint32_t>(source), static_cast<FrameType>(source[4]),
                static_cast<std::uint8_t>(source[5]), load_le<std::uint16_t>(source + 6),
                load_le<std::uint64_t>(source + 8)};
    }
};

// Follows the header of the frame that opens a message; then come the sizes of the blobs, 8 bytes
// each, then the payload, then the blobs.
struct MessageHead {
    static constexpr std::size_t size = 24;
    static constexpr std::uint32_t max_blobs = 4096;  // so that it fits into the reader's buffer

    std::uint64_t payload = 0;
    std::uint64_t timeout_us = 0;  // 0: none
    std::uint32_t blobs = 0;

    void store(char* target) const noexcept {
        store_le(target, payload);
        store_le(target + 8, timeout_us);
        store_le(target + 16, blobs);
        store_le(target + 20, std::uint32_t{0});
    }
    static MessageHead load(const char* source) noexcept {
        return {load_le<std::uint64_t>(source), load_le<std::uint64_t>(source + 8),
                load_le<std::uint32_t>(source + 16)};
    }
};

inline constexpr std::size_t max_frame_body = std::size_t{1} << 20;

struct ConstBuffer {
    const char* data = nullptr;
    std::size_t size = 0;
};

struct MutableBuffer {
    char* data = nullptr;
    std::size_t size = 0;
};

// The peer sent something that is no message. Ends the connection.
class FramingError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// One message on its way out. Its owner keeps it, and the Bytes it points to, until done() or until
// the outbox has let go of it.
class OutgoingMessage {
public:
    static constexpr std::size_t prefix = FrameHeader::size + MessageHead::size;

    OutgoingMessage() { reset(); }

    // Keeps the storage.
    void reset() {
        buffer_.assign(prefix, '\0');
        blobs_.clear();
        total_ = body_at_ = frame_end_ = header_at_ = blob_at_ = blob_offset_ = 0;
    }

    // To append the payload to.
    std::string& payload() noexcept { return buffer_; }
    std::vector<const Bytes*>& blobs() noexcept { return blobs_; }

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

    // Before it goes into an outbox; again to send it once more.
    void open(FrameType type, std::uint16_t message, std::uint64_t number,
              std::uint64_t timeout_us = 0) noexcept {
        const MessageHead head{payload_size(), timeout_us,
                               static_cast<std::uint32_t>(blobs_.size())};
        head.store(buffer_.data() + FrameHeader::size);
        header_ = {0, type, 0, message, number};
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

    // A copy of what is left of the current frame.
    [[nodiscard]] std::string rest_of_frame() const {
        std::string rest;
        visit_rest([&](ConstBuffer part) {
            rest.append(part.data, part.size);
            return true;
        });
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
            begin_frame();
        }
    }

    // Somebody else sends the rest from a copy.
    void mark_done() noexcept {
        body_at_ = frame_end_ = total_;
        header_at_ = FrameHeader::size;
    }

    // True between two frames: others may go first.
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
        header_.flags = frame_end_ == total_ ? 0 : FrameHeader::more;
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

// One message that arrived. The views are valid until the reader is used again.
struct IncomingMessage {
    FrameType type{};
    std::uint16_t index{};
    std::uint64_t number{};
    std::uint64_t timeout_us{};
    std::string_view payload{};
    std::span<Bytes> blobs{};
    Bytes* storage = nullptr;  // of the payload, to move from, where it is large
};

// Turns a stream of bytes, cut anywhere, into messages. Small ones are views into its buffer; large
// ones are received in place.
class FrameReader {
public:
    static constexpr std::size_t buffer_size = std::size_t{64} * 1024;

    explicit FrameReader(std::uint64_t max_message_bytes)
        : buffer_(std::make_unique_for_overwrite<char[]>(buffer_size)), max_(max_message_bytes) {}

    void set_max_message_bytes(std::uint64_t max) noexcept { max_ = max; }

    // Where to receive the next bytes, in this order. Call next() until it has nothing first.
    std::array<MutableBuffer, 2> space() noexcept {
        std::array<MutableBuffer, 2> target{};
        if (current_ != nullptr && begin_ == end_) target[0] = current_->space(frame_left_);
        if (begin_ == end_) begin_ = end_ = 0;
        if (begin_ != 0 && buffer_size - end_ < buffer_size / 2) {
            std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
        }
        target[1] = {buffer_.get() + end_, buffer_size - end_};
        direct_ = target[0].size;
        return target;
    }

    // `size` bytes were received into what space() gave.
    void received(std::size_t size) noexcept {
        const auto direct = std::min(size, direct_);
        if (direct != 0) {
            current_->advance(direct);
            frame_left_ -= direct;
            offset_ += direct;
        }
        end_ += size - direct;
    }

    // The next complete message. Nothing: more bytes are needed. Throws FramingError, and
    // std::bad_alloc where a message is allowed but does not fit into memory.
    std::optional<IncomingMessage> next() {
        release_delivered();
        for (;;) {
            if (current_ != nullptr) {
                take_body();
                if (frame_left_ != 0) return std::nullopt;
                auto* whole = std::exchange(current_, nullptr);
                if (more_ && whole->complete()) fail("a whole message is flagged to go on");
                if (more_) continue;
                if (!whole->complete()) fail("a message ends before its announced size");
                return deliver(*whole);
            }
            if (available() < FrameHeader::size) return std::nullopt;
            const auto header = FrameHeader::load(at());
            check(header);
            if (header.type == FrameType::abort) {
                if (assemblies_.erase(header.number) == 0) fail("abort of an unknown message");
                skip(FrameHeader::size);
            } else if (header.type == FrameType::data) {
                const auto found = assemblies_.find(header.number);
                if (found == assemblies_.end()) fail("data for an unknown message");
                begin_body(header, *found->second, header.body);
                skip(FrameHeader::size);
            } else if ((header.flags & FrameHeader::more) == 0 &&
                       FrameHeader::size + header.body <= buffer_size / 2) {
                if (available() < FrameHeader::size + header.body) return std::nullopt;
                return whole_frame(header);
            } else if (!open(header)) {
                return std::nullopt;
            }
        }
    }

    // Messages of which a part has arrived.
    [[nodiscard]] bool idle() const noexcept { return assemblies_.empty() && begin_ == end_; }

    // Whether a further complete message is likely in the buffer, without parsing it.
    [[nodiscard]] bool has_buffered() const noexcept {
        return current_ == nullptr && available() >= FrameHeader::size &&
               available() >= FrameHeader::size + FrameHeader::load(at()).body;
    }

private:
    // A large message, filled in the order payload, blobs.
    struct Assembly {
        FrameHeader header{};
        std::uint64_t timeout_us = 0;
        std::vector<Bytes> parts{};  // the payload first
        std::size_t part = 0;
        std::size_t filled = 0;

        void skip_full() noexcept {
            while (part < parts.size() && filled == parts[part].size()) {
                ++part;
                filled = 0;
            }
        }
        [[nodiscard]] bool complete() const noexcept { return part == parts.size(); }
        MutableBuffer space(std::uint64_t limit) noexcept {
            if (complete()) return {};
            auto& bytes = parts[part];
            return {reinterpret_cast<char*>(bytes.data()) + filled,
                    std::min<std::uint64_t>(limit, bytes.size() - filled)};
        }
        void advance(std::size_t size) noexcept {
            filled += size;
            skip_full();
        }
    };

    [[nodiscard]] std::size_t available() const noexcept { return end_ - begin_; }
    [[nodiscard]] const char* at() const noexcept { return buffer_.get() + begin_; }
    void skip(std::size_t size) noexcept {
        begin_ += size;
        offset_ += size;
    }

    [[noreturn]] void fail(std::string_view what) const {
        static constexpr char digits[] = "0123456789abcdef";
        std::string text{what};
        text += " (at byte " + std::to_string(offset_) + ":";
        for (std::size_t i = 0; i < std::min<std::size_t>(available(), 16); ++i) {
            const auto byte = static_cast<unsigned char>(at()[i]);
            text += {' ', digits[byte >> 4], digits[byte & 15]};
        }
        throw FramingError(text + ")");
    }

    void check(const FrameHeader& header) const {
        if (header.type < FrameType::hello || header.type > FrameType::abort) {
            fail("unknown frame type");
        }
        if (header.body > max_frame_body) fail("frame too long");
        if ((header.flags & ~FrameHeader::more) != 0) fail("unknown frame flags");
        if (header.type == FrameType::abort && header.body != 0) fail("abort with a body");
        if (header.type == FrameType::data && header.body == 0) fail("empty data frame");
        if (header.type < FrameType::data && header.body < MessageHead::size) {
            fail("frame too short");
        }
    }

    // The sum of all sizes, when they are sane.
    std::uint64_t content_size(const MessageHead& head, const char* sizes) const {
        if (head.payload > max_) fail("message too large");
        auto sum = head.payload;
        for (std::uint32_t i = 0; i < head.blobs; ++i) {
            const auto size = load_le<std::uint64_t>(sizes + 8 * std::size_t{i});
            if (size > max_ - sum) fail("message too large");
            sum += size;
        }
        return sum;
    }

    IncomingMessage whole_frame(const FrameHeader& header) {
        const char* body = at() + FrameHeader::size;
        const auto head = MessageHead::load(body);
        const auto table = std::uint64_t{8} * head.blobs;
        if (head.blobs > MessageHead::max_blobs || MessageHead::size + table > header.body) {
            fail("blob table too long");
        }
        const char* sizes = body + MessageHead::size;
        if (content_size(head, sizes) != header.body - MessageHead::size - table) {
            fail("a frame's size differs from its message's");
        }
        const char* content = sizes + table;
        const std::string_view payload{content, static_cast<std::size_t>(head.payload)};
        content += head.payload;
        blobs_.resize(head.blobs);
        for (std::uint32_t i = 0; i < head.blobs; ++i) {
            const auto size = load_le<std::uint64_t>(sizes + 8 * std::size_t{i});
            blobs_[i] = Bytes{std::string_view{content, static_cast<std::size_t>(size)}};
            content += size;
        }
        skip(FrameHeader::size + header.body);
        return {header.type, header.message, header.number, head.timeout_us,
                payload,     blobs_,         nullptr};
    }

    // Begins a message that is received in place. False: its head has not arrived yet.
    bool open(const FrameHeader& header) {
        constexpr auto fixed = FrameHeader::size + MessageHead::size;
        if (available() < fixed) return false;
        const auto head = MessageHead::load(at() + FrameHeader::size);
        const auto table = std::size_t{8} * head.blobs;
        if (head.blobs > MessageHead::max_blobs || MessageHead::size + table > header.body) {
            fail("blob table too long");
        }
        if (available() < fixed + table) return false;
        const char* sizes = at() + fixed;
        const auto content = content_size(head, sizes);
        const auto here = header.body - MessageHead::size - table;
        const bool more = (header.flags & FrameHeader::more) != 0;
        if (here > content || (here == content) == more) {
            fail("a frame's size differs from its message's");
        }
        auto assembly = std::make_unique<Assembly>();
        assembly->header = header;
        assembly->timeout_us = head.timeout_us;
        assembly->parts.reserve(1 + std::size_t{head.blobs});
        assembly->parts.emplace_back(static_cast<std::size_t>(head.payload));
        for (std::uint32_t i = 0; i < head.blobs; ++i) {
            const auto size = load_le<std::uint64_t>(sizes + 8 * std::size_t{i});
            assembly->parts.emplace_back(static_cast<std::size_t>(size));
        }
        assembly->skip_full();
        const auto [place, added] = assemblies_.emplace(header.number, std::move(assembly));
        if (!added) fail("a message is opened twice");
        begin_body(header, *place->second, here);
        skip(fixed + table);
        return true;
    }

    void begin_body(const FrameHeader& header, Assembly& assembly, std::uint64_t size) noexcept {
        current_ = &assembly;
        frame_left_ = size;
        more_ = (header.flags & FrameHeader::more) != 0;
    }

    void take_body() {
        while (frame_left_ != 0 && available() != 0) {
            const auto target = current_->space(frame_left_);
            if (target.size == 0) fail("a message is longer than its announced size");
            const auto size = std::min(target.size, available());
            std::memcpy(target.data, at(), size);
            current_->advance(size);
            frame_left_ -= size;
            skip(size);
        }
        if (frame_left_ != 0 && current_->complete()) {
            fail("a message is longer than its announced size");
        }
    }

    IncomingMessage deliver(Assembly& whole) {
        delivered_ = whole.header.number;
        return {whole.header.type, whole.header.message,  whole.header.number,
                whole.timeout_us,  whole.parts[0].view(), std::span{whole.parts}.subspan(1),
                &whole.parts[0]};
    }

    void release_delivered() noexcept {
        if (delivered_) assemblies_.erase(*delivered_);
        delivered_.reset();
    }

    std::unique_ptr<char[]> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t direct_ = 0;    // size of the direct part of the last space()
    std::uint64_t offset_ = 0;  // bytes parsed since the connection began
    std::uint64_t max_;
    std::unordered_map<std::uint64_t, std::unique_ptr<Assembly>> assemblies_;
    Assembly* current_ = nullptr;   // receives the current frame's body
    std::uint64_t frame_left_ = 0;  // bytes of that body to come
    bool more_ = false;             // that frame is not the last of its message
    std::vector<Bytes> blobs_;      // of the last small message
    std::optional<std::uint64_t> delivered_;
};

}  // namespace detail
TETHER_NAMESPACE_END
