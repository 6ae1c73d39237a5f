#pragma once

#include <compare>
#include <cstddef>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace depscan {

/// The folders in which a compiler looks for headers, as absolute names, in order.
struct SearchPath {
    std::vector<std::string> quoted{};  // -iquote: for "name" only, after the includer's own folder
    std::vector<std::string> normal{};  // -I
    std::vector<std::string> system{};  // -isystem, then -idirafter

    auto operator<=>(const SearchPath&) const = default;

    void append(const SearchPath& other);
};

struct Source {
    std::string file{};         // an absolute name
    std::size_t search_path{};  // an index into SourceSet::search_paths()

    auto operator<=>(const Source&) const = default;
};

/// What is to be scanned; each search path is kept once.
class SourceSet {
public:
    void add(std::string file, const SearchPath& search_path);

    const std::vector<Source>& sources() const { return sources_; }
    const std::vector<SearchPath>& search_paths() const { return search_paths_; }

private:
    std::vector<Source> sources_;
    std::vector<SearchPath> search_paths_;
    std::map<SearchPath, std::size_t> numbers_;
};

/// One entry of a compilation database.
struct CompileCommand {
    std::string file{};
    SearchPath search_path{};

    auto operator<=>(const CompileCommand&) const = default;
};

struct SourcesError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// By its suffix: .c, .cpp and so on, not a header.
bool is_source(const std::filesystem::path& file);
bool is_header(const std::filesystem::path& file);

/// Splits a command as a POSIX shell would (quotes and backslashes; nothing is expanded).
std::vector<std::string> split_command(std::string_view command);

/// If `arguments[at]` is a search path option (`-Idir`, `-I dir`, -iquote, -isystem, -idirafter),
/// adds its folder, taken relative to `directory`, and returns true with `at` on the option's last
/// argument. Throws SourcesError if the folder is missing.
bool parse_search_option(const std::vector<std::string>& arguments, std::size_t& at,
                         const std::filesystem::path& directory, SearchPath& search_path);

/// Reads the text of a compile_commands.json. Throws SourcesError, which says what is wrong where.
std::vector<CompileCommand> parse_compile_commands(std::string_view json_text);

/// The folders that files below `folder` probably include from: the folder itself, its `include`,
/// `inc` and `src`, and the nearest folder of such a name above it.
SearchPath guess_search_path(const std::filesystem::path& folder);

/// Each path is a compilation database, a folder (searched for sources and headers; hidden folders
/// are left out) or a single source file. `extra` is searched last. Throws SourcesError.
SourceSet read_sources(const std::vector<std::string>& paths, const SearchPath& extra);

}  // namespace depscan
