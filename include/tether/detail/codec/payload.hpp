// Why: the codec does not see every message: a type without members needs no bytes, and blobs
// travel beside the payload.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/blob_scope.hpp>

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Types without members need no to_json, and no bytes.
template <class T>
inline constexpr bool has_no_content = std::is_empty_v<T>;

// Appends the payload of `value` to `out`; `blobs` gets the Bytes inside it, which must outlive
// the sending.
template <class C, class T>
void encode_payload(const T& value, std::string& out, std::vector<const Bytes*>& blobs) {
    if constexpr (std::is_same_v<T, Bytes>) {
        blobs.push_back(&value);
    } else if constexpr (!has_no_content<T>) {
        BlobScope scope{.outgoing = &blobs};
        const BlobScopeGuard guard{scope};
        C::encode(value, out);
    }
}

template <class C, class T>
T decode_payload(std::string_view payload, std::span<Bytes> blobs) {
    if constexpr (std::is_same_v<T, Bytes>) {
        if (!payload.empty() || blobs.size() != 1) throw std::runtime_error("expected one blob");
        return std::move(blobs.front());
    } else if constexpr (has_no_content<T>) {
        if (!payload.empty()) throw std::runtime_error("expected no payload");
        return T{};
    } else {
        BlobScope scope{.incoming = blobs};
        const BlobScopeGuard guard{scope};
        return C::template decode<T>(payload);
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
