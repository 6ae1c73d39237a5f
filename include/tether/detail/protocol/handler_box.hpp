// Why: whoever serves requests has only their numbers and bytes, for any protocol. What is typed
// about a handler is settled here: which function answers, what it is given, what it returns.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/detail/protocol/handles.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/handler.hpp>
#include <tether/protocol.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Where the answer of one call is put together and sent from, while its value is still alive.
class Responder {
public:
    virtual std::string& payload() = 0;
    virtual std::vector<const Bytes*>& blobs() = 0;
    virtual void send() = 0;

protected:
    ~Responder() = default;
};

// Told apart from what handlers throw: the request or the answer could not be converted.
class CodecFailure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// A handler of any protocol, and what must be known to choose it.
class AnyHandler {
public:
    AnyHandler() = default;
    AnyHandler(const AnyHandler&) = delete;
    AnyHandler& operator=(const AnyHandler&) = delete;
    // As the handler's; destroy_handler catches what it throws.
    virtual ~AnyHandler() noexcept(false) = default;
    virtual bool dispatch(std::size_t index, std::string_view payload, std::span<Bytes> blobs,
                          CallControl& control, Responder& responder) = 0;
};

// What its destructor has thrown, in words; mostly nothing.
inline std::string destroy_handler(std::unique_ptr<AnyHandler> handler) {
    try {
        delete handler.release();
        return {};
    } catch (ForcedUnwind&) {
        throw;
    } catch (...) {
        return "has a handler whose destructor threw: " + describe_thrown_in_words();
    }
}

struct HandlerType {
    std::string_view protocol;
    std::uint32_t version;
    std::uint64_t fingerprint;
    std::unique_ptr<AnyHandler> (*make)();
};

template <class H>
class HandlerBox final : public AnyHandler {
    using P = typename H::protocol_type;

public:
    bool dispatch(std::size_t index, std::string_view payload, std::span<Bytes> blobs,
                  CallControl& control, Responder& responder) override {
        return dispatch(index, payload, blobs, control, responder, typename P::Requests{});
    }

private:
    template <class... Rs>
    bool dispatch(std::size_t index, std::string_view payload, std::span<Bytes> blobs,
                  CallControl& control, Responder& responder, Messages<Rs...>) {
        using Answer = void (*)(H&, std::string_view, std::span<Bytes>, CallControl&, Responder&);
        static constexpr Answer answers[] = {&HandlerBox::template answer<Rs>...};
        if (index >= sizeof...(Rs)) return false;
        answers[index](handler_, payload, blobs, control, responder);
        return true;
    }

    template <class R>
    static void answer(H& handler, std::string_view payload, std::span<Bytes> blobs,
                       CallControl& control, Responder& responder) {
        const R request = decode<R>(payload, blobs);
        CallContext<R> context{control};
        auto& handles = static_cast<Handles<R>&>(handler);
        if constexpr (std::is_void_v<typename R::Response>) {
            handles.handle(request, context);
            responder.send();
        } else {
            const typename R::Response response = handles.handle(request, context);
            encode(response, R::name, responder);
            responder.send();
        }
    }

    template <class R>
    static R decode(std::string_view payload, std::span<Bytes> blobs) {
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

    template <class Response>
    static void encode(const Response& response, std::string_view name, Responder& responder) {
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

    H handler_;
};

template <class H>
inline constexpr bool is_handler = false;
template <class H>
requires requires { typename H::protocol_type; }
inline constexpr bool is_handler<H> = std::derived_from<H, Handler<typename H::protocol_type>>;

template <class H>
constexpr bool check_handler() {
    static_assert(is_handler<H>, "a handler must derive publicly from tether::Handler<Protocol>");
    static_assert(!std::is_abstract_v<H>,
                  "the handler does not override handle() for every request of its protocol");
    if constexpr (requires { typename H::protocol_type; }) {
        static_assert(check_protocol<typename H::protocol_type>());
    }
    static_assert(std::is_abstract_v<H> || std::is_default_constructible_v<H>,
                  "the handler needs a public default constructor: it is made inside the worker");
    return true;
}

template <class H>
HandlerType handler_type() {
    static_assert(check_handler<H>());
    using P = typename H::protocol_type;
    return {P::name, P::version, fingerprint<P>(),
            []() -> std::unique_ptr<AnyHandler> { return std::make_unique<HandlerBox<H>>(); }};
}

}  // namespace detail
TETHER_NAMESPACE_END
