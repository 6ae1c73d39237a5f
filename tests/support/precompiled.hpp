#pragma once

// What nearly every test includes and what hardly ever changes, compiled once (TETHER_TEST_PCH). It
// has nothing of Tether's own, and the Clang presets build without it, so that no missing include
// is hidden.

#include <asio.hpp>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"
