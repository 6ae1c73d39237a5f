// Why: as os.hpp, for what Asio watches. A worker process has no background thread, and does not
// include Asio.
#pragma once

#include <tether/config.hpp>

#if !defined(_WIN32)
#include <tether/detail/os/posix/watches.hpp>
#endif
