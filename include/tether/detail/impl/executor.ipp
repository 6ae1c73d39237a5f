#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/background/runtime.hpp>

#include <asio/any_io_executor.hpp>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL asio::any_io_executor background_executor() { return Runtime::usable().executor(); }

TETHER_DECL asio::any_io_executor started_background_executor() {
    return Runtime::usable().started_executor();
}

}  // namespace detail
TETHER_NAMESPACE_END
