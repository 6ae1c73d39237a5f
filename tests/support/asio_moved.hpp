#pragma once

// What Asio has moved out of its experimental namespace, from wherever this version has it:
// `moved::as_tuple`, `moved::deferred`.

#include <asio/version.hpp>
#if ASIO_VERSION < 102400
#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/deferred.hpp>
#else
#include <asio/as_tuple.hpp>
#include <asio/deferred.hpp>
#endif

namespace tether_test {

#if ASIO_VERSION < 102400
namespace moved = asio::experimental;
#else
namespace moved = asio;
#endif

}  // namespace tether_test
