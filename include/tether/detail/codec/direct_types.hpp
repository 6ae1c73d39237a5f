// Why: DirectCodec has one form for each kind of type, and nlohmann's document for all others.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/blob_scope.hpp>
#include <tether/detail/codec/members.hpp>
#include <tether/detail/codec/message_pack_parser.hpp>
#include <tether/detail/codec/message_pack_writer.hpp>
#include <tether/detail/codec/own_conversion.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// --- Kinds of types

template <class T>
inline constexpr bool is_sequence = false;
template <class T, class A>
inline constexpr bool is_sequence<std::vector<T, A>> = true;
template <class T, class A>
inline constexpr bool is_sequence<std::deque<T, A>> = true;
template <class T, class A>
inline constexpr bool is_sequence<std::list<T, A>> = true;
template <class T, class C, class A>
inline constexpr bool is_sequence<std::set<T, C, A>> = true;
template <class T, class H, class E, class A>
inline constexpr bool is_sequence<std::unordered_set<T, H, E, A>> = true;

template <class T>
inline constexpr bool is_table = false;
template <class T, class C, class A>
inline constexpr bool is_table<std::map<std::string, T, C, A>> = true;
template <class T, class H, class E, class A>
inline constexpr bool is_table<std::unordered_map<std::string, T, H, E, A>> = true;

template <class T>
inline constexpr bool is_array = false;
template <class T, std::size_t Size>
inline constexpr bool is_array<std::array<T, Size>> = true;

template <class T>
inline constexpr bool is_tuple = false;
template <class First, class Second>
inline constexpr bool is_tuple<std::pair<First, Second>> = true;
template <class... Types>
inline constexpr bool is_tuple<std::tuple<Types...>> = true;

template <class T>
concept DirectInteger = std::integral<T> && !std::same_as<T, bool>;
template <class T>
concept DirectEnumeration = std::is_enum_v<T> && !HasOwnConversion<T>;
template <class T>
concept DirectSequence = is_sequence<T> && !HasOwnConversion<T>;
template <class T>
concept DirectTable = is_table<T> && !HasOwnConversion<T>;
template <class T>
concept DirectArray = is_array<T> && !HasOwnConversion<T>;
template <class T>
concept DirectTuple = is_tuple<T> && !HasOwnConversion<T>;

// --- Everything else: by way of nlohmann's document

// Defined in by_document.hpp, for files that include nlohmann/json.
template <class T>
struct ByDocument;

// A template, so that it is asked only where a message is converted.
template <class T>
concept HasDocuments = requires {
    sizeof(ByDocument<T>);
};

template <class T>
struct Direct {
    static void write(MessagePackWriter& out, const T& value) {
        check<T>();
        if constexpr (HasDocuments<T>) ByDocument<T>::write(out, value);
    }

    static void read(MessagePackParser& in, T& value) {
        check<T>();
        if constexpr (HasDocuments<T>) ByDocument<T>::read(in, value);
    }

    template <class U>
    static constexpr void check() {
        static_assert(HasDocuments<U>,
                      "DirectCodec cannot convert this type: list its members in "
                      "TETHER_DEFINE_MESSAGE(Type, member...), behind the type in its namespace; "
                      "or include <tether/json_codec.hpp>, for a type with a to_json and "
                      "from_json");
    }
};

template <class T>
T read_new(MessagePackParser& in) {
    if constexpr (std::is_same_v<T, std::string>) {
        return T{in.string()};
    } else if constexpr (std::default_initializable<T>) {
        T value{};
        Direct<T>::read(in, value);
        return value;
    } else {
        Direct<T>::template check<T>();
        return ByDocument<T>::read_new(in);
    }
}

// Tether's own: the number of a blob, or binary data.
template <>
struct Direct<Bytes> {
    static void write(MessagePackWriter& out, const Bytes& value) {
        if (const auto number = attach_blob(value)) {
            out.integer(*number);
        } else {
            out.binary({reinterpret_cast<const char*>(value.data()), value.size()});
        }
    }

