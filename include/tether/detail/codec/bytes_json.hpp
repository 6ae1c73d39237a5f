// Why: a message may have Bytes as members at any depth, converted by nlohmann/json, while the
// bytes themselves travel beside the payload: its DOM gets only their number.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/blob_scope.hpp>
#include <tether/detail/codec/any_json.hpp>

#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <utility>

TETHER_NAMESPACE_BEGIN

// Inside a message: the number of the blob. Elsewhere: a binary value.
template <detail::AnyJson BasicJson>
void to_json(BasicJson& json, const Bytes& bytes) {
    if (const auto number = detail::attach_blob(bytes)) {
        json = *number;
        return;
    }
    using Binary = typename BasicJson::binary_t;
    typename Binary::container_type copy(bytes.size());
    if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
    json = BasicJson::binary(std::move(copy));
}

// Throws if no blob has this number, or if it was taken already.
template <detail::AnyJson BasicJson>
void from_json(const BasicJson& json, Bytes& bytes) {
    if (json.is_binary()) {
        bytes = Bytes{std::as_bytes(std::span{json.get_binary()})};
        return;
    }
    if (!json.is_number_unsigned()) throw std::runtime_error("not the number of a blob");
    bytes = detail::take_blob(json.template get<std::uint64_t>());
}

TETHER_NAMESPACE_END
