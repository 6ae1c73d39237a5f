// Why: both sides prove who they are and that they speak the same protocol before anything else,
// and every way in which they can differ has a sentence of its own.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/binary.hpp>
#include <tether/error.hpp>
#include <tether/limits.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::uint64_t wire_magic = 0x31'52'45'48'54'45'54'00;  // "\0TETHER1"
inline constexpr std::uint32_t wire_version = 1;

using Secret = std::array<char, 32>;

// Takes the same time wherever the two differ.
inline bool equal_secrets(std::string_view left, std::string_view right) noexcept {
    if (left.size() != right.size()) return false;
    unsigned difference = 0;
    for (std::size_t i = 0; i < left.size(); ++i) {
        difference |= static_cast<unsigned char>(left[i]) ^ static_cast<unsigned char>(right[i]);
    }
    return difference == 0;
}

inline std::string_view view(const Secret& secret) noexcept {
    return {secret.data(), secret.size()};
}

// What identifies a protocol on the wire.
struct ProtocolId {
    std::string name{};
    std::uint32_t version = 0;
    std::uint64_t fingerprint = 0;

    void write(BinaryWriter& out) const { out.text(name).number(version).number(fingerprint); }
    static ProtocolId read(BinaryReader& in) {
        ProtocolId id;
        id.name = in.text();
        id.version = in.number<std::uint32_t>();
        id.fingerprint = in.number<std::uint64_t>();
        return id;
    }
    friend bool operator==(const ProtocolId&, const ProtocolId&) = default;
};

// A sentence on how the worker's protocol differs from what the parent wants.
inline std::string describe_mismatch(const ProtocolId& wanted, const ProtocolId& offered) {
    if (wanted.name != offered.name) {
        return "the parent wants protocol \"" + wanted.name + "\", the worker serves \"" +
               offered.name + "\"";
    }
    if (wanted.version != offered.version) {
        return "the parent speaks version " + std::to_string(wanted.version) + " of protocol \"" +
               wanted.name + "\", the worker version " + std::to_string(offered.version);
    }
    return "protocol \"" + wanted.name +
           "\" has other messages or another codec in the worker's "
           "program than in the parent's, under the same version";
}

// Four numbers, the largest of which stands for "no limit".
inline constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();

inline void write_limits(BinaryWriter& out, const Limits& limits) {
    out.number(limits.memory_bytes.value_or(no_limit));
    const auto seconds =
        std::chrono::ceil<std::chrono::seconds>(limits.cpu_time.value_or(Duration::zero()));
    out.number(limits.cpu_time ? static_cast<std::uint64_t>(seconds.count()) : no_limit);
    out.number(limits.core_bytes.value_or(no_limit));
    out.number(limits.nice ? static_cast<std::uint64_t>(*limits.nice + 20) : no_limit);
}

inline Limits read_limits(BinaryReader& in) {
    const auto next = [&]() -> std::optional<std::uint64_t> {
        const auto number = in.number<std::uint64_t>();
        return number == no_limit ? std::nullopt : std::optional{number};
    };
    Limits limits;
    limits.memory_bytes = next();
    if (const auto seconds = next()) {
        limits.cpu_time = std::chrono::duration<std::uint64_t>{*seconds};
    }
    limits.core_bytes = next();
    if (const auto nice = next())
        limits.nice = static_cast<int>(std::min<std::uint64_t>(*nice, 39)) - 20;
    return limits;
}

// parent -> worker on the control channel, before anything else.
struct Bootstrap {
    std::string worker{};
    std::uint64_t generation = 0;
    Secret parent_secret{};  // what the connection must present
    Secret worker_secret{};  // what the worker answers
    ProtocolId protocol{};
    bool listening = false;        // a listening socket was handed over, not a connected one
    bool verify_peer = false;      // the socket tells who connects
    bool mark_severity = false;    // somebody reads the output line by line
    bool has_parent = false;       // a descriptor of the parent's process was handed over
    bool has_ledger = false;       // so was shared memory, see LedgerPages
    bool has_alarm = false;        // so was an eventfd, see Alarm
    bool spares_sessions = false;  // see Descendants::spare_sessions
    std::uint32_t concurrency = 1;
    std::uint64_t max_message_bytes = 0;
    std::uint64_t orphan_grace_us = 0;
    std::uint64_t parent_pid = 0;
    Limits limits{};
    std::uint64_t spin_us = 0;
    std::uint32_t depth = 0;  // of this worker in workers of workers; 0: not told

