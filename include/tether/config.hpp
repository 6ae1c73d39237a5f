// Tether: build-time configuration and the versioned inline namespace.
#pragma once

#include <tether/version.hpp>

/// Define `TETHER_FORCE_PORTABLE` (before the first include, in every translation unit) to build
/// without the Linux fast paths (pidfd, `close_range`, `posix_spawn` extensions): what macOS, the
/// BSDs, musl and Valgrind have. It is what the test suite uses to cover that path on Linux.
///
/// Everything public lives in an inline namespace that carries the version and each option that
/// changes the layout of a class, so that two translation units that disagree fail to link instead
/// of misbehaving, and two libraries in one program may each bring their own Tether.
#define TETHER_ABI_CONCAT_(major, minor, variant) v##major##_##minor##variant
#define TETHER_ABI_CONCAT(major, minor, variant) TETHER_ABI_CONCAT_(major, minor, variant)

#if defined(TETHER_FORCE_PORTABLE)
#define TETHER_ABI_NAMESPACE \
    TETHER_ABI_CONCAT(TETHER_VERSION_MAJOR, TETHER_VERSION_MINOR, _portable)
#else
#define TETHER_ABI_NAMESPACE TETHER_ABI_CONCAT(TETHER_VERSION_MAJOR, TETHER_VERSION_MINOR, )
#endif

#define TETHER_NAMESPACE_BEGIN \
    namespace tether {         \
    inline namespace TETHER_ABI_NAMESPACE {
#define TETHER_NAMESPACE_END \
    }                        \
    }
