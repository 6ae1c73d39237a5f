// Why: a message may have Bytes as members at any depth, converted by nlohmann/json, while the
// bytes themselves travel beside the payload: its DOM gets only their number.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/blob_scope.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN

// Inside a message: the number of the blob. Elsewhere: a binary value.
template <class BasicJson>
requires nlohmann::detail::is_basic_json<BasicJson>::value void to_json(BasicJson& json,
                                                                        const Bytes& bytes) {
    auto* scope = detail::BlobScope::current();
    if (scope != nullptr && scope->outgoing != nullptr) {
        json = scope->outgoing->size();
        scope->outgoing->push_back(&bytes);
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
    auto* scope = detail::BlobScope::current();
    if (json.is_binary()) {
        bytes = Bytes{std::as_bytes(std::span{json.get_binary()})};
        return;
    }
    if (!json.is_number_unsigned()) throw std::runtime_error("not the number of a blob");
    const auto index = json.template get<std::size_t>();
    if (scope == nullptr || index >= scope->incoming.size()) {
        throw std::runtime_error("no blob number " + std::to_string(index));
    }
    scope->taken.resize(scope->incoming.size());
    if (scope->taken[index]) {
        throw std::runtime_error("blob number " + std::to_string(index) + " is used twice");
    }
    scope->taken[index] = true;
    bytes = std::move(scope->incoming[index]);
}

TETHER_NAMESPACE_END
