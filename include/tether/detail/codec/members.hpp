// Why: C++20 cannot list the members of a type. TETHER_DEFINE_MESSAGE does, by a function that is
// found in the type's namespace, as to_json is.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/codec/any_json.hpp>
#include <tether/detail/codec/own_conversion.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Selects the overload for exactly this type, not for one derived from it.
template <class T>
struct MembersOf {};

template <class Owner, class Type>
struct Member {
    const char* name;
    Type Owner::*pointer;
};

template <class Owner, class Type>
constexpr Member<Owner, Type> member(const char* name, Type Owner::*pointer) noexcept {
    static_assert(!std::is_const_v<Type>,
                  "TETHER_DEFINE_MESSAGE lists a const member, which could "
                  "not be decoded");
    return {name, pointer};
}

// What is left of the macro's arguments after the last place for a member: commas, or more members.
constexpr bool names_nothing(const char* rest) noexcept {
    while (*rest == ',' || *rest == ' ') ++rest;
    return *rest == '\0';
}

struct ListOfMembers {};

template <bool Fits, class... Members>
constexpr std::tuple<Members...> tuple_of_members(ListOfMembers, Members... members) noexcept {
    static_assert(Fits, "TETHER_DEFINE_MESSAGE takes up to 64 members: group some in a type");
    return {members...};
}

template <class T>
concept HasMembers = requires(MembersOf<T> type) {
    tether_members(type);
};

// A tuple of Member, as the user listed them.
template <HasMembers T>
inline constexpr auto members = tether_members(MembersOf<T>{});

template <HasMembers T>
inline constexpr std::size_t member_count =
    std::tuple_size_v<decltype(tether_members(MembersOf<T>{}))>;

template <HasMembers T>
constexpr std::array<std::string_view, member_count<T>> listed_names() noexcept {
    return std::apply(
        [](auto... member) {
            return std::array<std::string_view, sizeof...(member)>{member.name...};
        },
        members<T>);
}

// The indices of the members, ordered by name, as in nlohmann's documents.
template <HasMembers T>
inline constexpr auto members_by_name = [] {
    constexpr auto names = listed_names<T>();
    std::array<std::size_t, member_count<T>> order{};
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](std::size_t left, std::size_t right) { return names[left] < names[right]; });
    return order;
}();

template <HasMembers T>
inline constexpr auto member_names = [] {
    auto names = listed_names<T>();
    std::sort(names.begin(), names.end());
    return names;
}();

// The member with the name member_names<T>[Index].
template <HasMembers T, std::size_t Index>
inline constexpr auto named_member = std::get<members_by_name<T>[Index]>(members<T>);

// --- to_json and from_json

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

// Not every release of nlohmann/json that we use knows std::optional.
template <class T>
concept DirectOptional = is_optional<T> && !HasOwnConversion<T>;

template <AnyJson Json, class T>
void member_to_json(Json& json, const T& value) {
    constexpr bool convertible = std::is_constructible_v<Json, const T&>;
    static_assert(convertible,
                  "a member listed in TETHER_DEFINE_MESSAGE has a type without a to_json: list the "
                  "members of that type in TETHER_DEFINE_MESSAGE as well, or write one for it");
    if constexpr (convertible) json = value;
}
template <AnyJson Json, DirectOptional T>
void member_to_json(Json& json, const T& value) {
    json = nullptr;
    if (value) member_to_json(json, *value);
}

template <AnyJson Json, class T>
void member_from_json(const Json& json, T& value) {
    constexpr bool convertible = requires { json.get_to(value); };
    static_assert(convertible,
                  "a member listed in TETHER_DEFINE_MESSAGE has a type without a from_json: list "
                  "the members of that type in TETHER_DEFINE_MESSAGE as well, or write one for it");
    if constexpr (convertible) json.get_to(value);
}
template <AnyJson Json, DirectOptional T>
void member_from_json(const Json& json, T& value) {
    value.reset();
    if (!json.is_null()) member_from_json(json, value.emplace());
}

