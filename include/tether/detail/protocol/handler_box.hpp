// Why: the code that serves requests knows only their numbers and bytes, for any protocol. The
// typed part of a handler is here: which function answers, what it takes, what it returns.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/base/remote_cause.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/codec_failures.hpp>
#include <tether/detail/protocol/coroutines.hpp>
#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/detail/protocol/handles.hpp>
#include <tether/detail/protocol/observed_run.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/detail/protocol/responder.hpp>
#include <tether/detail/protocol/side_types.hpp>
#include <tether/handler.hpp>
#include <tether/protocol.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A handler of any protocol.
class AnyHandler {
public:
    AnyHandler() = default;
    AnyHandler(const AnyHandler&) = delete;
    AnyHandler& operator=(const AnyHandler&) = delete;
    // Throws what the handler's destructor throws; destroy_handler() catches it.
    virtual ~AnyHandler() noexcept(false) = default;
    virtual bool dispatch(std::size_t index, std::string_view payload, std::span<Bytes> blobs,
                          CallControl& control, Responder& responder) = 0;
    // Its calls are more than requests and answers.
    [[nodiscard]] virtual bool is_live() const noexcept { return false; }
    // Where its notifications go, from now on.
    virtual void connect(std::shared_ptr<Outlet>) noexcept {}
    // What runs its calls, where those wait without a thread; then nothing is dispatched. Null:
    // they do not.
    [[nodiscard]] virtual Coroutines* coroutines() noexcept { return nullptr; }
};

// Destroys the handler. Returns what its destructor threw, in words; usually nothing.
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

using MakeHandler = std::function<std::unique_ptr<AnyHandler>()>;

// What identifies the protocol of a handler type, and how to make one.
struct HandlerType {
    std::string_view protocol;
    std::uint32_t version;
    std::uint64_t fingerprint;
    bool is_live;
    bool is_async;  // it has coroutines()
    MakeHandler make;
};

// An AsyncHandler.
template <class H>
inline constexpr bool is_async_handler = requires(H& handler) {
    { handler.coroutines() } -> std::same_as<Coroutines&>;
};

// Holds a handler, or a pointer to one.
template <class H, class Held = H>
class HandlerBox final : public AnyHandler {
    using P = typename H::protocol_type;

public:
    HandlerBox() = default;
    explicit HandlerBox(Held held) : held_(std::move(held)) {}

    bool dispatch(std::size_t index, std::string_view payload, std::span<Bytes> blobs,
                  CallControl& control, Responder& responder) override {
        return dispatch(index, payload, blobs, control, responder, typename P::Requests{});
    }
    [[nodiscard]] bool is_live() const noexcept override { return is_live_protocol<P>; }
    void connect(std::shared_ptr<Outlet> outlet) noexcept override {
        static_cast<HandlerBase<P>&>(handler()).connect(std::move(outlet));
    }
    [[nodiscard]] Coroutines* coroutines() noexcept override {
        if constexpr (is_async_handler<H>) {
            return &handler().coroutines();
        } else {
            return nullptr;
        }
    }

private:
    template <class... Rs>
    bool dispatch([[maybe_unused]] std::size_t index, [[maybe_unused]] std::string_view payload,
                  [[maybe_unused]] std::span<Bytes> blobs, [[maybe_unused]] CallControl& control,
                  [[maybe_unused]] Responder& responder, Messages<Rs...>) {
        if constexpr (is_async_handler<H>) {
            return false;
        } else {
            using Answer =
                void (*)(H&, std::string_view, std::span<Bytes>, CallControl&, Responder&);
            static constexpr Answer answers[] = {&HandlerBox::template answer<Rs>...};
            if (index >= sizeof...(Rs)) return false;
            answers[index](handler(), payload, blobs, control, responder);
            return true;
        }
    }

    template <class R>
    static void answer(H& handler, std::string_view payload, std::span<Bytes> blobs,
                       CallControl& control, Responder& responder) {
        const ObservedRun observed{control, R::name};
        const R request = decode_request<P, R>(payload, blobs);
        observed.has(RunOnThisThread::decoded);
        CallContext<R> context{control, side_types_of<P, R>()};
        auto& handles = static_cast<Handles<R>&>(handler);
        if constexpr (std::is_void_v<typename R::Response>) {
            handles.handle(request, context);
            responder.send();
        } else {
            const typename R::Response response = handles.handle(request, context);
            observed.has(RunOnThisThread::handled);
            encode_response<P>(response, R::name, responder);
            observed.has(RunOnThisThread::encoded);
            responder.send();
        }
    }

