#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/pool_options_check.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/parent/launch.hpp>
#include <tether/detail/pool/make_pool.hpp>
#include <tether/detail/pool/pool.hpp>
#include <tether/detail/pool/pool_members.hpp>
#include <tether/pool_options.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::shared_ptr<PoolCarrier> make_pool_of(PoolOptions options, std::string name,
                                                 std::unique_ptr<PoolMembers> members) {
    const auto size = options.size ? *options.size : usable_cores();
    return std::make_shared<Pool>(std::move(options), size, std::move(name), std::move(members));
}

TETHER_DECL std::shared_ptr<PoolCarrier> make_pool(PoolOptions options, std::string_view protocol,
                                                   std::uint32_t version, std::uint64_t fingerprint,
                                                   bool is_live) {
    check_options(options);
    auto name = worker_name(options.worker);
    auto members =
        std::make_unique<ProcessMembers>(options.worker, protocol, version, fingerprint, is_live);
    return make_pool_of(std::move(options), std::move(name), std::move(members));
}

TETHER_DECL std::shared_ptr<PoolCarrier> make_loopback_pool(PoolOptions options, MakeHandler make) {
    check_options(options);
    auto name = options.worker.name.empty() ? "loopback" : options.worker.name;
    auto members = std::make_unique<LoopbackMembers>(options.worker, std::move(make));
    return make_pool_of(std::move(options), std::move(name), std::move(members));
}

TETHER_DECL void release_pool(std::shared_ptr<PoolCarrier> carrier,
                              std::shared_ptr<void> hold) noexcept {
    auto& pool = static_cast<Pool&>(*carrier);
    if (!pool.forked() && !is_interrupted() && pool.retire()) return;
    // Locks may be held by threads that do not exist here, or do not run.
    struct Kept {
        std::shared_ptr<void> hold;
        std::shared_ptr<PoolCarrier> carrier;
    };
    static_cast<void>(new Kept{std::move(hold), std::move(carrier)});
}

}  // namespace detail
TETHER_NAMESPACE_END
