// Why: the door between a WorkerPool, which is typed, and what places its calls.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/pool/pool_carrier.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/pool_options.hpp>

#include <cstdint>
#include <memory>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Both throw for options that make no sense, and start nothing.
TETHER_DECL std::shared_ptr<PoolCarrier> make_pool(PoolOptions options, std::string_view protocol,
                                                   std::uint32_t version, std::uint64_t fingerprint,
                                                   bool is_live);
TETHER_DECL std::shared_ptr<PoolCarrier> make_loopback_pool(PoolOptions options, MakeHandler make);

// Ends all workers, as the destructor of a pool does. Where they must be left behind, `hold` is
// kept with them.
TETHER_DECL void release_pool(std::shared_ptr<PoolCarrier> carrier,
                              std::shared_ptr<void> hold) noexcept;

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/make_pool.ipp>
#endif
