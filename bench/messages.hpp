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

/// As docs/performance.md advises where calls are short and many.
struct Protocol {
    static constexpr std::string_view name = "tether.bench.calls";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Compile>;
    using Codec = tether::DirectCodec;
};

/// With the default codec.
struct DocumentProtocol {
    static constexpr std::string_view name = "tether.bench.calls.document";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Compile>;
};

template <class P>
class HandlerOf final : public tether::Handler<P> {
    tether::Bytes handle(const Echo& request, tether::CallContext<Echo>&) override {
        return request.bytes;
    }
    Compiled handle(const Compile&, tether::CallContext<Compile>&) override { return compiled(); }
};
using Handler = HandlerOf<Protocol>;

}  // namespace bench
