#include "file_scanner.hpp"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace depscan {
namespace {

namespace fs = std::filesystem;

std::string reason_of(std::error_code error) { return error ? error.message() : "not a file"; }

/// Opens nothing but regular files: a named pipe would block.
std::string read_file(const std::string& file, std::string& failure) {
    std::error_code error;
    if (!fs::is_regular_file(file, error)) {
        failure = reason_of(error);
        return {};
    }
    std::string text;
    text.resize(static_cast<std::size_t>(fs::file_size(file, error)));
    errno = 0;
    std::ifstream stream{file, std::ios::binary};
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!stream.is_open() || stream.bad()) failure = reason_of({errno, std::generic_category()});
    text.resize(static_cast<std::size_t>(stream.gcount()));
    return text;
}

std::string folder_of(const std::string& file) { return file.substr(0, file.find_last_of('/')); }

bool is_inside(std::string_view file, std::string_view folder) {
    return file.starts_with(folder) && file.substr(folder.size()).starts_with('/');
}

using Folders = std::vector<std::string_view>;

Folders folders_for(const Include& include, const std::string& own_folder,
                    const SearchPath& search_path) {
    Folders folders;
    if (include.form == IncludeForm::quoted) {
        if (!include.next) folders.push_back(own_folder);
        folders.insert(folders.end(), search_path.quoted.begin(), search_path.quoted.end());
    }
    folders.insert(folders.end(), search_path.normal.begin(), search_path.normal.end());
    folders.insert(folders.end(), search_path.system.begin(), search_path.system.end());
    return folders;
}

/// `#include_next` goes on behind the folder in which the including file was found: the innermost
/// one that holds it.
std::span<const std::string_view> behind_folder_of(const std::string& file,
                                                   const Folders& folders) {
    std::size_t behind = 0;
    std::size_t longest = 0;
    for (std::size_t at = 0; at < folders.size(); ++at) {
        if (!is_inside(file, folders[at]) || folders[at].size() <= longest) continue;
        longest = folders[at].size();
        behind = at + 1;
    }
    return std::span{folders}.subspan(behind);
}

}  // namespace

CacheUse& CacheUse::operator+=(const CacheUse& other) {
    files_read += other.files_read;
    files_reused += other.files_reused;
    lookups_made += other.lookups_made;
    lookups_reused += other.lookups_reused;
    return *this;
}

FileIncludes FileScanner::scan(const std::string& file, const SearchPath& search_path) {
    const auto& lexed = lex(file);
    FileIncludes result{.file = file, .failure = lexed.failure};
    for (const auto& include : lexed.includes) classify(include, search_path, result);
    return result;
}

const FileScanner::LexedFile& FileScanner::lex(const std::string& file) {
    const auto [entry, added] = files_.try_emplace(file);
    ++(added ? use_.files_read : use_.files_reused);
    auto& lexed = entry->second;
    if (added) lexed.includes = lex_includes(read_file(file, lexed.failure));
    return lexed;
}

void FileScanner::classify(const Include& include, const SearchPath& search_path,
                           FileIncludes& result) {
    if (include.form == IncludeForm::computed) {
        result.computed.push_back({.line = include.line, .name = include.name});
    } else if (auto found = resolve(include, result.file, search_path)) {
        result.includes.push_back(*std::move(found));
    } else if (include.form == IncludeForm::angled) {
        result.external.push_back(include.name);
    } else {
        result.unresolved.push_back({.line = include.line, .name = include.name});
    }
}

std::optional<std::string> FileScanner::resolve(const Include& include, const std::string& includer,
                                                const SearchPath& search_path) {
    if (include.name.starts_with('/')) return find({}, include.name);
    const auto own_folder = folder_of(includer);
    const auto folders = folders_for(include, own_folder, search_path);
    const auto candidates = include.next ? behind_folder_of(includer, folders) : std::span{folders};
    for (const auto folder : candidates) {
        if (const auto& found = find(std::string{folder}, "/" + include.name)) return found;
    }
    return std::nullopt;
}

const std::optional<std::string>& FileScanner::find(const std::string& folder,
                                                    const std::string& name) {
    const auto [entry, added] = lookups_.try_emplace(folder + name);
    ++(added ? use_.lookups_made : use_.lookups_reused);
    auto& found = entry->second;
    std::error_code error;
    if (added && fs::is_regular_file(entry->first, error)) {
        if (auto name_of_file = fs::canonical(entry->first, error); !error) {
            found = name_of_file.string();
        }
    }
    return found;
}

}  // namespace depscan
