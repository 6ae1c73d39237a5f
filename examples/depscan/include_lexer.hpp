#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace depscan {

enum class IncludeForm {
    quoted,    // #include "name"
    angled,    // #include <name>
    computed,  // #include MACRO: what it names is known only to a preprocessor
};

struct Include {
    IncludeForm form{};
    bool next{};           // #include_next
    std::uint32_t line{};  // of the directive, counted from 1
    std::string name{};    // between the delimiters; for a computed include the rest of the line

    bool operator==(const Include&) const = default;
};

/// The include directives of a C or C++ file, in order.
///
/// Follows translation phases 2 and 3: line continuations, comments, string, character and raw
/// string literals, digit separators, the digraph `%:` (trigraphs, gone since C++17, are not
/// replaced). Conditions are not evaluated, so all branches count, except those of `#if 0` and
/// `#elif 0`. `#import` is an include; a malformed directive is none.
///
/// Any bytes are accepted; the time is linear in the length of the text.
std::vector<Include> lex_includes(std::string_view text);

}  // namespace depscan
