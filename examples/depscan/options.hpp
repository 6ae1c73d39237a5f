#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sources.hpp"

namespace depscan {

struct Options {
    std::vector<std::string> paths{};
    SearchPath search_path{};
    std::size_t workers{};                      // 0: one for each core, at most 4
    std::optional<std::uint32_t> chaos_seed{};  // kill a worker now and then
    bool json{};
    bool quiet{};
    bool help{};
};

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

extern const std::string_view usage;

/// Without the program's name. Throws UsageError, which says what to do.
Options parse_options(const std::vector<std::string>& arguments);

}  // namespace depscan
