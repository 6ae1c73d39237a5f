#include "report.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace depscan {
namespace {

using Json = nlohmann::ordered_json;

/// A title with the number of items, the first of them, and how many were left out.
template <typename Items, typename Print>
void print_list(std::ostream& out, std::string_view title, const Items& items, std::size_t limit,
                Print print) {
    if (items.empty()) return;
    out << '\n' << title << ": " << items.size() << '\n';
    const auto shown = std::min(items.size(), limit);
    for (std::size_t at = 0; at < shown; ++at) {
        out << "  ";
        print(items[at]);
        out << '\n';
    }
    if (shown < items.size()) out << "  ... and " << items.size() - shown << " more\n";
}

void print_totals(std::ostream& out, const GraphSummary& summary) {
    out << summary.files << " files (" << summary.sources << " sources, " << summary.headers
        << " headers), " << summary.includes << " includes, " << summary.external.size()
        << " external headers\n";
}

void print_chain(std::ostream& out, const std::vector<std::string>& chain) {
    out << "\ndeepest chain: " << chain.size() << " files\n";
    for (const auto& file : chain) out << "  " << file << '\n';
}

void print_most_included(std::ostream& out, const std::vector<IncludeCount>& counts) {
    if (counts.empty()) return;
    out << "\nmost included headers\n";
    for (const auto& [file, includers] : counts) {
        out << std::setw(6) << includers << "  " << file << '\n';
    }
}

void print_loop(std::ostream& out, const std::vector<std::string>& loop) {
    constexpr std::size_t shown = 3;
    for (std::size_t at = 0; at < std::min(loop.size(), shown); ++at) out << loop[at] << " -> ";
    if (loop.size() > shown) out << "... " << loop.size() - shown << " more ... -> ";
    out << loop.front();
}

void print_cycles(std::ostream& out, const std::vector<Cycle>& cycles) {
    constexpr std::size_t limit = 3;
    print_list(out, "cycles", cycles, limit,
               [&](const Cycle& cycle) { print_loop(out, cycle.loop); });
}

void print_problems(std::ostream& out, const GraphSummary& summary) {
    constexpr std::size_t limit = 10;
    const auto print_mention = [&](const LocatedMention& where) {
        out << where.file << ':' << where.mention.line << ": " << where.mention.name;
    };
    print_list(out, "computed includes, not followed", summary.computed, limit, print_mention);
    print_list(out, "unresolved includes", summary.unresolved, limit, print_mention);
    print_list(out, "files that could not be scanned", summary.failures, limit,
               [&](const Failure& failure) { out << failure.file << ": " << failure.reason; });
}

void print_run(std::ostream& out, const RunStatistics& run) {
    out << '\n'
        << run.workers << (run.workers == 1 ? " worker, " : " workers, ") << run.batches
        << " batches, " << std::fixed << std::setprecision(2) << run.seconds << " s";
    if (run.killed_workers > 0) out << ", workers killed: " << run.killed_workers;
    if (run.retried_batches > 0) out << ", batches dealt out again: " << run.retried_batches;
    out << '\n';
}

Json json_of(const std::vector<Cycle>& cycles) {
    auto list = Json::array();
    for (const auto& cycle : cycles) list.push_back({{"files", cycle.files}, {"loop", cycle.loop}});
    return list;
}

Json json_of(const std::vector<IncludeCount>& counts) {
    auto list = Json::array();
    for (const auto& [file, includers] : counts) {
        list.push_back({{"file", file}, {"includers", includers}});
    }
    return list;
}

Json json_of(const std::vector<LocatedMention>& mentions) {
    auto list = Json::array();
    for (const auto& [file, mention] : mentions) {
        list.push_back({{"file", file}, {"line", mention.line}, {"name", mention.name}});
    }
    return list;
}

Json json_of(const std::vector<Failure>& failures) {
    auto list = Json::array();
    for (const auto& [file, reason] : failures) {
        list.push_back({{"file", file}, {"reason", reason}});
    }
    return list;
}

Json json_of(const IncludeGraph& graph, const GraphSummary& summary) {
    Json scan{{"files", summary.files},
              {"sources", summary.sources},
              {"headers", summary.headers},
              {"deepest_chain", summary.deepest_chain},
              {"most_included", json_of(summary.most_included)},
              {"cycles", json_of(summary.cycles)},
              {"computed", json_of(summary.computed)},
              {"unresolved", json_of(summary.unresolved)},
              {"external", summary.external},
              {"failures", json_of(summary.failures)}};
    Json::object_t includes;  // filled directly: a look-up in it is linear
    for (const auto& [file, node] : graph.nodes()) includes.emplace_back(file, node.includes);
    scan["includes"] = std::move(includes);
    return scan;
}

Json json_of(const RunStatistics& run) {
    return {{"workers", run.workers},
            {"batches", run.batches},
            {"retried_batches", run.retried_batches},
            {"killed_workers", run.killed_workers},
            {"seconds", run.seconds},
            {"files_read", run.cache.files_read},
            {"files_reused", run.cache.files_reused},
            {"lookups_made", run.cache.lookups_made},
            {"lookups_reused", run.cache.lookups_reused}};
}

}  // namespace

void print_summary(std::ostream& out, const GraphSummary& summary, const RunStatistics& run) {
    print_totals(out, summary);
    print_chain(out, summary.deepest_chain);
    print_most_included(out, summary.most_included);
    print_cycles(out, summary.cycles);
    print_problems(out, summary);
    print_run(out, run);
}

void print_json(std::ostream& out, const IncludeGraph& graph, const GraphSummary& summary,
                const RunStatistics& run) {
    const Json report{{"scan", json_of(graph, summary)}, {"run", json_of(run)}};
    constexpr int indent = 2;
    // A file name need not be UTF-8, JSON text must.
    out << report.dump(indent, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace depscan
