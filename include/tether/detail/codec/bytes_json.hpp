// Why: a message may have Bytes as members at any depth, converted by nlohmann/json, while the
// bytes themselves travel beside the payload: its DOM gets only their number.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/blob_scope.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <utility>

TETHER_NAMESPACE_BEGIN

// Inside a message: the number of the blob. Elsewhere: a binary value.
template <class BasicJson>
requires nlohmann::detail::is_basic_json<BasicJson>::value void to_json(BasicJson& json,
                                                                        const Bytes& bytes) {
    if (const auto number = detail::attach_blob(bytes)) {
        json = *number;
        return;
    }
    using Binary = typename BasicJson::binary_t;
    typename Binary::container_type copy(bytes.size());
    if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
    json = BasicJson::binary(std::move(copy));
}

// Throws when the number is that of no blob, or of one that was taken already.
template <class BasicJson>
requires nlohmann::detail::is_basic_json<BasicJson>::value void from_json(const BasicJson& json,
                                                                          Bytes& bytes) {
    if (json.is_binary()) {
        bytes = Bytes{std::as_bytes(std::span{json.get_binary()})};
        return;
    }
    if (!json.is_number_unsigned()) throw std::runtime_error("not the number of a blob");
    bytes = detail::take_blob(json.template get<std::uint64_t>());
}

TETHER_NAMESPACE_END