    [[nodiscard]] std::string encode() const {
        std::string bytes;
        BinaryWriter out{bytes};
        out.number(wire_magic).number(wire_version).text(worker).number(generation);
        out.raw(view(parent_secret)).raw(view(worker_secret));
        protocol.write(out);
        const auto flags = (listening ? 1U : 0U) | (verify_peer ? 2U : 0U) |
                           (mark_severity ? 4U : 0U) | (has_parent ? 8U : 0U) |
                           (limits != Limits{} ? 16U : 0U) | (spin_us != 0 ? 32U : 0U) |
                           (depth != 0 ? 64U : 0U) | (has_ledger ? 128U : 0U) |
                           (spares_sessions ? 256U : 0U) | (has_alarm ? 512U : 0U);
        out.number(static_cast<std::uint32_t>(flags)).number(concurrency);
        out.number(max_message_bytes).number(orphan_grace_us).number(parent_pid);
        if (limits != Limits{}) write_limits(out, limits);
        if (spin_us != 0) out.number(spin_us);
        if (depth != 0) out.number(depth);
        return bytes;
    }

    static std::optional<Bootstrap> decode(std::string_view bytes) {
        BinaryReader in{bytes};
        if (in.number<std::uint64_t>() != wire_magic) return std::nullopt;
        if (in.number<std::uint32_t>() != wire_version) return std::nullopt;
        Bootstrap result;
        result.worker = in.text();
        result.generation = in.number<std::uint64_t>();
        for (auto* secret : {&result.parent_secret, &result.worker_secret}) {
            in.raw(secret->size()).copy(secret->data(), secret->size());
        }
        result.protocol = ProtocolId::read(in);
        const auto flags = in.number<std::uint32_t>();
        result.listening = (flags & 1) != 0;
        result.verify_peer = (flags & 2) != 0;
        result.mark_severity = (flags & 4) != 0;
        result.has_parent = (flags & 8) != 0;
        result.has_ledger = (flags & 128) != 0;
        result.has_alarm = (flags & 512) != 0;
        result.spares_sessions = (flags & 256) != 0;
        result.concurrency = in.number<std::uint32_t>();
        result.max_message_bytes = in.number<std::uint64_t>();
        result.orphan_grace_us = in.number<std::uint64_t>();
        result.parent_pid = in.number<std::uint64_t>();
        if ((flags & 16) != 0) result.limits = read_limits(in);
        if ((flags & 32) != 0) result.spin_us = in.number<std::uint64_t>();
        if ((flags & 64) != 0) result.depth = in.number<std::uint32_t>();
        if (!in.at_end()) return std::nullopt;
        return result;
    }

    friend bool operator==(const Bootstrap&, const Bootstrap&) = default;
};

// The first message in each direction on the connection: `hello` carries the parent's secret and
// what it wants, `welcome` the worker's secret and what it is.
struct Greeting {
    Secret secret{};
    ProtocolId protocol{};

    void append_to(std::string& bytes) const {
        BinaryWriter out{bytes};
        out.number(wire_magic).number(wire_version).raw(view(secret));
        protocol.write(out);
    }

    static std::optional<Greeting> decode(std::string_view bytes) {
        BinaryReader in{bytes};
        if (in.number<std::uint64_t>() != wire_magic) return std::nullopt;
        if (in.number<std::uint32_t>() != wire_version) return std::nullopt;
        Greeting result;
        in.raw(result.secret.size()).copy(result.secret.data(), result.secret.size());
        result.protocol = ProtocolId::read(in);
        if (!in.at_end()) return std::nullopt;
        return result;
    }
};

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

// A worker's last words when it cannot serve.
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

// Cuts records out of a stream, in a buffer of fixed size: the worker's guard thread must not
// allocate. A record that cannot fit makes it broken.
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
