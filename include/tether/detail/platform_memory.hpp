// Why: the one thing that the lowest layer needs of the platform. Chosen as in platform.hpp, which
// lies above it.
#pragma once

#include <tether/config.hpp>

#if defined(_WIN32)
#error "Tether does not run on Windows yet; a port belongs into tether/detail/windows/"
#else
#include <tether/detail/posix/memory.hpp>
#endif
