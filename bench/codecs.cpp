// What a codec costs: the messages of a typed call to bytes and back, with each codec. Google
// Benchmark; see --help.

#include <tether/codec.hpp>
#include <tether/direct_codec.hpp>

#include <cstdint>
#include <string>

#include <benchmark/benchmark.h>

#include "compile.hpp"

namespace {

void count_bytes(benchmark::State& state, const std::string& encoded) {
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(encoded.size()));
    state.counters["size"] = double(encoded.size());
}

template <class Codec, class Message>
void add(const std::string& name, const Message& message) {
    benchmark::RegisterBenchmark(("encode " + name).c_str(), [message](benchmark::State& state) {
        std::string out;
        for (auto _ : state) {
            out.clear();
            Codec::encode(message, out);
            benchmark::DoNotOptimize(out.data());
        }
        count_bytes(state, out);
    });
    benchmark::RegisterBenchmark(("decode " + name).c_str(), [message](benchmark::State& state) {
        std::string in;
        Codec::encode(message, in);
        for (auto _ : state) benchmark::DoNotOptimize(Codec::template decode<Message>(in));
        count_bytes(state, in);
    });
}

template <class Codec>
void add(const std::string& codec) {
    const bench::Compile request;  // named: GCC 12 cannot make one in the call
    add<Codec>("a request, " + codec, request);
    add<Codec>("an answer, " + codec, bench::compiled());
}

}  // namespace

int main(int argc, char** argv) {
    add<tether::MessagePackCodec>("MessagePackCodec");
    add<tether::DirectCodec>("DirectCodec");
    add<tether::JsonCodec>("JsonCodec");
    add<tether::CborCodec>("CborCodec");
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
