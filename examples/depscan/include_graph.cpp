#include "include_graph.hpp"

#include <algorithm>
#include <limits>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "sources.hpp"

namespace depscan {
namespace {

using Vertex = std::uint32_t;
using Adjacency = std::vector<std::vector<Vertex>>;

constexpr Vertex no_vertex = std::numeric_limits<Vertex>::max();

/// The graph with numbers for names; the numbers are in the order of the names.
struct NumberedGraph {
    std::vector<std::string> names{};
    Adjacency includes{};
    std::vector<std::size_t> includers{};

    explicit NumberedGraph(const std::map<std::string, IncludeGraph::Node>& nodes)
        : includes(nodes.size()), includers(nodes.size()) {
        std::unordered_map<std::string, Vertex> numbers;
        for (const auto& [name, node] : nodes) {
            numbers.emplace(name, static_cast<Vertex>(names.size()));
            names.push_back(name);
        }
        for (Vertex vertex = 0; const auto& [name, node] : nodes) {
            for (const auto& include : node.includes) {
                const auto included = numbers.at(include);
                includes[vertex].push_back(included);
                ++includers[included];
            }
            ++vertex;
        }
    }
};

/// One depth-first walk finds both the deepest chain that starts at each vertex and the groups of
/// vertices that reach each other (Tarjan's algorithm). It keeps its own stack: generated headers
/// nest deeper than a call stack may.
class DepthFirstWalk {
public:
    explicit DepthFirstWalk(const NumberedGraph& graph) : graph_{graph} {
        const auto size = graph.names.size();
        depth_.resize(size);
        deeper_.resize(size, no_vertex);
        order_.resize(size, no_vertex);
        low_.resize(size);
        on_path_.resize(size);
        in_open_group_.resize(size);
        for (Vertex vertex = 0; vertex < size; ++vertex) {
            if (graph.includers[vertex] == 0) walk_from(vertex);
        }
        for (Vertex vertex = 0; vertex < size; ++vertex) walk_from(vertex);
    }

    std::vector<Vertex> deepest_chain() const {
        std::vector<Vertex> chain;
        if (depth_.empty()) return chain;
        const auto deepest = std::ranges::max_element(depth_) - depth_.begin();
        for (auto at = static_cast<Vertex>(deepest); at != no_vertex; at = deeper_[at]) {
            chain.push_back(at);
        }
        return chain;
    }

    /// Every vertex is in exactly one group, most are alone in theirs.
    const std::vector<std::vector<Vertex>>& groups() const { return groups_; }

private:
    struct Step {
        Vertex vertex{};
        std::size_t next_include{};
    };

    void walk_from(Vertex start) {
        if (order_[start] != no_vertex) return;
        enter(start);
        while (!path_.empty()) {
            auto& step = path_.back();
            const auto& includes = graph_.includes[step.vertex];
            if (step.next_include == includes.size()) {
                leave();
            } else if (const auto included = includes[step.next_include++];
                       order_[included] == no_vertex) {
                enter(included);
            } else {
                revisit(step.vertex, included);
            }
        }
    }

    void enter(Vertex vertex) {
        order_[vertex] = low_[vertex] = entered_++;
        depth_[vertex] = 1;
        on_path_[vertex] = in_open_group_[vertex] = true;
        open_group_.push_back(vertex);
        path_.push_back({.vertex = vertex, .next_include = 0});
    }

    void revisit(Vertex vertex, Vertex included) {
        if (in_open_group_[included]) low_[vertex] = std::min(low_[vertex], order_[included]);
        if (!on_path_[included]) extend_chain(vertex, included);
    }

    void leave() {
        const auto vertex = path_.back().vertex;
        path_.pop_back();
        on_path_[vertex] = false;
        if (low_[vertex] == order_[vertex]) close_group(vertex);
        if (path_.empty()) return;
        const auto includer = path_.back().vertex;
        low_[includer] = std::min(low_[includer], low_[vertex]);
        extend_chain(includer, vertex);
    }

    void extend_chain(Vertex includer, Vertex included) {
        if (depth_[included] < depth_[includer]) return;
        depth_[includer] = depth_[included] + 1;
        deeper_[includer] = included;
    }

    void close_group(Vertex first) {
        const auto begin = std::ranges::find(open_group_.rbegin(), open_group_.rend(), first);
        groups_.emplace_back(begin.base() - 1, open_group_.end());
        open_group_.erase(begin.base() - 1, open_group_.end());
        for (const auto vertex : groups_.back()) in_open_group_[vertex] = false;
    }

