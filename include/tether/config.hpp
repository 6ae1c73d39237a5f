// Tether: build-time configuration and the versioned inline namespace.
#pragma once

#if __cplusplus < 202002L
#error "Tether needs C++20: compile with -std=c++20 or newer"
#include <tether_needs_a_newer_standard>  // does not exist: #error alone would let it go on
#endif

#include <tether/version.hpp>

// Three macros are yours to define, before the first include. All other settings are in
// `WorkerOptions`, at run time. The first two are defined in every translation unit or in none.
//
// TETHER_FORCE_PORTABLE builds Tether without the fast paths of Linux (pidfd, `close_range`,
// extensions of `posix_spawn`), with what macOS, the BSDs, musl and Valgrind have. The test suite
// uses it to cover that path on Linux.
//
// TETHER_SEPARATE_COMPILATION compiles everything that is not a template in one place: exactly one
// source file of the program includes `<tether/src.hpp>`, and the others compile several times
// faster. With CMake, link `tether::compiled` instead, which does both.
//
// TETHER_WITHOUT_JSON leaves nlohmann/json out of a file whose protocols use `DirectCodec`, or
// codecs of your own. `<tether/json_codec.hpp>` brings it back where it is included.
#if defined(TETHER_SEPARATE_COMPILATION)
#define TETHER_DECL
#else
#define TETHER_DECL inline
#endif

// A variable that a shared library and its program must have in common, whatever visibility the
// program is compiled with.
#if defined(TETHER_SEPARATE_COMPILATION) && defined(__GNUC__)
#define TETHER_SHARED_STATE [[gnu::visibility("default")]]
#else
#define TETHER_SHARED_STATE
#endif

// Implementation of the next.
#define TETHER_ABI_CONCAT_(major, minor, variant) v##major##_##minor##variant
#define TETHER_ABI_CONCAT(major, minor, variant) TETHER_ABI_CONCAT_(major, minor, variant)

/// The name of the inline namespace that everything lives in, such as `v0_1`. Write `tether::`; it
/// shows only in the messages of compiler and linker.
///
/// It carries the version and the first two macros above, so that two translation units that
/// disagree fail to link instead of misbehaving, and two libraries in one program may each bring
/// their own Tether.
#if defined(TETHER_FORCE_PORTABLE) && defined(TETHER_SEPARATE_COMPILATION)
#define TETHER_ABI_VARIANT _portable_compiled
#elif defined(TETHER_FORCE_PORTABLE)
#define TETHER_ABI_VARIANT _portable
#elif defined(TETHER_SEPARATE_COMPILATION)
#define TETHER_ABI_VARIANT _compiled
#else
#define TETHER_ABI_VARIANT
#endif
#define TETHER_ABI_NAMESPACE \
    TETHER_ABI_CONCAT(TETHER_VERSION_MAJOR, TETHER_VERSION_MINOR, TETHER_ABI_VARIANT)

/// Open and close `namespace tether` with that inline namespace. For Tether's own headers; a
/// program need not open it.
#define TETHER_NAMESPACE_BEGIN \
    namespace tether {         \
    inline namespace TETHER_ABI_NAMESPACE {
#define TETHER_NAMESPACE_END \
    }                        \
    }
