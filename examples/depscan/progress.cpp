#include "progress.hpp"

#include <ostream>
#include <string>
#include <string_view>

#include <unistd.h>

namespace depscan {
namespace {

/// In one piece, also through the unbuffered std::cerr.
void write(std::ostream& out, std::string_view before, std::size_t finished, std::size_t known,
           std::string_view after) {
    std::string text{before};
    text += "depscan: scanned ";
    text += std::to_string(finished);
    text += " of ";
    text += std::to_string(known);
    text += after;
    out << text << std::flush;
}

}  // namespace

Progress::~Progress() {
    if (shown_at_) out_ << "\r\x1b[K" << std::flush;
}

void Progress::update(std::size_t finished, std::size_t known) {
    if (style_ == Style::lines) write_line(finished, known);
    if (style_ == Style::terminal) overwrite_line(finished, known);
}

void Progress::write_line(std::size_t finished, std::size_t known) {
    if (known == 0 || finished * 10 < known * next_tenth_) return;
    next_tenth_ = finished * 10 / known + 1;
    write(out_, "", finished, known, "\n");
}

void Progress::overwrite_line(std::size_t finished, std::size_t known) {
    constexpr auto pause = std::chrono::milliseconds{50};
    const auto now = Clock::now();
    if (shown_at_ && now - *shown_at_ < pause) return;
    shown_at_ = now;
    write(out_, "\r", finished, known, "\x1b[K");
}

Progress::Style progress_style_of_stderr() {
    return isatty(STDERR_FILENO) != 0 ? Progress::Style::terminal : Progress::Style::lines;
}

}  // namespace depscan
