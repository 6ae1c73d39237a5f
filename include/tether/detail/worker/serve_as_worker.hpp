// Why: the door between `serve_if_worker`, which knows the handlers' types, and the worker process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/protocol/handler_box.hpp>

#include <optional>
#include <span>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Nothing where this process was not started as a worker, else its exit code.
TETHER_DECL std::optional<int> serve_as_worker(std::span<const HandlerType> types);

// Of a program that is nothing but a worker and was started by hand: says so.
TETHER_DECL int refuse_to_be_a_host(std::span<const HandlerType> types);

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/serve_as_worker.ipp>
#endif
