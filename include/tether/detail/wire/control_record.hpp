// Why: control records have a channel of their own beside the calls, and its reader must not
// allocate.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/binary.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/errc.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Records on the control channel: 4 bytes size of what follows, 1 byte type, then the content.
enum class ControlType : std::uint8_t {
    bootstrap = 1,  // parent -> worker
    cancel = 2,     // parent -> worker: the number of a request, 8 bytes
    stop = 3,       // parent -> worker: finish and leave
    probe = 4,      // parent -> worker: does the handler of this request run? 8 bytes
    failed = 16,    // worker -> parent: why it cannot serve
    running = 17,   // worker -> parent: it does; 8 bytes
    overran = 18,   // worker -> parent: its run timeout is over; 8 bytes
    resting = 19,   // worker -> parent: it does not; 8 bytes
};

// Why a worker cannot serve: its last record.
struct StartFailure {
    errc cause = errc::start_failed;
    std::string text{};

    [[nodiscard]] std::string encode() const {
        std::string bytes;
        BinaryWriter{bytes}.number(static_cast<std::uint32_t>(cause)).text(text);
        return bytes;
    }
    static StartFailure decode(std::string_view bytes) {
        BinaryReader in{bytes};
        StartFailure result;
        const auto cause = in.number<std::uint32_t>();
        result.text = in.text();
        const auto known = {errc::start_failed, errc::protocol_mismatch, errc::hook_missing};
        for (const auto candidate : known) {
            if (cause == static_cast<std::uint32_t>(candidate)) result.cause = candidate;
        }
        if (!in.at_end()) result.text = "the worker sent a malformed reason";
        return result;
    }
};

struct ControlRecord {
    ControlType type{};
    std::string_view content{};
};

inline std::string control_record(ControlType type, std::string_view content = {}) {
    std::string bytes;
    BinaryWriter{bytes}
        .number(static_cast<std::uint32_t>(content.size() + 1))
        .number(static_cast<std::uint8_t>(type))
        .raw(content);
    return bytes;
}

// Whether a channel's first bytes are those of a bootstrap record, of whatever version.
inline bool begins_with_bootstrap(std::string_view bytes) noexcept {
    if (bytes.size() < 13 || bytes[4] != static_cast<char>(ControlType::bootstrap)) return false;
    return load_le<std::uint64_t>(bytes.data() + 5) == wire_magic;
}

// A record about one request. Without allocating, for the guard.
inline std::array<char, 13> record_about(std::uint64_t number, ControlType type) noexcept {
    std::array<char, 13> bytes;
    store_le(bytes.data(), std::uint32_t{9});
    bytes[4] = static_cast<char>(type);
    store_le(bytes.data() + 5, number);
    return bytes;
}

// A StartFailure of a short text, as a record. Without allocating, for the guard.
class FailedRecord {
public:
    explicit FailedRecord(std::string_view text) noexcept
        : text_size_(std::min(text.size(), bytes_.size() - head)) {
        const auto size = static_cast<std::uint32_t>(text_size_);
        store_le(bytes_.data(), static_cast<std::uint32_t>(head - 4) + size);
        bytes_[4] = static_cast<char>(ControlType::failed);
        store_le(bytes_.data() + 5, static_cast<std::uint32_t>(errc::start_failed));
        store_le(bytes_.data() + 9, size);
        text.copy(bytes_.data() + head, text_size_);
    }
    [[nodiscard]] std::string_view view() const noexcept {
        return {bytes_.data(), head + text_size_};
    }

private:
    static constexpr std::size_t head = 4 + 1 + 4 + 4;
    std::array<char, 192> bytes_{};
    std::size_t text_size_;
};

// Cuts records out of a stream, in a buffer of fixed size, because the worker's guard must not
// allocate. A record that cannot fit makes the reader broken.
class ControlReader {
public:
    static constexpr std::size_t capacity = 8192;

    [[nodiscard]] char* space() noexcept { return buffer_.data() + end_; }
    [[nodiscard]] std::size_t space_size() const noexcept { return capacity - end_; }
    void received(std::size_t size) noexcept { end_ += size; }
    [[nodiscard]] bool broken() const noexcept { return broken_; }

    // The next record; its content is valid until the next call.
    std::optional<ControlRecord> next() noexcept {
        compact();
        if (broken_ || end_ < 5) return std::nullopt;
        const auto size = load_le<std::uint32_t>(buffer_.data());
        if (size == 0 || size > capacity - 4) broken_ = true;
        if (broken_ || end_ < 4 + std::size_t{size}) return std::nullopt;
        begin_ = 4 + std::size_t{size};
        return ControlRecord{static_cast<ControlType>(buffer_[4]),
                             std::string_view{buffer_.data() + 5, std::size_t{size} - 1}};
    }

private:
    void compact() noexcept {
        if (begin_ == 0) return;
        std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                  buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
        end_ -= begin_;
        begin_ = 0;
    }

    std::array<char, capacity> buffer_{};
    std::size_t begin_ = 0;  // end of the record that next() gave
    std::size_t end_ = 0;
    bool broken_ = false;
};

}  // namespace detail
TETHER_NAMESPACE_END
