// Why: C++20 does not tell what members a type has. TETHER_DEFINE_MESSAGE does, by a function that
// is found beside the type, as to_json is.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/codec/own_conversion.hpp>

#include <nlohmann/json.hpp>

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

// Says by overloading which type is meant, and takes no derived one for it.
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

// The numbers of the members in the order of their names, which is that of nlohmann's documents.
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

template <class Json>
concept AnyJson = nlohmann::detail::is_basic_json<Json>::value;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

// Not every release of nlohmann/json that we use knows std::optional.
template <class T>
concept DirectOptional = is_optional<T> && !HasOwnConversion<T>;

template <AnyJson Json, class T>
void member_to_json(Json& json, const T& value) {
    json = value;
}
template <AnyJson Json, DirectOptional T>
void member_to_json(Json& json, const T& value) {
    json = nullptr;
    if (value) member_to_json(json, *value);
}

template <AnyJson Json, class T>
void member_from_json(const Json& json, T& value) {
    json.get_to(value);
}
template <AnyJson Json, DirectOptional T>
void member_from_json(const Json& json, T& value) {
    value.reset();
    if (!json.is_null()) member_from_json(json, value.emplace());
}

template <AnyJson Json, HasMembers T>
void members_to_json(Json& json, const T& value) {
    if (json.is_null()) json = Json::object();
    const auto write = [&](const auto& member) {
        member_to_json(json[member.name], value.*member.pointer);
    };
    std::apply([&](const auto&... member) { (write(member), ...); }, members<T>);
}

template <AnyJson Json, HasMembers T>
void members_from_json(const Json& json, T& value) {
    const auto read = [&](const auto& member) {
        member_from_json(json.at(member.name), value.*member.pointer);
    };
    std::apply([&](const auto&... member) { (read(member), ...); }, members<T>);
}

}  // namespace detail
TETHER_NAMESPACE_END

// The list of members, from the macro's arguments. A macro does not expand inside of itself: each
// TETHER_MEMBERS_ leaves the next one behind, and TETHER_SCAN_ has the preprocessor look again,
// more than 300 times. One that is left even then does not compile.
#define TETHER_MEMBERS_(Type, Name, ...)         \
    ::tether::detail::member(#Name, &Type::Name) \
        __VA_OPT__(, TETHER_MORE_MEMBERS_ TETHER_PARENTHESES_(Type, __VA_ARGS__))
#define TETHER_MORE_MEMBERS_() TETHER_MEMBERS_
#define TETHER_PARENTHESES_ ()

#define TETHER_SCAN_(...) \
    TETHER_SCAN_A_(TETHER_SCAN_A_(TETHER_SCAN_A_(TETHER_SCAN_A_(__VA_ARGS__))))
#define TETHER_SCAN_A_(...) \
    TETHER_SCAN_B_(TETHER_SCAN_B_(TETHER_SCAN_B_(TETHER_SCAN_B_(__VA_ARGS__))))
#define TETHER_SCAN_B_(...) \
    TETHER_SCAN_C_(TETHER_SCAN_C_(TETHER_SCAN_C_(TETHER_SCAN_C_(__VA_ARGS__))))
#define TETHER_SCAN_C_(...) \
    TETHER_SCAN_D_(TETHER_SCAN_D_(TETHER_SCAN_D_(TETHER_SCAN_D_(__VA_ARGS__))))
#define TETHER_SCAN_D_(...) __VA_ARGS__
