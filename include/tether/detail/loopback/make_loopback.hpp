// Why: the door between a LoopbackWorker, which is typed, and what answers its calls.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/options.hpp>

#include <memory>

TETHER_NAMESPACE_BEGIN
namespace detail {

// `make` is called for each handler, one after the other; `hub` is that of its pool. Throws for
// options that make no sense.
TETHER_DECL std::shared_ptr<WorkerCarrier> make_loopback(WorkerOptions options, MakeHandler make,
                                                         std::shared_ptr<Hub> hub = nullptr);

// Ends it, as the destructor of a LoopbackWorker does. Where it must be left behind, `hold` is kept
// with it.
TETHER_DECL void release_loopback(std::shared_ptr<WorkerCarrier> carrier,
                                  std::shared_ptr<void> hold) noexcept;

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/make_loopback.ipp>
#endif
