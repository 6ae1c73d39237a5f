#pragma once

#include <cstddef>
#include <iosfwd>

#include "file_scanner.hpp"
#include "include_graph.hpp"

namespace depscan {

/// How the scan went: what differs from run to run although the result is the same.
struct RunStatistics {
    std::size_t workers{};
    std::size_t batches{};
    std::size_t retried_batches{};  // by depscan, after Tether's own second attempt
    std::size_t killed_workers{};
    double seconds{};
    CacheUse cache{};
};

void print_summary(std::ostream& out, const GraphSummary& summary, const RunStatistics& run);

/// An object of two members: "scan", which is equal for equal files, and "run", which is not.
void print_json(std::ostream& out, const IncludeGraph& graph, const GraphSummary& summary,
                const RunStatistics& run);

}  // namespace depscan
