// Why: options of a pool that make no sense are found before there is a pool.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/options_check.hpp>
#include <tether/pool_options.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline void check_options(const PoolOptions& options) {
    const auto refuse = [](const char* what) {
        throw std::invalid_argument(std::string{"tether::PoolOptions: "} + what);
    };
    if (options.size == 0U) refuse("size is 0, so no request would ever be handled");
    if (options.size > 1024U) refuse("size is over 1024");
    if (options.priority_step < Duration::zero()) refuse("priority_step is negative");
    if (options.priority_step > std::chrono::hours{24}) refuse("priority_step is over a day");
    if (options.recycle.requests == 0) refuse("recycle.requests is 0");
    check_options(options.worker);
}

}  // namespace detail
TETHER_NAMESPACE_END
