// Why: before anything else, each side proves its identity and that it speaks the same protocol.
// Every way in which they can differ has a sentence of its own.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/binary.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::uint64_t wire_magic = 0x31'52'45'48'54'45'54'00;  // "\0TETHER1"
// The minor version is in the upper half. A parent asks for the lowest that its protocol needs.
inline constexpr std::uint32_t wire_version = 1;
inline constexpr std::uint32_t live_wire_version = 1U << 16 | wire_version;

using Secret = std::array<char, 32>;

// Takes the same time, wherever the two differ.
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
    bool is_live = false;  // sent as the wire version

    [[nodiscard]] std::uint32_t wire() const noexcept {
        return is_live ? live_wire_version : wire_version;
    }
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

// The first message in each direction on the connection: `hello` carries the parent's secret and
// what it wants, `welcome` the worker's secret and what it is.
struct Greeting {
    Secret secret{};
    ProtocolId protocol{};

    void append_to(std::string& bytes) const {
        BinaryWriter out{bytes};
        out.number(wire_magic).number(protocol.wire()).raw(view(secret));
        protocol.write(out);
    }

    static std::optional<Greeting> decode(std::string_view bytes) {
        BinaryReader in{bytes};
        if (in.number<std::uint64_t>() != wire_magic) return std::nullopt;
        const auto wire = in.number<std::uint32_t>();
        if (wire != wire_version && wire != live_wire_version) return std::nullopt;
        Greeting result;
        in.raw(result.secret.size()).copy(result.secret.data(), result.secret.size());
        result.protocol = ProtocolId::read(in);
        result.protocol.is_live = wire == live_wire_version;
        if (!in.at_end()) return std::nullopt;
        return result;
    }
};

}  // namespace detail
TETHER_NAMESPACE_END
