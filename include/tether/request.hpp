// Tether: what a request is.
#pragma once

#include <tether/config.hpp>

#include <concepts>
#include <cstddef>
#include <string_view>

TETHER_NAMESPACE_BEGIN

/// An ordered list of message types. Their order is part of the wire contract: append new ones.
template <class... Types>
struct Messages {
    static constexpr std::size_t size = sizeof...(Types);
};

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
/// `timeout` is the default for this request. `idempotent` says that doing it twice is as good as
/// once: only then is it sent again when the worker dies before it answers.
template <class R>
concept Request = std::default_initializable<R> && requires {
    { R::name } -> std::convertible_to<std::string_view>;
    typename R::Response;
};

TETHER_NAMESPACE_END
