// Tether: a worker program that is installed beside the program that uses it.
#pragma once

#include <tether/config.hpp>

#include <string>

TETHER_NAMESPACE_BEGIN

/// The path of a file in the folder of the running executable, for `WorkerOptions::program`:
///
///     tether::Worker<LintProtocol> worker{{.program = tether::beside_executable("lint-worker")}};
///
/// `name` may lead into other folders: `"../libexec/lint-worker"`. The folder is that of the file
/// itself: symbolic links on the way to it, as in `/usr/local/bin`, are followed, and neither the
/// working directory nor `argv[0]` matters. Within a shared library it is still the folder of the
/// program that loaded the library.
///
/// Whether there is such a file is looked at when the worker is started: its calls then fail with
/// `errc::start_failed` and the whole path. Throws `std::invalid_argument` for a name that is
/// empty, begins with `/` or contains a null byte, and `std::system_error` where the system does
/// not tell which file is running (see `WorkerOptions::program`). Thread-safe.
[[nodiscard]] TETHER_DECL std::string beside_executable(const std::string& name);

TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/beside_executable.ipp>
#endif
