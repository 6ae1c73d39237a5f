#pragma once

#include <string_view>

namespace tether_test {

/// Matchers differ between Catch2 2 and 3; this does not.
inline bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

}  // namespace tether_test
