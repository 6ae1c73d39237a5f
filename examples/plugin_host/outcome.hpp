#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "check_protocol.hpp"

namespace plugin_host {

/// What became of one plugin.
struct Outcome {
    std::string plugin{};
    std::string fate{};    // "ok", "failed", "crashed", "exited", "timed out"
    std::string detail{};  // the signal, the exit code, the exception
    std::vector<Finding> findings{};
    std::vector<std::string> last_words{};  // on stderr, where its worker ended

    [[nodiscard]] bool ok() const { return fate == "ok"; }
};

void print_json(std::ostream& out, const std::vector<Outcome>& outcomes);
void print_text(std::ostream& out, const std::vector<Outcome>& outcomes);

/// `text` without what could trick a terminal.
std::string printable(std::string_view text);

}  // namespace plugin_host
