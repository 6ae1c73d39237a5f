#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/base/options_check.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/parent/make_supervisor.hpp>
#include <tether/detail/parent/supervisor.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/options.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL std::shared_ptr<ProcessCarrier> make_supervisor(WorkerOptions options,
                                                            std::string_view protocol,
                                                            std::uint32_t version,
                                                            std::uint64_t fingerprint, bool is_live,
                                                            std::shared_ptr<Hub> hub) {
    check_options(options);
    auto supervisor = std::make_shared<Supervisor>(
        std::move(options), ProtocolId{std::string{protocol}, version, fingerprint, is_live},
        std::move(hub));
    supervisor->begin();
    return supervisor;
}

TETHER_DECL void stop_supervisors(std::span<const std::shared_ptr<ProcessCarrier>> carriers) {
    std::vector<std::shared_ptr<Supervisor>> supervisors;
    for (const auto& carrier : carriers) {
        supervisors.push_back(std::static_pointer_cast<Supervisor>(carrier));
    }
    Supervisor::stop_all(supervisors);
}

TETHER_DECL void release_supervisor(std::shared_ptr<ProcessCarrier> carrier,
                                    std::shared_ptr<void> hold) noexcept {
    auto supervisor = std::static_pointer_cast<Supervisor>(std::move(carrier));
    if (supervisor->forked()) {  // locks may be held by threads that do not exist here
        struct Kept {
            std::shared_ptr<void> hold;
            std::shared_ptr<Supervisor> supervisor;
        };
        static_cast<void>(new Kept{std::move(hold), std::move(supervisor)});
    } else if (is_interrupted() || !supervisor->retire()) {
        Supervisor::leave(std::move(supervisor), std::move(hold));
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
