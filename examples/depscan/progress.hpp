#pragma once

#include <chrono>
#include <cstddef>
#include <iosfwd>
#include <optional>
#include <string>

namespace depscan {

/// Tells how far the scan has come: on a terminal by one line that is written over, elsewhere by a
/// few plain lines, one for each tenth. What is counted is files, once for each search path; the
/// total grows while headers are discovered.
class Progress {
public:
    enum class Style { silent, lines, terminal };

    Progress(std::ostream& out, Style style) : out_{out}, style_{style} {}
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// Clears the terminal's line.
    ~Progress();

    void update(std::size_t finished, std::size_t known);

private:
    using Clock = std::chrono::steady_clock;

    void write_line(std::size_t finished, std::size_t known);
    void overwrite_line(std::size_t finished, std::size_t known);

    std::ostream& out_;
    Style style_;
    std::size_t next_tenth_ = 1;
    std::optional<Clock::time_point> shown_at_;
};

/// The style that suits the process's stderr.
Progress::Style progress_style_of_stderr();

}  // namespace depscan
