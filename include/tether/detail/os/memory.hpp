// Why: what `base` needs of the platform. Chosen as in os.hpp, which lies above it.
#pragma once

#include <tether/config.hpp>

#if defined(_WIN32)
#error "Tether does not run on Windows yet; a port belongs into tether/detail/os/windows/"
#else
#include <tether/detail/os/posix/memory.hpp>
#endif
