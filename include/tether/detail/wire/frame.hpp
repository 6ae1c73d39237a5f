// Why: one connection carries many messages at once. A message is cut into frames of at most 1 MiB,
// so that a large one never blocks a small one, and its head says all sizes at once, so that bytes
// are received straight into the storage they stay in. docs/wire-protocol.md has the layout.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/binary.hpp>
#include <tether/detail/base/buffers.hpp>

#include <cstddef>
#include <cstdint>

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
    // Of live protocols only. Each is a message with a number of its own, see SideNumbers; its head
    // names the call that it belongs to.
    item = 8,           // of a stream: down from the worker, up from the parent
    progress = 9,       // worker -> parent
    question = 10,      // worker -> parent; answered with a response or an error of its number
    notification = 11,  // worker -> parent, of no call
    window = 12,        // so many bytes more of items may be sent
    finish = 13,        // parent -> worker: no more items will come
    subscription = 14,  // parent -> worker: whether it wants notifications of an index
};

// Messages that are neither requests nor answers.
inline bool is_side_message(FrameType type) noexcept { return type >= FrameType::item; }
// Those of them that a worker sends.
inline bool is_workers_side_message(FrameType type) noexcept {
    return type >= FrameType::item && type <= FrameType::window;
}
// More of a message that was opened before, or its end.
inline bool is_piece(FrameType type) noexcept {
    return type == FrameType::data || type == FrameType::abort;
}

// The numbers of side messages, apart from those of calls. Each side counts its own.
class SideNumbers {
public:
    static constexpr std::uint64_t bit = std::uint64_t{1} << 63;

    [[nodiscard]] std::uint64_t next() noexcept { return bit | ++last_; }
    static bool is_side(std::uint64_t number) noexcept { return (number & bit) != 0; }

private:
    std::uint64_t last_ = 0;
};

struct FrameHeader {
    static constexpr std::size_t size = 16;
    static constexpr std::uint8_t more = 1;     // flag: data frames follow
    static constexpr std::uint8_t logged = 2;   // flag of answers: the handler has logged something
    static constexpr std::uint8_t one_way = 4;  // flag of requests: no answer is wanted

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

// The time limits of a call; 0: none.
struct Timeouts {
    std::uint64_t call_us = 0;  // from its sending
    std::uint32_t run_ms = 0;   // from the start of its handler

    friend bool operator==(const Timeouts&, const Timeouts&) = default;
};

// In the same place of a side message: the call that it belongs to; 0 where it belongs to none. A
// question has the time that its asker waits.
inline Timeouts of_call(std::uint64_t number, std::uint32_t wait_ms = 0) noexcept {
    return {number, wait_ms};
}

// Follows the header of the frame that opens a message; then come the sizes of the blobs, 8 bytes
// each, then the payload, then the blobs.
struct MessageHead {
    static constexpr std::size_t size = 24;
    static constexpr std::uint32_t max_blobs = 4096;  // so that it fits into the reader's buffer

    std::uint64_t payload = 0;
    Timeouts timeouts{};
    std::uint32_t blobs = 0;

    void store(char* target) const noexcept {
        store_le(target, payload);
        store_le(target + 8, timeouts.call_us);
        store_le(target + 16, blobs);
        store_le(target + 20, timeouts.run_ms);
    }
    static MessageHead load(const char* source) noexcept {
        return {load_le<std::uint64_t>(source),
                {load_le<std::uint64_t>(source + 8), load_le<std::uint32_t>(source + 20)},
                load_le<std::uint32_t>(source + 16)};
    }
};

inline constexpr std::size_t max_frame_body = std::size_t{1} << 20;

}  // namespace detail
TETHER_NAMESPACE_END
