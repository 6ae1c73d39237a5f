#include "include_lexer.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <utility>

namespace depscan {
namespace {

bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' || c == '\0';
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_identifier(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
           c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

bool is_raw_string_prefix(std::string_view word) {
    return word == "R" || word == "u8R" || word == "uR" || word == "UR" || word == "LR";
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return text;
}

/// Reads the text as it is after translation phase 2: a continued line looks like one line.
class Cursor {
public:
    explicit Cursor(std::string_view text) : text_{text} {
        if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
        skip_splices();
    }

    bool at_end() const { return position_ >= text_.size(); }
    bool at_line_end() const { return at_end() || text_[position_] == '\n'; }
    std::uint32_t line() const { return line_; }
    char peek() const { return at_end() ? '\0' : text_[position_]; }

    char peek_second() const {
        std::size_t second = position_ + 1;
        while (const auto end = splice_end(second)) second = *end;
        return second < text_.size() ? text_[second] : '\0';
    }

    void advance() {
        if (at_end()) return;
        if (text_[position_] == '\n') ++line_;
        ++position_;
        skip_splices();
    }

    /// From the opening quote of a raw string to behind its closing one; line continuations mean
    /// nothing in between. False, without a move, where no raw string can start.
    bool skip_raw_string() {
        constexpr std::size_t longest_delimiter = 16;
        const auto rest = text_.substr(position_ + 1);
        const auto open = rest.substr(0, longest_delimiter + 1).find_first_of("( )\\\t\v\f\r\n\"");
        if (open == rest.npos || rest[open] != '(') return false;

        std::string close{')'};
        close += rest.substr(0, open);
        close += '"';
        const auto found = rest.find(close, open);
        const auto length = found == rest.npos ? rest.size() : found + close.size();
        line_ += static_cast<std::uint32_t>(std::ranges::count(rest.substr(0, length), '\n'));
        position_ += 1 + length;
        skip_splices();
        return true;
    }

private:
    /// Behind the backslash and newline that stand at `at`; like compilers, this forgives blanks
    /// between the two (the carriage return of a DOS file is one).
    std::optional<std::size_t> splice_end(std::size_t at) const {
        if (at >= text_.size() || text_[at] != '\\') return std::nullopt;
        do ++at;
        while (at < text_.size() && is_blank(text_[at]));
        if (at >= text_.size() || text_[at] != '\n') return std::nullopt;
        return at + 1;
    }

    void skip_splices() {
        while (const auto end = splice_end(position_)) {
            position_ = *end;
            ++line_;
        }
    }

    std::string_view text_;
    std::size_t position_ = 0;
    std::uint32_t line_ = 1;
};

/// Which branches of the open conditionals are `#if 0`.
class Conditionals {
public:
    bool skipping() const { return !open_.empty() && open_.back().skipped; }

    void enter(bool never) { open_.push_back({skipping(), skipping() || never}); }

    void switch_branch(bool never) {
        if (!open_.empty()) open_.back().skipped = open_.back().outer_skipped || never;
    }

    void leave() {
        if (!open_.empty()) open_.pop_back();
    }

private:
    struct Conditional {
        bool outer_skipped{};
        bool skipped{};
    };
    std::vector<Conditional> open_;
};

class IncludeLexer {
public:
    explicit IncludeLexer(std::string_view text) : cursor_{text} {}

    std::vector<Include> run() {
        while (!cursor_.at_end()) {
            skip_space();
            if (consume_directive_mark()) {
                lex_directive();
            } else {
                skip_line();
            }
        }
        return std::move(includes_);
    }

private:
    bool consume_directive_mark() {
        const bool digraph = cursor_.peek() == '%' && cursor_.peek_second() == ':';
        if (digraph) cursor_.advance();
        if (!digraph && cursor_.peek() != '#') return false;
        directive_line_ = cursor_.line();
        cursor_.advance();
        return true;
    }

    void lex_directive() {
        skip_space_in_line();
        const auto name = identifier();
        if (name == "include" || name == "import") {
            lex_include(false);
        } else if (name == "include_next") {
            lex_include(true);
        } else if (name == "if") {
            conditionals_.enter(condition_is_zero());
        } else if (name == "ifdef" || name == "ifndef") {
            conditionals_.enter(false);
        } else if (name == "elif") {
            conditionals_.switch_branch(condition_is_zero());
        } else if (name == "else" || name == "elifdef" || name == "elifndef") {
            conditionals_.switch_branch(false);
        } else if (name == "endif") {
            conditionals_.leave();
        }
        skip_line();
    }

    void lex_include(bool next) {
        if (conditionals_.skipping()) return;
        skip_space_in_line();
        switch (cursor_.peek()) {
            case '"':
                return add_include(IncludeForm::quoted, next, header_name('"'));
            case '<':
                return add_include(IncludeForm::angled, next, header_name('>'));
            default:
                return add_include(IncludeForm::computed, next, rest_of_line());
        }
    }

    void add_include(IncludeForm form, bool next, std::string name) {
        if (name.empty()) return;
        includes_.push_back(
            {.form = form, .next = next, .line = directive_line_, .name = std::move(name)});
    }

    /// Empty if the closing delimiter is missing. There are no escapes in a header name.
    std::string header_name(char close) {
        std::string name;
        for (cursor_.advance(); !cursor_.at_line_end(); cursor_.advance()) {
            if (cursor_.peek() == close) {
                cursor_.advance();
                return name;
            }
            name += cursor_.peek();
        }
        return {};
    }

    std::string rest_of_line() {
        std::string rest;
        while (!cursor_.at_line_end()) {
            if (skip_comment()) {
                rest += ' ';
            } else {
                rest += cursor_.peek();
                cursor_.advance();
            }
        }
        return std::string{trimmed(rest)};
    }

    bool condition_is_zero() {
        skip_space_in_line();
        if (cursor_.peek() != '0') return false;
        cursor_.advance();
        skip_space_in_line();
        return cursor_.at_line_end();
    }

    void skip_space() {
        while (!cursor_.at_end()) {
            skip_space_in_line();
            if (cursor_.peek() != '\n') return;
            cursor_.advance();
        }
    }

    /// A block comment is space, also where it spans lines.
    void skip_space_in_line() {
        while (!cursor_.at_end()) {
            if (is_blank(cursor_.peek())) {
                cursor_.advance();
            } else if (!skip_comment()) {
                return;
            }
        }
    }

    bool skip_comment() {
        if (cursor_.peek() != '/') return false;
        if (cursor_.peek_second() == '/') {
            while (!cursor_.at_line_end()) cursor_.advance();
            return true;
        }
        if (cursor_.peek_second() != '*') return false;
        cursor_.advance();
        cursor_.advance();
        while (!cursor_.at_end() && !(cursor_.peek() == '*' && cursor_.peek_second() == '/')) {
            cursor_.advance();
        }
        cursor_.advance();
        cursor_.advance();
        return true;
    }

    void skip_line() {
        while (!cursor_.at_line_end()) {
            if (!skip_comment()) skip_token();
        }
    }

    void skip_token() {
        const char c = cursor_.peek();
        if (c == '"' || c == '\'') {
            skip_literal(c);
        } else if (is_digit(c) || (c == '.' && is_digit(cursor_.peek_second()))) {
            skip_number();
        } else if (is_identifier(c)) {
            const bool raw = is_raw_string_prefix(identifier()) && cursor_.peek() == '"';
            if (raw && !cursor_.skip_raw_string()) skip_literal('"');
        } else {
            cursor_.advance();
        }
    }

    /// An unterminated literal ends with its line, so that the apostrophe of an `#error` line or
    /// of prose in an `#if 0` block does no harm.
    void skip_literal(char quote) {
        cursor_.advance();
        while (!cursor_.at_line_end()) {
            const char c = cursor_.peek();
            cursor_.advance();
            if (c == quote) return;
            if (c == '\\' && !cursor_.at_line_end()) cursor_.advance();
        }
    }

    /// A digit separator must not open a character literal.
    void skip_number() {
        const auto continues = [this] {
            const char c = cursor_.peek();
            return is_identifier(c) || c == '.' ||
                   (c == '\'' && is_identifier(cursor_.peek_second()));
        };
        while (continues()) cursor_.advance();
    }

    std::string identifier() {
        std::string word;
        for (; is_identifier(cursor_.peek()); cursor_.advance()) word += cursor_.peek();
        return word;
    }

    Cursor cursor_;
    Conditionals conditionals_;
    std::uint32_t directive_line_ = 0;
    std::vector<Include> includes_;
};

}  // namespace

std::vector<Include> lex_includes(std::string_view text) { return IncludeLexer{text}.run(); }

}  // namespace depscan
