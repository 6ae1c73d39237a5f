// Why: output arrives in pieces of any size, and people read lines. A worker also marks the
// severity of CallContext::log in the line itself, so that order is kept and nothing is lost in a
// crash.
#pragma once

#include <tether/config.hpp>
#include <tether/logging.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A line starts with this byte and a digit where it comes from CallContext::log (the kernel's
// printk does the same).
inline constexpr char severity_mark = '\x01';

struct MarkedLine {
    bool is_log = false;
    Severity severity = Severity::info;
    std::string_view text{};
};

inline MarkedLine read_mark(std::string_view line) noexcept {
    const bool marked = line.size() >= 2 && line[0] == severity_mark && line[1] >= '0' &&
                        line[1] <= '0' + static_cast<char>(Severity::error);
    if (!marked) return {false, Severity::info, line};
    return {true, static_cast<Severity>(line[1] - '0'), line.substr(2)};
}

// Gives `visit` each line of a logged text, without its newline; at least one.
template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
    for (std::size_t begin = 0; begin <= text.size();) {
        const auto end = std::min(text.find('\n', begin), text.size());
        visit(text.substr(begin, end - begin));
        begin = end + 1;
        if (begin == text.size()) break;  // it ended with a newline
    }
}

inline std::string with_mark(Severity severity, std::string_view text) {
    std::string lines;
    for_each_line(text, [&](std::string_view line) {
        lines += severity_mark;
        lines += static_cast<char>('0' + static_cast<char>(severity));
        lines += line;
        lines += '\n';
    });
    return lines;
}

// The size of the begin of a UTF-8 character that `text` ends with and that is not complete; 0
// where there is none, also of bytes that are no UTF-8.
inline std::size_t cut_character(std::string_view text) noexcept {
    for (std::size_t size = 1; size <= std::min<std::size_t>(3, text.size()); ++size) {
        const auto byte = static_cast<unsigned char>(text[text.size() - size]);
        if ((byte & 0xc0U) == 0x80) continue;
        const std::size_t whole = byte < 0xc2 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
        return byte <= 0xf4 && size < whole ? size : 0;
    }
    return 0;
}

class LineSplitter {
public:
    // A longer line is handed out in pieces of whole characters, so that memory stays bounded.
    static constexpr std::size_t max_line = std::size_t{64} * 1024;

    // Calls visit(text, terminated) for each line that `bytes` completes. The text is without its
    // newline; `terminated` is false for a piece of a line that goes on.
    template <class Visit>
    void feed(std::string_view bytes, Visit visit) {
        while (!bytes.empty()) {
            const auto newline = bytes.find('\n');
            if (newline == std::string_view::npos) {
                keep(bytes, visit);
                return;
            }
            auto line = bytes.substr(0, newline);
            bytes.remove_prefix(newline + 1);
            if (!partial_.empty()) {
                partial_.append(line);
                line = partial_;
            }
            visit(line, true);
            partial_.clear();
            open_ = false;
        }
    }

    // Hands out a last line that has no newline.
    template <class Visit>
    void finish(Visit visit) {
        if (open_ || !partial_.empty()) visit(std::string_view{partial_}, true);
        partial_.clear();
        open_ = false;
    }

private:
    template <class Visit>
    void keep(std::string_view bytes, Visit& visit) {
        partial_.append(bytes);
        if (partial_.size() < max_line) return;
        const auto size = partial_.size() - cut_character(partial_);
        visit(std::string_view{partial_}.substr(0, size), false);
        partial_.erase(0, size);
        open_ = true;
    }

    std::string partial_;
    bool open_ = false;  // a piece of the line was handed out already
};

// The last lines of a stream, within a fixed size.
class Tail {
public:
    static constexpr std::size_t capacity = std::size_t{4} * 1024;

    void add(std::string_view text, bool terminated) {
        if (text.size() > capacity) text.remove_prefix(text.size() - capacity);
        text_.append(text);
        if (terminated) text_ += '\n';
        if (text_.size() > 2 * capacity) shorten();
    }

    // Whole lines, where one fits.
    [[nodiscard]] std::string text() const {
        auto copy = *this;
        if (copy.text_.size() > capacity) copy.shorten();
        return std::move(copy.text_);
    }

private:
    void shorten() {
        text_.erase(0, text_.size() - capacity);
        const auto newline = text_.find('\n');
        if (newline != std::string::npos && newline + 1 < text_.size()) text_.erase(0, newline + 1);
    }

    std::string text_;
};

}  // namespace detail
TETHER_NAMESPACE_END