    const NumberedGraph& graph_;
    std::vector<std::uint32_t> depth_;  // files in the deepest chain from here
    std::vector<Vertex> deeper_;        // the next file in that chain
    std::vector<std::uint32_t> order_;
    std::vector<std::uint32_t> low_;  // the earliest vertex of an open group that is reached
    std::vector<bool> on_path_;
    std::vector<bool> in_open_group_;
    std::vector<Vertex> open_group_;
    std::vector<Step> path_;
    std::vector<std::vector<Vertex>> groups_;
    std::uint32_t entered_ = 0;
};

/// A shortest way from `start` back to itself within its group (breadth first); empty if a group of
/// one does not include itself.
std::vector<Vertex> shortest_loop(const Adjacency& includes, Vertex start,
                                  const std::vector<Vertex>& group) {
    std::unordered_map<Vertex, Vertex> reached_from;
    for (const auto vertex : group) reached_from.emplace(vertex, no_vertex);
    std::vector<Vertex> frontier{start};
    for (std::size_t next = 0; next < frontier.size(); ++next) {
        for (const auto included : includes[frontier[next]]) {
            const auto entry = reached_from.find(included);
            if (entry == reached_from.end() || entry->second != no_vertex) continue;
            entry->second = frontier[next];
            frontier.push_back(included);
        }
    }

    std::vector<Vertex> loop;
    auto at = reached_from.at(start);
    if (at == no_vertex) return loop;
    for (; at != start; at = reached_from.at(at)) loop.push_back(at);
    loop.push_back(start);
    std::ranges::reverse(loop);
    return loop;
}

std::vector<std::string> names_of(const NumberedGraph& graph, const std::vector<Vertex>& vertices) {
    std::vector<std::string> names;
    names.reserve(vertices.size());
    for (const auto vertex : vertices) names.push_back(graph.names[vertex]);
    return names;
}

std::vector<Cycle> find_cycles(const NumberedGraph& graph, const DepthFirstWalk& walk) {
    std::vector<Cycle> cycles;
    for (const auto& group : walk.groups()) {
        const auto loop = shortest_loop(graph.includes, std::ranges::min(group), group);
        if (loop.empty()) continue;
        cycles.push_back({.files = group.size(), .loop = names_of(graph, loop)});
    }
    std::ranges::sort(cycles, {}, &Cycle::loop);
    return cycles;
}

std::vector<IncludeCount> count_includers(const NumberedGraph& graph, std::size_t limit) {
    std::vector<IncludeCount> counts;
    for (std::size_t vertex = 0; vertex < graph.names.size(); ++vertex) {
        if (graph.includers[vertex] == 0) continue;
        counts.push_back({.file = graph.names[vertex], .includers = graph.includers[vertex]});
    }
    std::ranges::sort(counts, [](const IncludeCount& a, const IncludeCount& b) {
        return std::tie(b.includers, a.file) < std::tie(a.includers, b.file);
    });
    if (counts.size() > limit) counts.resize(limit);
    return counts;
}

void collect_mentions(GraphSummary& summary, const std::string& file,
                      const IncludeGraph::Node& node) {
    for (const auto& mention : node.unresolved) summary.unresolved.push_back({file, mention});
    for (const auto& mention : node.computed) summary.computed.push_back({file, mention});
    if (!node.failure.empty()) summary.failures.push_back({file, node.failure});
}

}  // namespace

void IncludeGraph::merge(const FileIncludes& scanned) {
    for (const auto& include : scanned.includes) nodes_.try_emplace(include);
    auto& node = nodes_[scanned.file];
    node.includes.insert(scanned.includes.begin(), scanned.includes.end());
    node.external.insert(scanned.external.begin(), scanned.external.end());
    node.unresolved.insert(scanned.unresolved.begin(), scanned.unresolved.end());
    node.computed.insert(scanned.computed.begin(), scanned.computed.end());
    node.failure = std::max(node.failure, scanned.failure);
}

GraphSummary IncludeGraph::summary(std::size_t most_included_limit) const {
    const NumberedGraph graph{nodes_};
    const DepthFirstWalk walk{graph};
    GraphSummary summary;
    summary.files = nodes_.size();
    summary.deepest_chain = names_of(graph, walk.deepest_chain());
    summary.cycles = find_cycles(graph, walk);
    summary.most_included = count_includers(graph, most_included_limit);

    std::set<std::string> external;
    for (const auto& [file, node] : nodes_) {
        ++(is_source(file) ? summary.sources : summary.headers);
        summary.includes += node.includes.size();
        external.insert(node.external.begin(), node.external.end());
        collect_mentions(summary, file, node);
    }
    summary.external.assign(external.begin(), external.end());
    return summary;
}

}  // namespace depscan
