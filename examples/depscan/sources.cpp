#include "sources.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

namespace depscan {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 10> source_suffixes{".c", ".cc", ".cpp", ".cxx", ".c++",
                                                           ".C", ".m",  ".mm",  ".cu",  ".cppm"};
constexpr std::array<std::string_view, 11> header_suffixes{
    ".h", ".hh", ".hpp", ".hxx", ".h++", ".H", ".ipp", ".inl", ".tpp", ".tcc", ".cuh"};
constexpr std::array<std::string_view, 3> include_folder_names{"include", "inc", "src"};

bool contains(const auto& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
}

/// Without symbolic links where the file exists, so that each file has one name.
std::string absolute_name(const fs::path& directory, const fs::path& file) {
    std::error_code error;
    const auto joined = fs::absolute(directory / file, error);
    const auto canonical = fs::weakly_canonical(joined, error);
    return (error ? joined.lexically_normal() : canonical).string();
}

struct SearchOption {
    std::string_view name{};
    std::vector<std::string> SearchPath::*folders{};
};

constexpr std::array<SearchOption, 4> search_options{{
    {"-iquote", &SearchPath::quoted},
    {"-isystem", &SearchPath::system},
    {"-idirafter", &SearchPath::system},
    {"-I", &SearchPath::normal},
}};

std::vector<std::string> arguments_of(const nlohmann::json& entry) {
    if (entry.contains("arguments")) return entry.at("arguments");
    return split_command(entry.at("command").get_ref<const std::string&>());
}

CompileCommand parse_entry(const nlohmann::json& entry) {
    const fs::path directory = entry.value("directory", std::string{"."});
    CompileCommand command;
    command.file = absolute_name(directory, entry.at("file").get<std::string>());
    const auto arguments = arguments_of(entry);
    for (std::size_t at = 0; at < arguments.size(); ++at) {
        parse_search_option(arguments, at, directory, command.search_path);
    }
    return command;
}

std::string read_text(const fs::path& file) {
    std::ifstream stream{file, std::ios::binary};
    std::string text{std::istreambuf_iterator<char>{stream}, {}};
    if (!stream.is_open() || stream.bad()) {
        throw SourcesError{file.string() + ": cannot be read"};
    }
    return text;
}

void add_compile_commands(SourceSet& set, const fs::path& file, const SearchPath& extra) {
    try {
        for (auto& command : parse_compile_commands(read_text(file))) {
            command.search_path.append(extra);
            set.add(std::move(command.file), command.search_path);
        }
    } catch (const SourcesError& error) {
        throw SourcesError{file.string() + ": " + error.what()};
    }
}

bool is_hidden(const fs::path& file) { return file.filename().string().starts_with('.'); }

void add_folder(SourceSet& set, const fs::path& folder, const SearchPath& extra) {
    const fs::path root = absolute_name({}, folder);
    auto search_path = guess_search_path(root);
    search_path.append(extra);

    std::error_code error;
    fs::recursive_directory_iterator walk{root, fs::directory_options::skip_permission_denied,
                                          error};
    for (; !error && walk != fs::recursive_directory_iterator{}; walk.increment(error)) {
        std::error_code ignored;
        if (walk->is_directory(ignored) && is_hidden(walk->path())) {
            walk.disable_recursion_pending();
        } else if ((is_source(walk->path()) || is_header(walk->path())) &&
                   walk->is_regular_file(ignored)) {
            set.add(absolute_name({}, walk->path()), search_path);
        }
    }
    if (error) throw SourcesError{folder.string() + ": " + error.message()};
}

void add_file(SourceSet& set, const fs::path& file, const SearchPath& extra) {
    const fs::path name = absolute_name({}, file);
    auto search_path = guess_search_path(name.parent_path());
    search_path.append(extra);
    set.add(name.string(), search_path);
}

void add_path(SourceSet& set, const fs::path& path, const SearchPath& extra) {
    std::error_code error;
    const auto status = fs::status(path, error);
    if (fs::is_directory(status)) return add_folder(set, path, extra);
    if (!fs::exists(status)) throw SourcesError{path.string() + ": no such file or folder"};
    if (path.extension() == ".json") return add_compile_commands(set, path, extra);
    if (is_source(path) || is_header(path)) return add_file(set, path, extra);
    throw SourcesError{path.string() +
                       ": neither a compile_commands.json, nor a folder, nor a C or C++ file"};
}

}  // namespace

