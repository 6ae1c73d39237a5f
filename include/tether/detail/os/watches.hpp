// Why: the one place beside os.hpp that chooses the platform: what Asio watches, for those who have
// a background thread. A worker process has none, and does not include Asio.
#pragma once

#include <tether/config.hpp>

#if !defined(_WIN32)
#include <tether/detail/os/posix/watches.hpp>
#endif
