// Why: a message type without to_json or from_json should be told so in a sentence, where
// nlohmann/json would say it in pages.
#pragma once

#include <tether/config.hpp>

#include <nlohmann/json.hpp>

#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class T>
nlohmann::json to_dom(const T& value) {
    static_assert(std::is_constructible_v<nlohmann::json, const T&>,
                  "this message type has no to_json: write one, or list its members in "
                  "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, member...)");
    return nlohmann::json(value);
}

template <class T>
T from_dom(const nlohmann::json& dom) {
    static_assert(
        requires { dom.template get<T>(); },
        "this message type has no from_json, or no default constructor: write one, or list its "
        "members in NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, member...)");
    return dom.template get<T>();
}

}  // namespace detail
TETHER_NAMESPACE_END
