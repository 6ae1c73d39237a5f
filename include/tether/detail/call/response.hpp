// Why: what a settled call returns or throws is the same for a thread that waited for it and for a
// completion handler.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/observer.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/errc.hpp>
#include <tether/error.hpp>
#include <tether/protocol.hpp>

#include <string>
#include <type_traits>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Of the exception that is being handled.
[[noreturn]] TETHER_DECL void throw_codec_error(const std::string& where, const char* what);

// Part of both callers, so that it costs no more where nothing is traced.
template <class P, class R>
[[gnu::always_inline]] inline typename R::Response decode_response(Outcome& outcome,
                                                                   const std::string& worker) {
    try {
        return decode_payload<CodecOf<P>, typename R::Response>(outcome.bytes(), outcome.blobs);
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        throw_codec_error(describe_call(R::name, worker), "the response could not be decoded");
    }
}

template <class P, class R>
[[gnu::cold, gnu::noinline]] typename R::Response decode_observed(Outcome& outcome,
                                                                  const std::string& worker) {
    const ObservedConversion observed{outcome.observer, "decode", R::name};
    return decode_response<P, R>(outcome, worker);
}

template <class P, class R>
typename R::Response take_response(Outcome& outcome, const std::string& worker) {
    outcome.check(R::name, worker);
    if constexpr (!std::is_void_v<typename R::Response>) {
        if (outcome.observer != nullptr) [[unlikely]] {
            return decode_observed<P, R>(outcome, worker);
        }
        return decode_response<P, R>(outcome, worker);
    }
}

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/response.ipp>
#endif