    static void read(MessagePackParser& in, Bytes& value) {
        const auto next = in.head();
        if (next.kind == MessagePackKind::binary) {
            value = Bytes{in.take(next.number)};
        } else if (next.kind == MessagePackKind::unsigned_integer) {
            read_blob(in, next.number, value);
        } else {
            in.fail("not the number of a blob");
        }
    }

private:
    static void read_blob(MessagePackParser& in, std::uint64_t number, Bytes& value) {
        try {
            value = take_blob(number);
        } catch (const std::runtime_error& error) {
            in.fail(error.what());
        }
    }
};

// --- Single values

template <>
struct Direct<bool> {
    static void write(MessagePackWriter& out, bool value) { out.boolean(value); }
    static void read(MessagePackParser& in, bool& value) { value = in.boolean(); }
};

template <DirectInteger T>
struct Direct<T> {
    static void write(MessagePackWriter& out, T value) { out.integer(value); }
    static void read(MessagePackParser& in, T& value) { value = in.integer<T>(); }
};

template <std::floating_point T>
struct Direct<T> {
    static void write(MessagePackWriter& out, T value) { out.real(static_cast<double>(value)); }
    static void read(MessagePackParser& in, T& value) { value = in.real<T>(); }
};

template <DirectEnumeration T>
struct Direct<T> {
    // nlohmann/json writes any enumeration as a number, even one whose underlying type is bool.
    using Underlying = std::underlying_type_t<T>;
    using Integer = std::conditional_t<std::is_same_v<Underlying, bool>, unsigned char, Underlying>;

    static void write(MessagePackWriter& out, T value) { out.integer(static_cast<Integer>(value)); }
    static void read(MessagePackParser& in, T& value) {
        const auto number = in.integer<Integer>();
        if (std::is_same_v<Underlying, bool> && number > 1) {
            in.fail(std::to_string(number) + " is out of range");
        }
        value = static_cast<T>(number);
    }
};

template <>
struct Direct<std::string> {
    static void write(MessagePackWriter& out, const std::string& value) { out.string(value); }
    static void read(MessagePackParser& in, std::string& value) { value = in.string(); }
};

template <>
struct Direct<std::string_view> {
    static void write(MessagePackWriter& out, std::string_view value) { out.string(value); }
    template <class T>
    static void read(MessagePackParser&, T&) {
        static_assert(!std::is_same_v<T, std::string_view>,
                      "a std::string_view cannot be read: nobody would own its characters");
    }
};

template <DirectOptional T>
struct Direct<T> {
    using Value = typename T::value_type;

    static void write(MessagePackWriter& out, const T& value) {
        if (value) {
            Direct<Value>::write(out, *value);
        } else {
            out.nil();
        }
    }
    static void read(MessagePackParser& in, T& value) {
        if (in.nil()) {
            value.reset();
        } else {
            value = read_new<Value>(in);
        }
    }
};

// --- Arrays and maps

template <DirectSequence T>
struct Direct<T> {
    using Value = typename T::value_type;

    static void write(MessagePackWriter& out, const T& value) {
        out.array(value.size());
        for (const auto& element : value) Direct<Value>::write(out, element);
    }

    static void read(MessagePackParser& in, T& value) {
        value.clear();
        const auto size = in.open_array();
        if constexpr (requires { value.reserve(size); }) {
            // A few bytes may claim many elements, at each of 256 levels.
            constexpr auto most = std::max<std::size_t>(4096 / sizeof(Value), 1);
            value.reserve(std::min(size, most));
        }
        for (std::size_t i = 0; i < size; ++i) value.insert(value.end(), read_new<Value>(in));
        in.close();
    }
};

template <DirectTable T>
struct Direct<T> {
    using Value = typename T::mapped_type;

    static void write(MessagePackWriter& out, const T& value) {
        out.map(value.size());
        for (const auto& [key, element] : value) {
            out.string(key);
            Direct<Value>::write(out, element);
        }
    }

    static void read(MessagePackParser& in, T& value) {
        value.clear();
        for (auto left = in.open_map(); left > 0; --left) {
            std::string key{in.string()};
            value.insert_or_assign(std::move(key), read_new<Value>(in));
        }
        in.close();
    }
};

