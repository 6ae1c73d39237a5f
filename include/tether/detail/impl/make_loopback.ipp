#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/debug_mode.hpp>
#include <tether/detail/base/options_check.hpp>
#include <tether/detail/loopback/loopback.hpp>
#include <tether/detail/loopback/make_loopback.hpp>

#include <memory>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL std::shared_ptr<WorkerCarrier> make_loopback(WorkerOptions options, MakeHandler make,
                                                         std::shared_ptr<Hub> hub) {
    check_options(options);
    return std::make_shared<LoopbackCarrier>(options_in_force(std::move(options)), std::move(make),
                                             std::move(hub));
}

TETHER_DECL void release_loopback(std::shared_ptr<WorkerCarrier> carrier,
                                  std::shared_ptr<void> hold) noexcept {
    auto& loopback = static_cast<LoopbackCarrier&>(*carrier);
    if (!loopback.forked() && loopback.retire()) return;
    // Locks may be held by threads that do not exist here, or do not run.
    struct Kept {
        std::shared_ptr<void> hold;
        std::shared_ptr<WorkerCarrier> carrier;
    };
    static_cast<void>(new Kept{std::move(hold), std::move(carrier)});
}

}  // namespace detail
TETHER_NAMESPACE_END