// A type without a list of members has a misspelled one, and has had its error.
template <AnyJson Json, class T>
void members_to_json(Json& json, const T& value) {
    if (json.is_null()) json = Json::object();
    const auto write = [&](const auto& member) {
        member_to_json(json[member.name], value.*member.pointer);
    };
    if constexpr (HasMembers<T>) {
        std::apply([&](const auto&... member) { (write(member), ...); }, members<T>);
    }
}

template <AnyJson Json, class T>
void members_from_json(const Json& json, T& value) {
    const auto read = [&](const auto& member) {
        member_from_json(json.at(member.name), value.*member.pointer);
    };
    if constexpr (HasMembers<T>) {
        std::apply([&](const auto&... member) { (read(member), ...); }, members<T>);
    }
}

}  // namespace detail
TETHER_NAMESPACE_END

// The list of members, from the macro's arguments. It is flat, because GCC explains a misspelled
// name by every macro that it was passed through. There are 64 places; those that stay empty make
// nothing.
// clang-format off
#define TETHER_MEMBERS_OF_(Type, ...)                                                              \
    TETHER_ALL_MEMBERS_(Type, __VA_ARGS__ ,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,                          \
                       ,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,)
#define TETHER_ALL_MEMBERS_(Type,                                                                   \
    a1, a2, a3, a4, a5, a6, a7, a8, b1, b2, b3, b4, b5, b6, b7, b8,                                \
    c1, c2, c3, c4, c5, c6, c7, c8, d1, d2, d3, d4, d5, d6, d7, d8,                                \
    e1, e2, e3, e4, e5, e6, e7, e8, f1, f2, f3, f4, f5, f6, f7, f8,                                \
    g1, g2, g3, g4, g5, g6, g7, g8, h1, h2, h3, h4, h5, h6, h7, h8,                                \
    ...)                                                                                           \
    ::tether::detail::tuple_of_members<::tether::detail::names_nothing(#__VA_ARGS__)>(             \
        ::tether::detail::ListOfMembers{}                                                          \
        TETHER_EIGHT_MEMBERS_(Type, a1, a2, a3, a4, a5, a6, a7, a8)                                    \
        TETHER_EIGHT_MEMBERS_(Type, b1, b2, b3, b4, b5, b6, b7, b8)                                    \
        TETHER_EIGHT_MEMBERS_(Type, c1, c2, c3, c4, c5, c6, c7, c8)                                    \
        TETHER_EIGHT_MEMBERS_(Type, d1, d2, d3, d4, d5, d6, d7, d8)                                    \
        TETHER_EIGHT_MEMBERS_(Type, e1, e2, e3, e4, e5, e6, e7, e8)                                    \
        TETHER_EIGHT_MEMBERS_(Type, f1, f2, f3, f4, f5, f6, f7, f8)                                    \
        TETHER_EIGHT_MEMBERS_(Type, g1, g2, g3, g4, g5, g6, g7, g8)                                    \
        TETHER_EIGHT_MEMBERS_(Type, h1, h2, h3, h4, h5, h6, h7, h8))
#define TETHER_EIGHT_MEMBERS_(Type, m1, m2, m3, m4, m5, m6, m7, m8)                                    \
    TETHER_MEMBER_(Type, m1) TETHER_MEMBER_(Type, m2)                                              \
    TETHER_MEMBER_(Type, m3) TETHER_MEMBER_(Type, m4)                                              \
    TETHER_MEMBER_(Type, m5) TETHER_MEMBER_(Type, m6)                                              \
    TETHER_MEMBER_(Type, m7) TETHER_MEMBER_(Type, m8)
#define TETHER_MEMBER_(Type, ...) __VA_OPT__(, ::tether::detail::member(#__VA_ARGS__, &Type::__VA_ARGS__))
// clang-format on
