// Why: what a codec throws is no fault of the handler's, and its caller is told so.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/responder.hpp>
#include <tether/protocol.hpp>

#include <new>
#include <span>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

template <class P, class R>
R decode_request(std::string_view payload, std::span<Bytes> blobs) {
    try {
        return decode_payload<CodecOf<P>, R>(payload, blobs);
    } catch (const std::bad_alloc&) {
        throw;
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        throw CodecFailure("request \"" + std::string{R::name} +
                           "\" could not be decoded: " + describe_current());
    }
}

template <class P, class Response>
void encode_response(const Response& response, std::string_view name, Responder& responder) {
    try {
        encode_payload<CodecOf<P>>(response, responder.payload(), responder.blobs());
    } catch (const std::bad_alloc&) {
        throw;
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        throw CodecFailure("the response to \"" + std::string{name} +
                           "\" could not be encoded: " + describe_current());
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
