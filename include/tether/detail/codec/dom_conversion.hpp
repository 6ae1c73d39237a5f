// Why: a message type without to_json or from_json deserves one sentence instead of nlohmann/json's
// pages.
#pragma once

#include <tether/config.hpp>

#include <nlohmann/json.hpp>

#include <exception>
#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class T>
nlohmann::json to_dom(const T& value) {
    constexpr bool convertible = std::is_constructible_v<nlohmann::json, const T&>;
    static_assert(convertible,
                  "this message type has no to_json: list its members in "
                  "TETHER_DEFINE_MESSAGE(Type, member...) or "
                  "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, member...), behind the type in its "
                  "namespace, or write a to_json for it");
    if constexpr (convertible) {
        return nlohmann::json(value);
    } else {
        return nullptr;
    }
}

template <class T>
T from_dom(const nlohmann::json& dom) {
    constexpr bool convertible = requires { dom.template get<T>(); };
    static_assert(convertible,
                  "this message type has no from_json, or no default constructor: list its members "
                  "in TETHER_DEFINE_MESSAGE(Type, member...) or "
                  "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Type, member...), behind the type in its "
                  "namespace, or write a from_json for it");
    if constexpr (convertible) {
        return dom.template get<T>();
    } else {
        std::terminate();  // not reached: it does not compile
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
