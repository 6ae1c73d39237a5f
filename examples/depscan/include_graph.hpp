#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace depscan {

/// An include directive that leads to no file.
struct Mention {
    std::uint32_t line{};
    std::string name{};

    auto operator<=>(const Mention&) const = default;
};

/// What one file includes directly. Files are absolute names without symbolic links.
struct FileIncludes {
    std::string file{};
    std::string failure{};                // why the file could not be scanned
    std::vector<std::string> includes{};  // files
    std::vector<std::string> external{};  // <names> outside of the search path: system headers
    std::vector<Mention> unresolved{};    // "names" that were found nowhere
    std::vector<Mention> computed{};      // #include MACRO

    auto operator<=>(const FileIncludes&) const = default;
};

struct IncludeCount {
    std::string file{};
    std::size_t includers{};

    auto operator<=>(const IncludeCount&) const = default;
};

/// Files that include each other, directly or not.
struct Cycle {
    std::size_t files{};
    std::vector<std::string> loop{};  // a shortest one; the last file includes the first

    auto operator<=>(const Cycle&) const = default;
};

struct LocatedMention {
    std::string file{};
    Mention mention{};

    auto operator<=>(const LocatedMention&) const = default;
};

struct Failure {
    std::string file{};
    std::string reason{};

    auto operator<=>(const Failure&) const = default;
};

struct GraphSummary {
    std::size_t files{};
    std::size_t sources{};
    std::size_t headers{};
    std::size_t includes{};
    std::vector<std::string> deepest_chain{};
    std::vector<IncludeCount> most_included{};
    std::vector<Cycle> cycles{};
    std::vector<std::string> external{};
    std::vector<LocatedMention> unresolved{};
    std::vector<LocatedMention> computed{};
    std::vector<Failure> failures{};

    auto operator<=>(const GraphSummary&) const = default;
};

/// Who includes whom. The result does not depend on the order in which files are merged.
class IncludeGraph {
public:
    struct Node {
        std::set<std::string> includes{};
        std::set<std::string> external{};
        std::set<Mention> unresolved{};
        std::set<Mention> computed{};
        std::string failure{};
    };

    /// A file that was scanned before (with another search path, say) gains what is new.
    void merge(const FileIncludes& scanned);

    const std::map<std::string, Node>& nodes() const { return nodes_; }

    /// Linear in the number of includes, apart from sorting.
    ///
    /// The deepest chain never visits a file twice: where files include each other, the walk, which
    /// starts at the files that nobody includes, cuts the include that closes the cycle.
    GraphSummary summary(std::size_t most_included_limit = 10) const;

private:
    std::map<std::string, Node> nodes_;
};

}  // namespace depscan
