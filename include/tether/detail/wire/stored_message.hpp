// Why: a message that is not handled where it was read outlives the reader's buffer.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/wire/frame_reader.hpp>
#include <tether/detail/wire/outgoing_message.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A message with storage of its own, which it takes over where that is large.
struct StoredMessage {
    FrameType type{};
    std::uint16_t index = 0;
    std::uint64_t number = 0;
    Timeouts timeouts{};
    bool one_way = false;
    std::string payload{};
    Bytes large_payload{};
    std::vector<Bytes> blobs{};

    StoredMessage() = default;
    explicit StoredMessage(IncomingMessage& source)
        : type(source.type),
          index(source.index),
          number(source.number),
          timeouts(source.timeouts),
          one_way(source.one_way) {
        if (source.storage != nullptr) {
            large_payload = std::move(*source.storage);
        } else {
            payload = source.payload;
        }
        blobs.reserve(source.blobs.size());
        std::move(source.blobs.begin(), source.blobs.end(), std::back_inserter(blobs));
    }

    [[nodiscard]] std::string_view bytes() const noexcept {
        return large_payload.empty() ? std::string_view{payload} : large_payload.view();
    }
    [[nodiscard]] IncomingMessage view() noexcept {
        IncomingMessage message{type, index, number, timeouts};
        message.payload = bytes();
        message.blobs = blobs;
        message.one_way = one_way;
        return message;
    }
};

// What a stream's window counts of a message: its content, the sizes of its blobs, and its head. An
// empty blob takes memory, too.
inline std::uint64_t window_cost(std::uint64_t content, std::size_t blobs) noexcept {
    return content + 8 * std::uint64_t{blobs} + FrameHeader::size + MessageHead::size;
}
inline std::uint64_t window_cost(const IncomingMessage& message) noexcept {
    std::uint64_t content = message.payload.size();
    for (const auto& blob : message.blobs) content += blob.size();
    return window_cost(content, message.blobs.size());
}
// Before it is sealed.
inline std::uint64_t window_cost(const OutgoingMessage& message) noexcept {
    return window_cost(message.content_size(), message.blobs().size());
}

// How much of items may be on the way or unread, in each direction of each call, and of all
// notifications. An item may be sent while any of it is left, so that the size of an item has no
// limit of its own.
class Window {
public:
    static constexpr std::int64_t size = std::int64_t{256} * 1024;

    // --- Of the side that sends

    [[nodiscard]] bool is_open() const noexcept { return left_ > 0; }
    void use(std::uint64_t cost) noexcept { left_ -= static_cast<std::int64_t>(cost); }
    // False: no peer opens it so far.
    [[nodiscard]] bool open(std::uint64_t more) noexcept {
        constexpr auto most = std::uint64_t{1} << 40;
        if (more > most || left_ > static_cast<std::int64_t>(most)) return false;
        left_ += static_cast<std::int64_t>(more);
        return true;
    }

private:
    std::int64_t left_ = size;
};

// The same of the side that receives.
class ReceiveWindow {
public:
    [[nodiscard]] bool is_open() const noexcept { return window_.is_open(); }
    // An item has come. False: it was not allowed.
    [[nodiscard]] bool receive(std::uint64_t cost) noexcept {
        if (!window_.is_open()) return false;
        window_.use(cost);
        return true;
    }
    // So much was taken by the user. Returns what to open the window by; 0: nothing yet.
    [[nodiscard]] std::uint64_t take(std::uint64_t cost) noexcept {
        taken_ += cost;
        if (taken_ < static_cast<std::uint64_t>(Window::size) / 2) return 0;
        static_cast<void>(window_.open(taken_));
        return std::exchange(taken_, 0);
    }

private:
    Window window_;
    std::uint64_t taken_ = 0;
};

// What one call may ask that was not answered.
struct QuestionLimit {
    static constexpr std::size_t most = 1024;

    std::size_t count = 0;
    std::uint64_t cost = 0;

    // One more may be asked, of any size.
    [[nodiscard]] bool is_open() const noexcept {
        return count < most && cost < static_cast<std::uint64_t>(Window::size);
    }
};

// Opens it as a `window` message says. False: no peer says that.
[[nodiscard]] inline bool open_window(Window& window, const IncomingMessage& message) noexcept {
    return message.payload.size() == 8 && message.blobs.empty() &&
           window.open(load_le<std::uint64_t>(message.payload.data()));
}
inline void append_window(std::string& payload, std::uint64_t bytes) {
    payload.append(8, '\0');
    store_le(payload.data() + payload.size() - 8, bytes);
}

}  // namespace detail
TETHER_NAMESPACE_END
