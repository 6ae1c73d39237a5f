// Why: what a call sends beside its answer is encoded by the protocol's codec, but its context
// knows only its request. The two meet where the handler is wrapped.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/protocol.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class C, class T>
void encode_value(const void* value, std::string& out, std::vector<const Bytes*>& blobs) {
    encode_payload<C>(*static_cast<const T*>(value), out, blobs);
}

// Into a std::optional<T>.
template <class C, class T>
void decode_value(void* result, std::string_view payload, std::span<Bytes> blobs) {
    static_cast<std::optional<T>*>(result)->emplace(decode_payload<C, T>(payload, blobs));
}

template <class C, class Q>
constexpr SideType side_type(std::uint16_t index) {
    DecodeValue decode = nullptr;
    if constexpr (requires { typename Q::Response; }) {
        if constexpr (!std::is_void_v<typename Q::Response>) {
            decode = &decode_value<C, typename Q::Response>;
        }
    }
    return {&typeid(Q), std::string_view{Q::name}, index, &encode_value<C, Q>, decode};
}

// Built at first use: typeid is no constant in all compilers.
template <class C, class... Ts>
std::span<const SideType> side_types(Messages<Ts...>) {
    static const auto types = [] {
        std::uint16_t index = 0;
        return std::array<SideType, sizeof...(Ts)>{side_type<C, Ts>(index++)...};
    }();
    return types;
}

template <class P, class R>
const SideTypes& side_types_of() {
    if constexpr (is_live_protocol<P>) {
        using C = CodecOf<P>;
        static const SideTypes types = [] {
            SideTypes result;
            if constexpr (has_progress<R>) result.progress = &encode_value<C, typename R::Progress>;
            if constexpr (has_items<R>) result.item = &encode_value<C, typename R::Item>;
            if constexpr (has_upload<R>) result.upload = &decode_value<C, typename R::Upload>;
            result.questions = side_types<C>(CallbacksOf<P>{});
            result.notifications = side_types<C>(NotificationsOf<P>{});
            return result;
        }();
        return types;
    } else {
        return no_side_types;
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
