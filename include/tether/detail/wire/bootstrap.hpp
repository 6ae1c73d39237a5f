// Why: all that a worker must know before it serves, in one record that a worker of another
// language can read.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/binary.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/limits.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

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
    bool verify_peer = false;      // the kernel identifies the peer of a connection
    bool mark_severity = false;    // the parent reads the output line by line
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
    std::uint32_t depth = 0;          // of this worker in workers of workers; 0: not told
    std::uint32_t calls_in_work = 0;  // where handlers wait without a thread; 0: as many as usual

    // How many calls run at once at most.
    [[nodiscard]] std::uint32_t slots() const noexcept {
        return calls_in_work != 0 ? calls_in_work : concurrency;
    }

    [[nodiscard]] std::string encode() const {
        std::string bytes;
        BinaryWriter out{bytes};
        out.number(wire_magic).number(protocol.wire()).text(worker).number(generation);
        out.raw(view(parent_secret)).raw(view(worker_secret));
        protocol.write(out);
        const auto flags =
            (listening ? 1U : 0U) | (verify_peer ? 2U : 0U) | (mark_severity ? 4U : 0U) |
            (has_parent ? 8U : 0U) | (limits != Limits{} ? 16U : 0U) | (spin_us != 0 ? 32U : 0U) |
            (depth != 0 ? 64U : 0U) | (has_ledger ? 128U : 0U) | (spares_sessions ? 256U : 0U) |
            (has_alarm ? 512U : 0U) | (calls_in_work != 0 ? 1024U : 0U);
        out.number(static_cast<std::uint32_t>(flags)).number(concurrency);
        out.number(max_message_bytes).number(orphan_grace_us).number(parent_pid);
        if (limits != Limits{}) write_limits(out, limits);
        if (spin_us != 0) out.number(spin_us);
        if (depth != 0) out.number(depth);
        if (calls_in_work != 0) out.number(calls_in_work);
        return bytes;
    }

    static std::optional<Bootstrap> decode(std::string_view bytes) {
        BinaryReader in{bytes};
        if (in.number<std::uint64_t>() != wire_magic) return std::nullopt;
        const auto wire = in.number<std::uint32_t>();
        if (wire != wire_version && wire != live_wire_version) return std::nullopt;
        Bootstrap result;
        result.worker = in.text();
        result.generation = in.number<std::uint64_t>();
        for (auto* secret : {&result.parent_secret, &result.worker_secret}) {
            in.raw(secret->size()).copy(secret->data(), secret->size());
        }
        result.protocol = ProtocolId::read(in);
        result.protocol.is_live = wire == live_wire_version;
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
        if ((flags & 1024) != 0) result.calls_in_work = in.number<std::uint32_t>();
        if (!in.at_end()) return std::nullopt;
        return result;
    }

    friend bool operator==(const Bootstrap&, const Bootstrap&) = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
