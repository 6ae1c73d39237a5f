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
/// - `Response` is what the handler returns; with `void`, an answer says only that it is done. A
///   type that the codec can convert, like the request, with a default constructor.
/// - `timeout` is the default for this request: any `std::chrono` duration, or
///   `tether::no_timeout`. `CallOptions::timeout` decides before it. Without one,
///   `WorkerOptions::call_timeout` counts.
/// - `idempotent` says that doing it twice is as good as once. Only then is it sent again, once,
///   when the worker dies by itself after its handler has begun, and its errors never say
///   `errc::outcome_unknown`. Without it, false.
///
/// Data members may be called `timeout` and `idempotent`; only static ones have this meaning.
template <class R>
concept Request = std::default_initializable<R> && requires {
    { R::name } -> std::convertible_to<std::string_view>;
    typename R::Response;
};

/// An ordered list of message types, each once. The order is part of the wire contract: a request
/// is sent with its place in the list.
///
///     using Requests = tether::Messages<Lint, ClearCache>;
template <class... Types>
struct Messages {
    static constexpr std::size_t size = sizeof...(Types);  ///< how many there are
};

TETHER_NAMESPACE_END
