// Why: a payload comes from another process, which may be broken, and each level of nesting takes a
// frame of the stack.
#pragma once

#include <tether/config.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::size_t deepest_nesting = 256;

[[noreturn]] inline void throw_too_deep() {
    throw std::runtime_error("nested more than " + std::to_string(deepest_nesting) +
                             " levels deep");
}

}  // namespace detail
TETHER_NAMESPACE_END
