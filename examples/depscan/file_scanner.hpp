#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "include_graph.hpp"
#include "include_lexer.hpp"
#include "sources.hpp"

namespace depscan {

/// How often a scan found its answer in memory.
struct CacheUse {
    std::size_t files_read{};
    std::size_t files_reused{};
    std::size_t lookups_made{};
    std::size_t lookups_reused{};

    CacheUse& operator+=(const CacheUse& other);
};

/// Reads files and finds the headers that they include, as a compiler would.
///
/// It remembers each file that it has read, and each place where it has looked for a header, for as
/// long as it lives: the same header is met again with every other search path, and the same name
/// is looked for in the same folders by almost every file.
class FileScanner {
public:
    /// Never throws for a file's sake: a file that cannot be read has a `failure`.
    FileIncludes scan(const std::string& file, const SearchPath& search_path);

    /// Since the last time it was asked for.
    CacheUse take_cache_use() { return std::exchange(use_, {}); }

private:
    struct LexedFile {
        std::vector<Include> includes{};
        std::string failure{};
    };

    const LexedFile& lex(const std::string& file);
    void classify(const Include& include, const SearchPath& search_path, FileIncludes& result);
    std::optional<std::string> resolve(const Include& include, const std::string& includer,
                                       const SearchPath& search_path);
    const std::optional<std::string>& find(const std::string& folder, const std::string& name);

    std::unordered_map<std::string, LexedFile> files_;
    std::unordered_map<std::string, std::optional<std::string>> lookups_;
    CacheUse use_;
};

}  // namespace depscan
