// Why: bytes arrive cut anywhere, from a peer that may be broken. Small messages are read where
// they arrived, large ones are received where they stay, and no length is trusted beyond its limit.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/wire/frame.hpp>

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

// The peer sent bytes that are no message. Ends the connection.
class FramingError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// One message that arrived. The views are valid until the reader is used again.
struct IncomingMessage {
    FrameType type{};
    std::uint16_t index{};
    std::uint64_t number{};
    Timeouts timeouts{};
    std::string_view payload{};
    std::span<Bytes> blobs{};
    Bytes* storage = nullptr;  // of the payload, to move from, where it is large
    bool logged = false;       // see FrameHeader
    bool one_way = false;      // the same

    // Of a side message.
    [[nodiscard]] std::uint64_t call() const noexcept { return timeouts.call_us; }
};

// Says whether a large message that begins may be received: its size is only a claim.
class Doorkeeper {
public:
    Doorkeeper() = default;
    Doorkeeper(const Doorkeeper&) = delete;
    Doorkeeper& operator=(const Doorkeeper&) = delete;

    enum class Verdict {
        take,
        discard,  // it is delivered without its content, for which there is no storage
        refuse,   // it ends the connection
    };
    // `call`: what the message belongs to, if it is a side message.
    virtual Verdict judge(const FrameHeader& header, std::uint64_t call) = 0;
    // The rest of one that was let in will not come.
    virtual void broken_off(FrameType type, std::uint64_t call) = 0;

protected:
    ~Doorkeeper() = default;
};

// Turns a stream of bytes, cut anywhere, into messages. Small ones are views into its buffer; large
// ones are received in place.
class FrameReader {
public:
    static constexpr std::size_t buffer_size = std::size_t{64} * 1024;

    explicit FrameReader(std::uint64_t max_message_bytes)
        : buffer_(std::make_unique_for_overwrite<char[]>(buffer_size)), max_(max_message_bytes) {}

    void set_max_message_bytes(std::uint64_t max) noexcept { max_ = max; }
    // Without a doorkeeper, every message is taken.
    void set_doorkeeper(Doorkeeper& doorkeeper) noexcept { doorkeeper_ = &doorkeeper; }
    // Bytes parsed since the connection began.
    [[nodiscard]] std::uint64_t parsed() const noexcept { return offset_; }
    // Frames that began no message, since the connection began.
    [[nodiscard]] std::uint64_t pieces() const noexcept { return pieces_; }

