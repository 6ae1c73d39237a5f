// Why: bytes are sent from where they lie and received to where they stay.
#pragma once

#include <tether/config.hpp>

#include <cstddef>

TETHER_NAMESPACE_BEGIN
namespace detail {

struct ConstBuffer {
    const char* data = nullptr;
    std::size_t size = 0;
};

struct MutableBuffer {
    char* data = nullptr;
    std::size_t size = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
