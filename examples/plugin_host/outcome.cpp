#include "outcome.hpp"

#include <algorithm>
#include <ostream>

namespace plugin_host {

namespace {

std::ptrdiff_t count_ok(const std::vector<Outcome>& outcomes) {
    return std::ranges::count_if(outcomes, &Outcome::ok);
}

}  // namespace

void print_json(std::ostream& out, const std::vector<Outcome>& outcomes) {
    using Json = nlohmann::ordered_json;
    auto plugins = Json::array();
    for (const auto& outcome : outcomes) {
        Json one{{"plugin", outcome.plugin}, {"fate", outcome.fate}};
        if (outcome.ok()) {
            one["findings"] = nlohmann::json(outcome.findings);
        } else {
            one["detail"] = outcome.detail;
            one["last_words"] = outcome.last_words;
        }
        plugins.push_back(std::move(one));
    }
    const Json report{
        {"plugins", std::move(plugins)}, {"ran", outcomes.size()}, {"ok", count_ok(outcomes)}};
    out << report.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

void print_text(std::ostream& out, const std::vector<Outcome>& outcomes) {
    for (const auto& outcome : outcomes) {
        out << outcome.plugin << ": " << outcome.fate;
        if (!outcome.detail.empty()) out << ": " << printable(outcome.detail);
        out << '\n';
        for (const auto& finding : outcome.findings) {
            out << "    line " << finding.line << ": " << printable(finding.message) << '\n';
        }
        for (const auto& line : outcome.last_words) out << "    | " << printable(line) << '\n';
    }
    out << outcomes.size() << " plugins, " << count_ok(outcomes) << " ok\n";
}

std::string printable(std::string_view text) {
    std::string result{text};
    const auto is_control = [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; };
    std::ranges::replace_if(result, is_control, '?');
    return result;
}

}  // namespace plugin_host
