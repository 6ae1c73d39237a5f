#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/response.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/wire/frame.hpp>
#include <tether/detail/wire/outgoing_message.hpp>
#include <tether/errc.hpp>
#include <tether/error.hpp>

#include <cstdint>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL void seal_request(OutgoingMessage& message, std::string_view request,
                              const std::string& worker, std::uint64_t max_message_bytes) {
    if (message.content_size() > max_message_bytes ||
        message.blobs().size() > MessageHead::max_blobs) {
        throw CallError(errc::message_too_large,
                        describe_call(request, worker) + ": the request has " +
                            std::to_string(message.content_size()) + " bytes in " +
                            std::to_string(message.blobs().size()) +
                            " blobs and a payload; the limit is max_message_bytes = " +
                            std::to_string(max_message_bytes) + " and " +
                            std::to_string(MessageHead::max_blobs) + " blobs");
    }
    message.seal();
}

}  // namespace detail
TETHER_NAMESPACE_END
