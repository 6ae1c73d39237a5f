// Why: as memory.hpp, what `base` needs of the platform.
#pragma once

#include <tether/config.hpp>

#if defined(_WIN32)
#error "Tether does not run on Windows yet; a port belongs into tether/detail/os/windows/"
#else
#include <tether/detail/os/posix/signal_names.hpp>
#endif
