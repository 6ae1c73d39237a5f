#pragma once

#include <tether/config.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/transport/worker_mark.hpp>
#include <tether/detail/worker/serve_as_worker.hpp>
#include <tether/detail/worker/worker_main.hpp>

#include <cstdio>
#include <optional>
#include <span>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL std::optional<int> serve_as_worker(std::span<const HandlerType> types) {
    const auto origin = origin_of_process();
    if (origin == Origin::other) return std::nullopt;
    if (origin == Origin::lost_worker) return refuse_lost_worker();
    return WorkerMain{types}.run();
}

TETHER_DECL int refuse_to_be_a_host(std::span<const HandlerType> types) {
    std::fprintf(stderr,
                 "This program is a Tether worker, serving protocol %s. It is started by the "
                 "program that uses it (WorkerOptions::program), not by hand.\n",
                 offered(types).c_str());
    return 2;
}

}  // namespace detail
TETHER_NAMESPACE_END
