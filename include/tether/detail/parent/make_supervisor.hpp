// Why: the door between a Worker, which is typed, and what supervises its process.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/options.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// `hub`: that of its pool. Throws for options that make no sense. Starts the first process without
// waiting for it.
TETHER_DECL std::shared_ptr<ProcessCarrier> make_supervisor(WorkerOptions options,
                                                            std::string_view protocol,
                                                            std::uint32_t version,
                                                            std::uint64_t fingerprint, bool is_live,
                                                            std::shared_ptr<Hub> hub = nullptr);

// As the stop() of each, side by side.
TETHER_DECL void stop_supervisors(std::span<const std::shared_ptr<ProcessCarrier>> carriers);

// Ends the process, as the destructor of a Worker does. Where it must be left behind, `hold` is
// kept with it.
TETHER_DECL void release_supervisor(std::shared_ptr<ProcessCarrier> carrier,
                                    std::shared_ptr<void> hold) noexcept;

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/make_supervisor.ipp>
#endif