void SearchPath::append(const SearchPath& other) {
    quoted.insert(quoted.end(), other.quoted.begin(), other.quoted.end());
    normal.insert(normal.end(), other.normal.begin(), other.normal.end());
    system.insert(system.end(), other.system.begin(), other.system.end());
}

void SourceSet::add(std::string file, const SearchPath& search_path) {
    const auto [known, added] = numbers_.try_emplace(search_path, search_paths_.size());
    if (added) search_paths_.push_back(search_path);
    sources_.push_back({.file = std::move(file), .search_path = known->second});
}

bool is_source(const fs::path& file) {
    return contains(source_suffixes, file.extension().string());
}

bool is_header(const fs::path& file) {
    return contains(header_suffixes, file.extension().string());
}

std::vector<std::string> split_command(std::string_view command) {
    std::vector<std::string> words;
    std::optional<std::string> word;
    char quote = '\0';
    for (std::size_t at = 0; at < command.size(); ++at) {
        const char c = command[at];
        const bool blank = c == ' ' || c == '\t' || c == '\n';
        if (quote == '\0' && blank) {
            if (word) words.push_back(*std::exchange(word, std::nullopt));
            continue;
        }
        if (!word) word.emplace();
        if (c == '\\' && quote != '\'' && at + 1 < command.size()) {
            const char next = command[++at];
            // Between double quotes a backslash escapes only what would be special there.
            if (quote == '"' && next != '"' && next != '\\' && next != '$' && next != '`') {
                *word += c;
            }
            *word += next;
        } else if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote) {
            quote = '\0';
        } else {
            *word += c;
        }
    }
    if (word) words.push_back(*word);
    return words;
}

bool parse_search_option(const std::vector<std::string>& arguments, std::size_t& at,
                         const fs::path& directory, SearchPath& search_path) {
    const std::string_view argument = arguments[at];
    const auto option = std::ranges::find_if(search_options, [&](const SearchOption& candidate) {
        return argument.starts_with(candidate.name);
    });
    if (option == search_options.end()) return false;

    auto folder = std::string{argument.substr(option->name.size())};
    if (folder.empty() && at + 1 < arguments.size()) folder = arguments[++at];
    if (folder.empty()) throw SourcesError{"no folder after " + std::string{option->name}};
    (search_path.*option->folders).push_back(absolute_name(directory, folder));
    return true;
}

std::vector<CompileCommand> parse_compile_commands(std::string_view json_text) {
    const auto database = nlohmann::json::parse(json_text, nullptr, false);
    if (database.is_discarded()) throw SourcesError{"not valid JSON"};
    if (!database.is_array()) throw SourcesError{"not a compilation database (a JSON array)"};
    std::vector<CompileCommand> commands;
    try {
        for (const auto& entry : database) commands.push_back(parse_entry(entry));
    } catch (const std::exception& error) {
        throw SourcesError{"entry " + std::to_string(commands.size() + 1) + ": " + error.what()};
    }
    return commands;
}

SearchPath guess_search_path(const fs::path& folder) {
    SearchPath search_path;
    search_path.normal.push_back(folder.string());
    for (const auto name : include_folder_names) {
        std::error_code error;
        if (fs::is_directory(folder / name, error)) {
            search_path.normal.push_back((folder / name).string());
        }
    }
    for (auto above = folder.parent_path(); above != above.parent_path();
         above = above.parent_path()) {
        if (!contains(include_folder_names, above.filename().string())) continue;
        search_path.normal.push_back(above.string());
        break;
    }
    return search_path;
}

SourceSet read_sources(const std::vector<std::string>& paths, const SearchPath& extra) {
    SourceSet set;
    for (const auto& path : paths) add_path(set, path, extra);
    if (set.sources().empty()) throw SourcesError{"there is no C or C++ file in " + paths.front()};
    return set;
}

}  // namespace depscan
