// Tether: the version. The build reads it from here; nothing else repeats it.
#pragma once

/// The version of this library, following https://semver.org: numbers for `#if`.
///
///     #if TETHER_VERSION_MAJOR == 0 && TETHER_VERSION_MINOR < 2
///
/// A parent and a worker may be built with different versions: what must agree is the version of
/// the wire protocol (docs/wire-protocol.md), and they check that when they connect.
#define TETHER_VERSION_MAJOR 0  ///< grows with changes that break code that uses it
#define TETHER_VERSION_MINOR 1  ///< grows with additions; before 1.0 also with such changes
#define TETHER_VERSION_PATCH 0  ///< grows with corrections
