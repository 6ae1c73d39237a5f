#pragma once

// The typed call that is measured everywhere, as a build tool would make it: nine strings, and four
// times 80 characters in answer.

#include <tether/direct_codec.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace bench {

struct Compiled {
    std::vector<std::string> diagnostics{};
};
TETHER_DEFINE_MESSAGE(Compiled, diagnostics)

struct Compile {
    static constexpr std::string_view name = "compile";
    using Response = Compiled;
    std::string file{"src/main.cpp"};
    std::string output{"build/main.o"};
    std::vector<std::string> flags{"-O2",      "-g",         "-Wall", "-Iinclude",
                                   "-DNDEBUG", "-std=c++20", "-c"};
};
TETHER_DEFINE_MESSAGE(Compile, file, output, flags)

/// The answer to each of them.
inline Compiled compiled() { return {std::vector<std::string>(4, std::string(80, 'd'))}; }

}  // namespace bench
