// Why: the lines of a worker look the same on the parent's stderr whether or not the worker is a
// process, and cannot drive the terminal that they reach.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/printable.hpp>
#include <tether/detail/wire/line_splitter.hpp>
#include <tether/logging.hpp>
#include <tether/options.hpp>

#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class RelayedLine {
public:
    explicit RelayedLine(RelayOptions options, const std::string& worker = {})
        : options_(std::move(options)), begin_(options_.prefix) {
        if (options_.show_name) begin_.append(printable(worker)).append(": ");
    }

    [[nodiscard]] bool is_shown(Severity severity) const noexcept {
        return severity >= options_.least_severity;
    }
    [[nodiscard]] bool names_worker() const noexcept { return options_.show_name; }

    // What comes before the text of a line.
    [[nodiscard]] std::string head(const MarkedLine& line) const {
        if (!line.is_log || !options_.show_severity) return begin_;
        return begin_ + std::string{to_string(line.severity)} + ": ";
    }

    // `terminated`: the line ends with this text.
    [[nodiscard]] std::string text(std::string_view text, bool terminated) const {
        if (options_.raw) return std::string{text};
        if (terminated && text.ends_with('\r')) text.remove_suffix(1);
        return printable(std::string{text});
    }

private:
    RelayOptions options_;
    std::string begin_;
};

}  // namespace detail
TETHER_NAMESPACE_END
