// Why: an AnyWorker takes any kind of worker, and only that may look behind its face.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/carrier.hpp>

#include <concepts>
#include <memory>

TETHER_NAMESPACE_BEGIN
namespace detail {

struct CarrierAccess {
    template <class W>
    static std::shared_ptr<CallCarrier> of(const W& worker) requires requires {
        { worker.carrier_ } -> std::convertible_to<std::shared_ptr<CallCarrier>>;
    }
    { return worker.carrier_; }
};

// A kind of worker that serves P.
template <class W, class P>
concept WorkerOf = std::same_as<typename W::protocol_type, P> && requires(const W& worker) {
    CarrierAccess::of(worker);
};

}  // namespace detail
TETHER_NAMESPACE_END
