#pragma once

// What the benchmarks say to their workers.

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

struct Echo {
    static constexpr std::string_view name = "echo";
    using Response = tether::Bytes;
    tether::Bytes bytes{};
};
TETHER_DEFINE_MESSAGE(Echo, bytes)

struct Compiled {
    std::vector<std::string> diagnostics{};
};
TETHER_DEFINE_MESSAGE(Compiled, diagnostics)

/// As a build tool would ask: nine strings, and four times 80 characters in answer.
struct Compile {
    static constexpr std::string_view name = "compile";
    using Response = Compiled;
    std::string file{"src/main.cpp"};
    std::string output{"build/main.o"};
    std::vector<std::string> flags{"-O2",      "-g",         "-Wall", "-Iinclude",
                                   "-DNDEBUG", "-std=c++20", "-c"};
};
TETHER_DEFINE_MESSAGE(Compile, file, output, flags)

struct Protocol {
    static constexpr std::string_view name = "tether.bench.calls";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Compile>;
};

class Handler final : public tether::Handler<Protocol> {
    tether::Bytes handle(const Echo& request, tether::CallContext<Echo>&) override {
        return request.bytes;
    }
    Compiled handle(const Compile&, tether::CallContext<Compile>&) override {
        return {std::vector<std::string>(4, std::string(80, 'd'))};
    }
};

}  // namespace bench
