// Why: a to_json or from_json of the user's for an enumeration, or a container of the user's types,
// must be honoured, and nlohmann's own for these must not be taken for one.
#pragma once

#include <tether/config.hpp>

#include <nlohmann/json.hpp>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Goes where a document goes, and is of no namespace in which nlohmann/json has functions.
struct DocumentProbe {
    operator nlohmann::json&() const;  // NOLINT: implicit on purpose; never defined
};

template <class T>
concept HasFreeConversion = requires(DocumentProbe& document, const T& value) {
    to_json(document, value);
}
|| requires(const DocumentProbe& document, T& value) { from_json(document, value); };

// The primary template converts any type for which there is a function, whatever it is a serializer
// of; a specialisation does not.
template <class T>
concept HasOwnSerializer = !requires(nlohmann::json & document) {
    nlohmann::adl_serializer<T>::template to_json<nlohmann::json, int>(document, 1);
};

template <class T>
concept HasOwnConversion = HasFreeConversion<T> || HasOwnSerializer<T>;

}  // namespace detail
TETHER_NAMESPACE_END
