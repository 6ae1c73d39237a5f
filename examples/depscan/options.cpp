#include "options.hpp"

#include <charconv>
#include <system_error>

namespace depscan {
namespace {

constexpr std::size_t most_workers = 64;

template <typename Number>
Number parse_number(std::string_view option, std::string_view text, Number lowest, Number highest) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    if (whole && number >= lowest && number <= highest) return number;
    throw UsageError{std::string{option} + " needs a number from " + std::to_string(lowest) +
                     " to " + std::to_string(highest) + ", not '" + std::string{text} + "'"};
}

std::size_t parse_workers(std::string_view text) {
    return parse_number<std::size_t>("--workers", text, 1, most_workers);
}

std::uint32_t parse_seed(std::string_view text) {
    return parse_number<std::uint32_t>("--chaos", text, 0, UINT32_MAX);
}

/// The value of `--name=value`, if the argument is that.
std::optional<std::string_view> value_of(std::string_view name, std::string_view argument) {
    if (!argument.starts_with(name)) return std::nullopt;
    argument.remove_prefix(name.size());
    if (!argument.starts_with('=')) return std::nullopt;
    return argument.substr(1);
}

class OptionParser {
public:
    explicit OptionParser(const std::vector<std::string>& arguments) : arguments_{arguments} {}

    Options run() {
        for (; at_ < arguments_.size(); ++at_) {
            const auto& argument = arguments_[at_];
            if (only_paths_ || !argument.starts_with('-') || argument == "-") {
                options_.paths.push_back(argument);
            } else if (argument == "--") {
                only_paths_ = true;
            } else if (!parse_flag(argument) && !parse_valued(argument) && !parse_search()) {
                throw UsageError{"unknown option " + argument};
            }
        }
        if (options_.paths.empty() && !options_.help) {
            throw UsageError{"no compile_commands.json, folder or source file given"};
        }
        return options_;
    }

private:
    bool parse_flag(const std::string& argument) {
        if (argument == "--help" || argument == "-h") return options_.help = true;
        if (argument == "--json") return options_.json = true;
        if (argument == "--quiet") return options_.quiet = true;
        if (argument != "--chaos") return false;
        options_.chaos_seed = 1;
        return true;
    }

    bool parse_valued(const std::string& argument) {
        if (const auto seed = value_of("--chaos", argument)) {
            options_.chaos_seed = parse_seed(*seed);
        } else if (const auto count = value_of("--workers", argument)) {
            options_.workers = parse_workers(*count);
        } else if (argument == "--workers") {
            if (++at_ == arguments_.size()) throw UsageError{"--workers needs a number"};
            options_.workers = parse_workers(arguments_[at_]);
        } else {
            return false;
        }
        return true;
    }

    bool parse_search() {
        try {
            return parse_search_option(arguments_, at_, {}, options_.search_path);
        } catch (const SourcesError& error) {
            throw UsageError{error.what()};
        }
    }

    const std::vector<std::string>& arguments_;
    std::size_t at_ = 0;
    bool only_paths_ = false;
    Options options_;
};

}  // namespace

const std::string_view usage =
    R"(depscan - who includes whom: scans the #include graph of C and C++ sources

usage: depscan [options] PATH...

PATH is a compile_commands.json, a folder of sources and headers, or one source file.

  -I DIR, -iquote DIR, -isystem DIR
                  search DIR for headers too, after what the compile command names
  --json          print the whole graph as JSON on stdout
  --workers N     worker processes (default: one for each core, at most 4)
  --chaos[=SEED]  kill a worker now and then; the result must be the same
  --quiet         show no progress
  --help          this text

exit status: 0 all scanned, 1 something could not be scanned, 2 wrong usage
)";

Options parse_options(const std::vector<std::string>& arguments) {
    return OptionParser{arguments}.run();
}

}  // namespace depscan