    // Where to receive the next bytes, in this order. Before, call next() until it returns nothing.
    [[gnu::always_inline]] std::array<MutableBuffer, 2> space() noexcept {
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
            looked_at_ = header.number;
            if (is_piece(header.type)) ++pieces_;
            if (header.type == FrameType::abort) {
                break_off(header.number);
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

    // The number of the message whose frame next() saw last; after std::bad_alloc, the message it
    // had no memory for.
    [[nodiscard]] std::uint64_t looked_at() const noexcept { return looked_at_; }

    // No part of a further message has arrived.
    [[nodiscard]] bool idle() const noexcept { return assemblies_.empty() && begin_ == end_; }

    // The lowest number of a message of which only a part has arrived, if it is below `number`.
    [[nodiscard]] std::uint64_t oldest_open(std::uint64_t number) const noexcept {
        for (const auto& [open, assembly] : assemblies_) number = std::min(number, open);
        return number;
    }

    // How many messages have begun and are not complete.
    [[nodiscard]] std::size_t open_messages() const noexcept { return assemblies_.size(); }

    // Whether a further complete message is likely in the buffer, without parsing it.
    [[nodiscard]] bool has_buffered() const noexcept {
        return current_ == nullptr && available() >= FrameHeader::size &&
               available() >= FrameHeader::size + FrameHeader::load(at()).body;
    }

private:
    // A large message, filled in the order payload, blobs.
    struct Assembly {
        FrameHeader header{};
        Timeouts timeouts{};
        std::vector<Bytes> parts{};  // the payload first
        std::size_t part = 0;
        std::size_t filled = 0;
        bool is_discarded = false;
        std::uint64_t to_discard = 0;  // bytes that are still to come

        void skip_full() noexcept {
            while (part < parts.size() && filled == parts[part].size()) {
                ++part;
                filled = 0;
            }
        }
        [[nodiscard]] bool complete() const noexcept {
            return part == parts.size() && to_discard == 0;
        }
        MutableBuffer space(std::uint64_t limit) noexcept {
            if (is_discarded || complete()) return {};
            auto& bytes = parts[part];
            return {reinterpret_cast<char*>(BytesFilling::data(bytes)) + filled,
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
        if (header.type < FrameType::hello || header.type > FrameType::subscription) {
            fail("unknown frame type");
        }
        if (header.body > max_frame_body) fail("frame too long");
        if ((header.flags & ~FrameHeader::more) != 0) [[unlikely]]
            check_flags(header);
        if (header.type == FrameType::abort && header.body != 0) fail("abort with a body");
        if (header.type == FrameType::data && header.body == 0) fail("empty data frame");
        if (!is_piece(header.type) && header.body < MessageHead::size) {
            fail("frame too short");
        }
        if (is_side_message(header.type) && !SideNumbers::is_side(header.number)) {
            fail("a side message with the number of a request");
        }
    }

    [[gnu::noinline]] void check_flags(const FrameHeader& header) const {
        const bool is_answer =
            header.type == FrameType::response || header.type == FrameType::error;
        const bool is_request = header.type == FrameType::request;
        const auto known = FrameHeader::more | (is_answer ? FrameHeader::logged : 0) |
                           (is_request ? FrameHeader::one_way : 0);
        if ((header.flags & ~known) != 0) fail("unknown frame flags");
    }

    void break_off(std::uint64_t number) {
        const auto found = assemblies_.find(number);
        if (found == assemblies_.end()) fail("abort of an unknown message");
        const auto type = found->second->header.type;
        const auto call = found->second->timeouts.call_us;
        assemblies_.erase(found);
        if (doorkeeper_ != nullptr) doorkeeper_->broken_off(type, call);
    }

    // The sum of all sizes. Fails if it exceeds the limit.
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
        if (!assemblies_.empty() && assemblies_.contains(header.number)) {
            fail("a message is opened twice");
        }
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
        return {header.type, header.message, header.number,      head.timeouts,     payload,
                blobs_,      nullptr,        has_logged(header), is_one_way(header)};
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
        assembly->timeouts = head.timeouts;
        const auto verdict = doorkeeper_ == nullptr
                                 ? Doorkeeper::Verdict::take
                                 : doorkeeper_->judge(header, head.timeouts.call_us);
        if (verdict == Doorkeeper::Verdict::refuse) fail("a message that was not asked for");
        if (verdict == Doorkeeper::Verdict::discard) {
            assembly->is_discarded = true;
            assembly->to_discard = content;
        } else {
            make_parts(*assembly, head, sizes);
        }
        const auto [place, added] = assemblies_.emplace(header.number, std::move(assembly));
        if (!added) fail("a message is opened twice");
        begin_body(header, *place->second, here);
        skip(fixed + table);
        return true;
    }

    static void make_parts(Assembly& assembly, const MessageHead& head, const char* sizes) {
        assembly.parts.reserve(1 + std::size_t{head.blobs});
        assembly.parts.emplace_back(static_cast<std::size_t>(head.payload));
        for (std::uint32_t i = 0; i < head.blobs; ++i) {
            const auto size = load_le<std::uint64_t>(sizes + 8 * std::size_t{i});
            assembly.parts.emplace_back(static_cast<std::size_t>(size));
        }
        assembly.skip_full();
    }

    void begin_body(const FrameHeader& header, Assembly& assembly, std::uint64_t size) noexcept {
        current_ = &assembly;
        frame_left_ = size;
        more_ = (header.flags & FrameHeader::more) != 0;
    }

    void take_body() {
        while (current_->is_discarded && frame_left_ != 0 && available() != 0) {
            const auto size =
                std::min<std::uint64_t>({frame_left_, available(), current_->to_discard});
            if (size == 0) fail("a message is longer than its announced size");
            current_->to_discard -= size;
            frame_left_ -= size;
            skip(static_cast<std::size_t>(size));
        }
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
        IncomingMessage message{whole.header.type, whole.header.message, whole.header.number,
                                whole.timeouts};
        message.logged = has_logged(whole.header);
        message.one_way = is_one_way(whole.header);
        if (whole.is_discarded) return message;
        message.payload = whole.parts[0].view();
        message.blobs = std::span{whole.parts}.subspan(1);
        message.storage = &whole.parts[0];
        return message;
    }

    static bool has_logged(const FrameHeader& header) noexcept {
        return (header.flags & FrameHeader::logged) != 0;
    }

    static bool is_one_way(const FrameHeader& header) noexcept {
        return (header.flags & FrameHeader::one_way) != 0;
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
    std::uint64_t looked_at_ = 0;
    std::uint64_t pieces_ = 0;
    Doorkeeper* doorkeeper_ = nullptr;
};

}  // namespace detail
TETHER_NAMESPACE_END
