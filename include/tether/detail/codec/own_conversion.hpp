// Why: a user's to_json or from_json for an enumeration, or for a container of user types, must be
// honoured. nlohmann's own for these must not be mistaken for one.
#pragma once

#include <tether/config.hpp>

#include <nlohmann/json_fwd.hpp>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Converts to a document, but lives in no namespace in which nlohmann/json has functions.
struct DocumentProbe {
    operator nlohmann::json&() const;  // NOLINT: implicit on purpose; never defined
};

template <class T>
concept HasFreeConversion = requires(DocumentProbe& document, const T& value) {
    to_json(document, value);
}
|| requires(const DocumentProbe& document, T& value) { from_json(document, value); };

// The primary template converts every type that has such a function, even one it is not the
// serializer of; a specialisation does not. Without nlohmann/json there are neither.
template <class T>
concept HasOwnSerializer = requires {
    sizeof(nlohmann::adl_serializer<T>);
}
&&!requires(nlohmann::json & document) {
    nlohmann::adl_serializer<T>::template to_json<nlohmann::json, int>(document, 1);
};

template <class T>
concept HasOwnConversion = HasFreeConversion<T> || HasOwnSerializer<T>;

}  // namespace detail
TETHER_NAMESPACE_END
