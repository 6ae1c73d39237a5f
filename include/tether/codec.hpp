// Tether: how typed messages become bytes.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/dom_reader.hpp>
#include <tether/detail/message_pack_reader.hpp>

#include <nlohmann/json.hpp>

#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN

/// What a codec is: a stateless type with a name and two static function templates.
///
///     struct MyCodec {
///         static constexpr std::string_view name = "mine";           // both sides must agree
///         template <class T>
///         static void encode(const T& value, std::string& out);      // appends to out
///         template <class T>
///         static T decode(std::string_view in);                      // all of in, or an exception
///     };
///
/// `encode` must only append: the string holds other bytes already. Either may throw anything; the
/// call in question then fails with `errc::codec` and the exception's text, and no other. Both are
/// called from many threads at once. A `Bytes` member is handled for codecs that go through
/// nlohmann's `to_json` and `from_json`; a codec that does not must write the bytes itself.
template <class C>
concept Codec = requires(std::string& out, std::string_view in, const int& value) {
    { C::name } -> std::convertible_to<std::string_view>;
    C::template encode<int>(value, out);
    { C::template decode<int>(in) } -> std::same_as<int>;
};

namespace detail {

// A sentence for what nlohmann/json says in pages.
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

/// MessagePack by way of nlohmann/json's `to_json` and `from_json`. The default: compact, and
/// strings carry any bytes, so that a path need not be UTF-8.
///
/// This codec and the next two refuse to decode what is nested more than 256 levels deep. A number
/// is converted to its member's type by a cast, as nlohmann/json does it: 3.9 becomes 3, and a
/// floating-point number out of range is undefined behaviour. Where the other side is not trusted,
/// check in `from_json`.
struct MessagePackCodec {
    static constexpr std::string_view name = "msgpack";

    template <class T>
    static void encode(const T& value, std::string& out) {
        nlohmann::json::to_msgpack(detail::to_dom(value),
                                   nlohmann::detail::output_adapter<char>(out));
    }

    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_message_pack(in));
    }
};

/// JSON text, for a worker in a language without MessagePack or for reading along. Strings must be
/// UTF-8; others fail the call with `errc::codec`.
struct JsonCodec {
    static constexpr std::string_view name = "json";

    template <class T>
    static void encode(const T& value, std::string& out) {
        out += detail::to_dom(value).dump();
    }

    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_dom(in, nlohmann::json::input_format_t::json));
    }
};

/// CBOR (RFC 8949). Strings carry any bytes.
struct CborCodec {
    static constexpr std::string_view name = "cbor";

    template <class T>
    static void encode(const T& value, std::string& out) {
        nlohmann::json::to_cbor(detail::to_dom(value), nlohmann::detail::output_adapter<char>(out));
    }

    template <class T>
    static T decode(std::string_view in) {
        return detail::from_dom<T>(detail::read_dom(in, nlohmann::json::input_format_t::cbor));
    }
};

namespace detail {

// Blobs travel beside the payload: while a message is encoded or decoded on this thread, to_json
// and from_json of Bytes exchange an index with these lists.
struct BlobScope {
    std::vector<const Bytes*>* outgoing = nullptr;
    std::span<Bytes> incoming{};
    std::vector<bool> taken{};

    static BlobScope*& current() noexcept {
        static thread_local BlobScope* scope = nullptr;
        return scope;
    }
};

// Installs a scope for the length of one encode or decode; they nest, since user code runs inside.
class BlobScopeGuard {
public:
    explicit BlobScopeGuard(BlobScope& scope) noexcept
        : previous_(std::exchange(BlobScope::current(), &scope)) {}
    BlobScopeGuard(const BlobScopeGuard&) = delete;
    BlobScopeGuard& operator=(const BlobScopeGuard&) = delete;
    ~BlobScopeGuard() { BlobScope::current() = previous_; }

private:
    BlobScope* previous_;
};

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

/// Lets `Bytes` be a member of a type with `to_json`. Inside a Tether message it stores an index
/// and the bytes travel beside the payload; elsewhere it becomes a binary value.
template <class BasicJson>
requires nlohmann::detail::is_basic_json<BasicJson>::value void to_json(BasicJson& json,
                                                                        const Bytes& bytes) {
    auto* scope = detail::BlobScope::current();
    if (scope != nullptr && scope->outgoing != nullptr) {
        json = scope->outgoing->size();
        scope->outgoing->push_back(&bytes);
        return;
    }
    using Binary = typename BasicJson::binary_t;
    typename Binary::container_type copy(bytes.size());
    if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
    json = BasicJson::binary(std::move(copy));
}

/// The reverse of `to_json`. Throws when the index names no blob, or one that was taken already.
template <class BasicJson>
requires nlohmann::detail::is_basic_json<BasicJson>::value void from_json(const BasicJson& json,
                                                                          Bytes& bytes) {
    auto* scope = detail::BlobScope::current();
    if (json.is_binary()) {
        bytes = Bytes{std::as_bytes(std::span{json.get_binary()})};
        return;
    }
    if (!json.is_number_unsigned()) throw std::runtime_error("not the number of a blob");
    const auto index = json.template get<std::size_t>();
    if (scope == nullptr || index >= scope->incoming.size()) {
        throw std::runtime_error("no blob number " + std::to_string(index));
    }
    scope->taken.resize(scope->incoming.size());
    if (scope->taken[index]) {
        throw std::runtime_error("blob number " + std::to_string(index) + " is used twice");
    }
    scope->taken[index] = true;
    bytes = std::move(scope->incoming[index]);
}

TETHER_NAMESPACE_END
