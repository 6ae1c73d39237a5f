#pragma once

// What the benchmarks say to their workers.

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string_view>

#include "compile.hpp"

namespace bench {

struct Echo {
    static constexpr std::string_view name = "echo";
    using Response = tether::Bytes;
    tether::Bytes bytes{};
};
TETHER_DEFINE_MESSAGE(Echo, bytes)

struct Protocol {
    static constexpr std::string_view name = "tether.bench.calls";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Compile>;
};

class Handler final : public tether::Handler<Protocol> {
    tether::Bytes handle(const Echo& request, tether::CallContext<Echo>&) override {
        return request.bytes;
    }
    Compiled handle(const Compile&, tether::CallContext<Compile>&) override { return compiled(); }
};

}  // namespace bench
