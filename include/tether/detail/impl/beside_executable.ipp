#pragma once

#include <tether/beside_executable.hpp>
#include <tether/config.hpp>
#include <tether/detail/os/os.hpp>

#include <stdexcept>
#include <string>

TETHER_NAMESPACE_BEGIN

TETHER_DECL std::string beside_executable(const std::string& name) {
    if (name.empty() || name.front() == '/' || name.find('\0') != std::string::npos) {
        throw std::invalid_argument("tether::beside_executable: \"" + name +
                                    "\" is not a path relative to the executable");
    }
    return detail::path_beside_executable(name);
}

TETHER_NAMESPACE_END
