// Tether: the version. The build reads it from here; nothing else repeats it.
#pragma once

/// The version of this library, following https://semver.org. While the major version is 0, a new
/// minor version may break source compatibility.
#define TETHER_VERSION_MAJOR 0
#define TETHER_VERSION_MINOR 1
#define TETHER_VERSION_PATCH 0
