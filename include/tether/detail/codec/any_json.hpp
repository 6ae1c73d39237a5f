// Why: conversions are declared for every nlohmann::basic_json before nlohmann/json is included,
// and by what it promises to have.
#pragma once

#include <tether/config.hpp>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class Json>
concept AnyJson = requires {
    typename Json::binary_t;
    typename Json::json_pointer;
    typename Json::number_unsigned_t;
    Json::meta();
};

}  // namespace detail
TETHER_NAMESPACE_END
