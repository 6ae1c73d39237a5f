// Why: typed code posts to the background thread without knowing the runtime behind it.
#pragma once

#include <tether/config.hpp>

#include <asio/any_io_executor.hpp>

TETHER_NAMESPACE_BEGIN
namespace detail {

// That of the background thread. Never one whose descriptors the host has closed.
TETHER_DECL asio::any_io_executor background_executor();

// The same with the thread running, whether or not there is a worker.
TETHER_DECL asio::any_io_executor started_background_executor();

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/executor.ipp>
#endif