    H& handler() noexcept {
        if constexpr (std::is_same_v<H, Held>) {
            return held_;
        } else {
            return *held_;
        }
    }

    Held held_;
};

template <class H>
inline constexpr bool is_handler = false;
template <class H>
requires requires { typename H::protocol_type; }
inline constexpr bool is_handler<H> = std::derived_from<H, HandlerBase<typename H::protocol_type>>;

// Overrides are mostly private, so which one is missing cannot be computed. GCC lists the missing
// ones by their requests where a member would be abstract; Clang does with -Woverloaded-virtual.
template <class H>
struct LacksTheFollowing {
    H handler;
};

// `Requests` is there to be printed.
template <class H, class Requests>
constexpr bool check_overrides() {
    static_assert(!std::is_abstract_v<H>,
                  "the handler does not override handle() for every request of its protocol: "
                  "Response handle(const Request&, tether::CallContext<Request>&) override, or in "
                  "an AsyncHandler asio::awaitable<Response> handle(const Request&, "
                  "tether::AsyncCallContext<Request>&) override");
#if defined(__GNUC__) && !defined(__clang__)
    if constexpr (std::is_abstract_v<H>) static_cast<void>(sizeof(LacksTheFollowing<H>));
#endif
    return true;
}

template <class H>
constexpr bool check_handler() {
    static_assert(is_handler<H>, "a handler must derive publicly from tether::Handler<Protocol>");
    if constexpr (requires { typename H::protocol_type; }) {
        using P = typename H::protocol_type;
        static_assert(check_protocol<P>());
        if constexpr (requires { typename P::Requests; }) {
            static_assert(check_overrides<H, typename P::Requests>());
        }
    }
    static_assert(std::is_abstract_v<H> || std::is_default_constructible_v<H>,
                  "the handler needs a public default constructor: it is made inside the worker");
    return true;
}

// What a function that makes handlers returns.
template <class Factory>
using MadeBy = std::invoke_result_t<Factory&>;

template <class Pointer>
inline constexpr bool is_unique_pointer = false;
template <class T, class Deleter>
inline constexpr bool is_unique_pointer<std::unique_ptr<T, Deleter>> = true;

template <class P, class Factory>
constexpr bool check_factory() {
    static_assert(is_unique_pointer<MadeBy<Factory>>,
                  "a function that makes a handler must return a std::unique_ptr to it");
    if constexpr (is_unique_pointer<MadeBy<Factory>>) {
        using H = typename MadeBy<Factory>::element_type;
        static_assert(is_handler<H>,
                      "a handler must derive publicly from tether::Handler<Protocol>");
        if constexpr (is_handler<H>) {
            static_assert(std::is_same_v<typename H::protocol_type, P>,
                          "the handler serves another protocol");
        }
    }
    return true;
}

// Of a function that makes handlers. Throws std::logic_error where it has made none.
template <class Factory>
std::unique_ptr<AnyHandler> box_handler_of(Factory& factory) {
    using Pointer = MadeBy<Factory>;
    Pointer made = factory();
    if (made == nullptr) throw std::logic_error("the function that makes it has returned null");
    using Box = HandlerBox<typename Pointer::element_type, Pointer>;
    return std::make_unique<Box>(std::move(made));
}

template <class H>
std::unique_ptr<AnyHandler> make_handler() {
    // check_handler has said what is missing; more errors would only bury it.
    if constexpr (std::is_abstract_v<H>) {
        return nullptr;
    } else {
        return std::make_unique<HandlerBox<H>>();
    }
}

template <class H>
HandlerType handler_type() {
    static_assert(check_handler<H>());
    using P = typename H::protocol_type;
    return {P::name,         P::version, fingerprint<P>(), is_live_protocol<P>, is_async_handler<H>,
            &make_handler<H>};
}

// Of a function that makes handlers, and outlives the result.
template <class Factory>
HandlerType handler_type_by(Factory& factory) {
    static_assert(is_unique_pointer<MadeBy<Factory>>,
                  "a function that makes a handler must return a std::unique_ptr to it");
    using H = typename MadeBy<Factory>::element_type;
    static_assert(is_handler<H>, "a handler must derive publicly from tether::Handler<Protocol>");
    using P = typename H::protocol_type;
    static_assert(check_protocol<P>());
    return {P::name,
            P::version,
            fingerprint<P>(),
            is_live_protocol<P>,
            is_async_handler<H>,
            [&factory] { return box_handler_of(factory); }};
}

}  // namespace detail
TETHER_NAMESPACE_END
