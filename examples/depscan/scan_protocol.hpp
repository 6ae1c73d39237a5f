#pragma once

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "file_scanner.hpp"
#include "include_graph.hpp"
#include "sources.hpp"

namespace depscan {

/// What the files of a batch include directly, in the order of the request.
struct ScannedFiles {
    std::vector<FileIncludes> files{};
    CacheUse cache{};
};

/// Says all that the worker needs to know, so that it does not matter which worker gets it, whether
/// that one has been started again in between, or whether it is asked twice.
struct ScanFiles {
    static constexpr std::string_view name = "scan_files";
    using Response = ScannedFiles;
    static constexpr auto timeout = std::chrono::seconds{30};
    static constexpr bool idempotent = true;

    SearchPath search_path{};
    std::vector<std::string> files{};
};

struct ScanProtocol {
    static constexpr std::string_view name = "tether.example.depscan";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<ScanFiles>;
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SearchPath, quoted, normal, system)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Mention, line, name)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FileIncludes, file, failure, includes, external, unresolved,
                                   computed)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CacheUse, files_read, files_reused, lookups_made, lookups_reused)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ScannedFiles, files, cache)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ScanFiles, search_path, files)

}  // namespace depscan
