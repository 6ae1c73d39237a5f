// Tether: what a request is.
#pragma once

#include <tether/config.hpp>

#include <concepts>
#include <cstddef>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// A request type: a plain struct with a `name` and a `Response`.
///
///     struct Lint {
///         static constexpr std::string_view name = "lint";
///         using Response = Diagnostics;                              // or void
///         static constexpr auto timeout = std::chrono::seconds{30};  // optional
///         static constexpr bool idempotent = true;                   // optional
///         std::string file{};
///     };
///     NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Lint, file)                 // not when it has no members
///
/// - `name` is what the other side, logs and errors call it; unique within its protocol.
/// - `Response` is what the handler returns; with `void`, the answer only says that the request is
///   done. A type that the codec can convert, like the request, with a default constructor.
/// - `timeout` is the default for this request: any `std::chrono` duration, or
///   `tether::no_timeout`. `CallOptions::timeout` decides before it. Without one,
///   `WorkerOptions::call_timeout` counts.
/// - `idempotent` says that doing it twice is as good as once. Only then is it sent again, once,
///   when the worker dies by itself after its handler has begun, and its errors never say
///   `errc::outcome_unknown`. Without it, false.
///
/// A call that is more than a request and an answer declares what else it sends; docs/live-calls.md
/// tells more. All are optional, and types that the codec can convert:
///
///     struct Import {
///         static constexpr std::string_view name = "import";
///         using Response = Summary;
///         struct Progress { int percent{}; };
///         using Upload = Document;
///         using Item = Warning;
///     };
///
/// - `Progress` is what the handler reports by `CallContext::progress`, to
///   `CallOptions::on_progress`. At most 16 KiB.
/// - `Item` is what the handler sends one by one before its response, by `CallContext::send`.
/// - `Upload` is what the caller sends to the handler one by one, by `Stream::write`; the handler
///   takes it by `CallContext::next`.
///
/// With an `Item` or an `Upload` it is given to `Worker::stream`, not to `call` or `async_call`.
/// With neither, and a `Response` of `void`, it may be given to `Worker::notify`, too.
///
/// Data members may be called `timeout` and `idempotent`; only static ones have this meaning.
template <class R>
concept Request = std::default_initializable<R> && requires {
    { R::name } -> std::convertible_to<std::string_view>;
    typename R::Response;
};

/// An ordered list of message types, each once. The order is part of the wire contract: a request,
/// a question or a notification is sent with its place in its list.
///
///     using Requests = tether::Messages<Lint, ClearCache>;
template <class... Types>
struct Messages {
    static constexpr std::size_t size = sizeof...(Types);  ///< how many there are
};

TETHER_NAMESPACE_END
