// Tether: the worker's side of a protocol.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/payload.hpp>
#include <tether/detail/remote_cause.hpp>
#include <tether/logging.hpp>
#include <tether/protocol.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

TETHER_NAMESPACE_BEGIN

namespace detail {

// What a running call can ask of its surroundings: a worker process, or a LoopbackWorker.
class CallControl {
public:
    virtual std::uint64_t id() const noexcept = 0;
    virtual bool stop_requested() const noexcept = 0;
    virtual std::stop_token stop_token() = 0;
    virtual std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept = 0;
    virtual void log(Severity severity, std::string_view text) = 0;

protected:
    ~CallControl() = default;
};

}  // namespace detail

/// One running call, as its handler sees it. Passed to `handle`; valid until `handle` returns.
/// All members may be called from any thread in that time.
template <class Request>
class CallContext {
public:
    explicit CallContext(detail::CallControl& control) noexcept : control_(control) {}
    CallContext(const CallContext&) = delete;
    CallContext& operator=(const CallContext&) = delete;

    /// True once nobody waits for the answer any more: the caller cancelled, its deadline passed,
    /// the worker is being stopped, or the parent has died. Costs one atomic load; ask often. A
    /// handler that returns or throws once it has seen this may do so with anything: whoever should
    /// wait after all, as when a stranger sends the worker SIGTERM, gets an error.
    [[nodiscard]] bool stop_requested() const noexcept { return control_.stop_requested(); }

    /// The same as a token, for `std::condition_variable_any` and callbacks. The first use in a
    /// worker starts one helper thread, on which stop callbacks run; they must not block. Throws
    /// `std::system_error` where the system has no thread to give.
    [[nodiscard]] std::stop_token stop_token() const { return control_.stop_token(); }

    /// When the caller stops waiting; nothing where it waits for ever. Counted from the arrival of
    /// the request, by this machine's monotonic clock.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept {
        return control_.deadline();
    }

    /// Says something to the parent's `Output`: as a line in order with what this process writes
    /// to stderr, with its severity when the output is a callback. Newlines make several lines.
    /// Survives a crash right after it. Never throws for a parent that is gone.
    void log(Severity severity, std::string_view text) const { control_.log(severity, text); }

    /// The number of this call, unique in its process; shown in error reports.
    [[nodiscard]] std::uint64_t id() const noexcept { return control_.id(); }

private:
    detail::CallControl& control_;
};

namespace detail {

template <class Request>
class Handles {
public:
    virtual typename Request::Response handle(const Request& request,
                                              CallContext<Request>& call) = 0;

protected:
    ~Handles() = default;
};

template <class List>
class HandlesAll;

template <class... Requests>
class HandlesAll<Messages<Requests...>> : public Handles<Requests>... {
protected:
    ~HandlesAll() = default;
};

}  // namespace detail

/// The base of a worker's handler: one pure virtual `handle` for each request of the protocol.
///
///     class Linter final : public tether::Handler<LintProtocol> {
///         Diagnostics handle(const Lint& request, tether::CallContext<Lint>& call) override;
///     };
///
/// A missing override does not compile. The handler is constructed by its default constructor, once
/// in each worker process, before the first call; when that throws, the start fails and the caller
/// gets `errc::start_failed` with the exception's text. It is destroyed when the worker is stopped
/// or its parent dies, unless the process is killed. Whatever `handle` throws becomes a
/// `RemoteError` of that call; throw `HandlerError` to give it a code.
///
/// With `WorkerOptions::concurrency` 1 (the default) everything runs on the main thread of the
/// worker; with more, `handle` is called from that many threads at once.
template <class P>
class Handler : public detail::HandlesAll<typename P::Requests> {
public:
    using protocol_type = P;

    Handler() { static_assert(detail::check_protocol<P>()); }
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;
    virtual ~Handler() = default;
};

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
    virtual ~AnyHandler() = default;
    virtual bool dispatch(std::size_t index, std::string_view payload, std::span<Bytes> blobs,
                          CallControl& control, Responder& responder) = 0;
};

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
        } catch (const std::exception& error) {
            throw CodecFailure("request \"" + std::string{R::name} +
                               "\" could not be decoded: " + error.what());
        } catch (...) {
            throw CodecFailure("request \"" + std::string{R::name} + "\" could not be decoded");
        }
    }

    template <class Response>
    static void encode(const Response& response, std::string_view name, Responder& responder) {
        try {
            encode_payload<CodecOf<P>>(response, responder.payload(), responder.blobs());
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception& error) {
            throw CodecFailure("the response to \"" + std::string{name} +
                               "\" could not be encoded: " + error.what());
        } catch (...) {
            throw CodecFailure("the response to \"" + std::string{name} +
                               "\" could not be encoded");
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
