// Any bytes as the payload of a typed message, with each codec that Tether brings, decoded and
// encoded as a call does it.
//
// Holds: only exceptions that derive from std::exception come out; no blob is given out twice; what
// decodes encodes; what was encoded decodes to the same bytes and blobs again; Tether's reader of
// MessagePack does what nlohmann's does; and what DirectCodec takes, MessagePackCodec takes as
// well, and finds the same in it, while no length makes DirectCodec allocate what is not there.
//
// Input: a byte that selects the codec and the number of blobs, then the payload.

#include <tether/detail/base/blob_scope.hpp>
#include <tether/detail/codec/payload.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "fuzz/codec_messages.hpp"
#include "fuzz/support.hpp"

namespace {

using tether::Bytes;
using tether_fuzz::Document;
using tether_fuzz::require;

struct Encoded {
    std::string payload{};
    std::vector<Bytes> blobs{};
    friend bool operator==(const Encoded&, const Encoded&) = default;
};

template <class Codec>
Encoded encode(const Document& document) {
    Encoded result;
    std::vector<const Bytes*> blobs;
    tether::detail::encode_payload<Codec>(document, result.payload, blobs);
    for (const auto* blob : blobs) result.blobs.push_back(*blob);
    return result;
}

template <class Codec>
std::optional<Document> decode(std::string_view payload, std::size_t count) {
    std::vector<Bytes> blobs;
    for (std::size_t i = 0; i < count; ++i) blobs.emplace_back(std::to_string(i));
    std::optional<Document> document;
    try {
        document = tether::detail::decode_payload<Codec, Document>(payload, blobs);
    } catch (const std::exception&) {
    }
    require(tether::detail::BlobScope::current() == nullptr, "no scope stays behind");
    return document;
}

template <class Codec>
void decode_and_encode(std::string_view payload, std::size_t count) {
    const auto document = decode<Codec>(payload, count);
    if (!document) return;
    if constexpr (std::is_same_v<Codec, tether::JsonCodec>) {
        // The others have binary values of their own, which may be empty.
        require(!document->cover.empty(), "no blob is taken twice");
        for (const auto& section : document->sections) {
            require(!section.image.empty(), "no blob is taken twice");
        }
    }

    const auto once = encode<Codec>(*document);
    auto moved_from = once.blobs;
    const auto again =
        tether::detail::decode_payload<Codec, Document>(once.payload, std::span{moved_from});
    require(encode<Codec>(again) == once, "what was encoded decodes to the same");
}

/// Tether's reader and nlohmann's agree about any bytes.
void compare_readers(std::string_view payload) {
    const auto read = [](auto reader) -> std::optional<nlohmann::json> {
        try {
            return reader();
        } catch (const std::exception&) {
            return std::nullopt;
        }
    };
    const auto ours = read([&] { return tether::detail::read_message_pack(payload); });
    const auto theirs = read(
        [&] { return tether::detail::read_dom(payload, nlohmann::json::input_format_t::msgpack); });
    require(ours.has_value() == theirs.has_value(), "both readers take it, or none");
    // Not by ==, since a value that is no number differs from itself.
    require(!ours || nlohmann::json::to_msgpack(*ours) == nlohmann::json::to_msgpack(*theirs),
            "both readers find the same");
}

void compare_codecs(std::string_view payload, std::size_t count) {
    std::optional<Document> direct;
    {
        // The shortest string takes a byte there and thirty-two here, of twice as many for growth.
        const tether_fuzz::HeapWatch watch{64 * payload.size() + 65536};
        direct = decode<tether::DirectCodec>(payload, count);
    }
    if (!direct) return;
    const auto by_document = decode<tether::MessagePackCodec>(payload, count);
    require(by_document.has_value(), "the lenient codec takes what the strict one takes");
    require(
        encode<tether::MessagePackCodec>(*direct) == encode<tether::MessagePackCodec>(*by_document),
        "both codecs find the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    tether_fuzz::ByteSource in{data, size};
    const auto how = in.byte();
    const auto payload = in.rest();
    const auto blobs = std::size_t{how} / 3 % 5;
    switch (how % 3) {
        case 0:
            compare_readers(payload);
            compare_codecs(payload, blobs);
            decode_and_encode<tether::MessagePackCodec>(payload, blobs);
            decode_and_encode<tether::DirectCodec>(payload, blobs);
            break;
        case 1:
            decode_and_encode<tether::JsonCodec>(payload, blobs);
            break;
        default:
            decode_and_encode<tether::CborCodec>(payload, blobs);
            break;
    }
    return 0;
}
