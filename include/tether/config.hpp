// Tether: build-time configuration and the versioned inline namespace.
#pragma once

#include <tether/version.hpp>

// TETHER_FORCE_PORTABLE is yours to define: before the first include, in every translation unit.
// Tether is then built without the fast paths of Linux (pidfd, `close_range`, extensions of
// `posix_spawn`), with what macOS, the BSDs, musl and Valgrind have. It is what the test suite uses
// to cover that path on Linux. Nothing else is configured while building; all the rest is in
// `WorkerOptions`, at run time.

// Implementation of the next.
#define TETHER_ABI_CONCAT_(major, minor, variant) v##major##_##minor##variant
#define TETHER_ABI_CONCAT(major, minor, variant) TETHER_ABI_CONCAT_(major, minor, variant)

/// The name of the inline namespace that everything lives in, such as `v0_1`. Write `tether::`; it
/// shows only in the messages of compiler and linker.
///
/// It carries the version and each option that changes the layout of a class, so that two
/// translation units that disagree fail to link instead of misbehaving, and two libraries in one
/// program may each bring their own Tether.
#if defined(TETHER_FORCE_PORTABLE)
#define TETHER_ABI_NAMESPACE \
    TETHER_ABI_CONCAT(TETHER_VERSION_MAJOR, TETHER_VERSION_MINOR, _portable)
#else
#define TETHER_ABI_NAMESPACE TETHER_ABI_CONCAT(TETHER_VERSION_MAJOR, TETHER_VERSION_MINOR, )
#endif

/// Open and close `namespace tether` with that inline namespace. For Tether's own headers; a
/// program need not open it.
#define TETHER_NAMESPACE_BEGIN \
    namespace tether {         \
    inline namespace TETHER_ABI_NAMESPACE {
#define TETHER_NAMESPACE_END \
    }                        \
    }