inline void open_array_of(MessagePackParser& in, std::size_t size) {
    const auto found = in.open_array();
    if (found == size) return;
    in.fail("expected an array of " + std::to_string(size) + ", found one of " +
            std::to_string(found));
}

template <DirectArray T>
struct Direct<T> {
    using Value = typename T::value_type;

    static void write(MessagePackWriter& out, const T& value) {
        out.array(value.size());
        for (const auto& element : value) Direct<Value>::write(out, element);
    }
    static void read(MessagePackParser& in, T& value) {
        open_array_of(in, value.size());
        for (auto& element : value) Direct<Value>::read(in, element);
        in.close();
    }
};

template <DirectTuple T>
struct Direct<T> {
    static void write(MessagePackWriter& out, const T& value) {
        out.array(std::tuple_size_v<T>);
        const auto write = [&]<class Value>(const Value& element) {
            Direct<Value>::write(out, element);
        };
        std::apply([&](const auto&... element) { (write(element), ...); }, value);
    }
    static void read(MessagePackParser& in, T& value) {
        open_array_of(in, std::tuple_size_v<T>);
        const auto read = [&]<class Value>(Value& element) { Direct<Value>::read(in, element); };
        std::apply([&](auto&... element) { (read(element), ...); }, value);
        in.close();
    }
};

// --- Types whose members are listed

// The index of the member with this name, or the number of members if none has it. Mostly it is
// `expected`.
template <HasMembers T>
std::size_t find_member(std::string_view name, std::size_t expected) noexcept {
    constexpr auto& names = member_names<T>;
    if (expected < names.size() && names[expected] == name) return expected;
    const auto found = std::lower_bound(names.begin(), names.end(), name);
    return found != names.end() && *found == name ? static_cast<std::size_t>(found - names.begin())
                                                  : names.size();
}

template <HasMembers T>
struct Direct<T> {
    static constexpr std::size_t count = member_count<T>;
    static constexpr auto& names = member_names<T>;
    static_assert(std::adjacent_find(names.begin(), names.end()) == names.end(),
                  "TETHER_DEFINE_MESSAGE lists a member twice");

    static void write(MessagePackWriter& out, const T& value) {
        out.map(count);
        [&]<std::size_t... Index>(std::index_sequence<Index...>) {
            (write_member<Index>(out, value), ...);
        }
        (std::make_index_sequence<count>{});
    }

    static void read(MessagePackParser& in, T& value) {
        const auto at = in.position();
        std::bitset<count> seen;
        std::size_t next = 0;
        for (auto left = in.open_map(); left > 0; --left) {
            const auto index = find_member<T>(in.string(), next);
            if (index == count) {
                in.skip();
                continue;
            }
            read_member(in, value, index, seen[index]);
            seen[index] = true;
            next = index + 1;
        }
        in.close();
        for (std::size_t i = 0; !seen.all(); ++i) {
            const MessagePackParser::InMember member{in, names[i]};
            if (!seen[i]) in.fail_at(at, "missing from the map");
        }
    }

private:
    template <std::size_t Index>
    static void write_member(MessagePackWriter& out, const T& value) {
        const auto& member = value.*named_member<T, Index>.pointer;
        out.string(names[Index]);
        Direct<std::remove_cvref_t<decltype(member)>>::write(out, member);
    }

    static void read_member(MessagePackParser& in, T& value, std::size_t index, bool seen) {
        using Read = void (*)(MessagePackParser&, T&);
        static constexpr auto reads = []<std::size_t... Index>(std::index_sequence<Index...>) {
            return std::array<Read, count>{&Direct::read_member<Index>...};
        }
        (std::make_index_sequence<count>{});
        const MessagePackParser::InMember member{in, names[index]};
        if (seen) in.fail("there a second time");
        reads[index](in, value);
    }
    template <std::size_t Index>
    static void read_member(MessagePackParser& in, T& value) {
        auto& member = value.*named_member<T, Index>.pointer;
        Direct<std::remove_cvref_t<decltype(member)>>::read(in, member);
    }
};

}  // namespace detail
TETHER_NAMESPACE_END
