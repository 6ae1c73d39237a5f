// The steps of a call, each alone and as often as wanted, for a tool that counts instructions: what
// a step costs is the difference of two runs, divided by the difference of their numbers. Compared
// with a budget by instructions.cmake.
//
//     tether_bench_instructions STEP COUNT

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "chain.hpp"
#include "messages.hpp"

namespace {

using namespace tether::detail;
using bench::Compile;
using bench::Compiled;
using bench::Echo;
using tether::DirectCodec;
using tether::MessagePackCodec;

tether::Bytes small_blob() { return tether::Bytes{64}; }

Compiled answer() { return {std::vector<std::string>(4, std::string(80, 'd'))}; }

// --- What a worker has around a handler

struct Control final : CallControl {
    std::uint64_t id() const noexcept override { return 1; }
    bool stop_requested() const noexcept override { return false; }
    std::stop_token stop_token() override { return {}; }
    std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept override {
        return std::nullopt;
    }
    void log(tether::Severity, std::string_view) override {}
    void progress(const OutgoingValue&) override {}
    void send_item(const OutgoingValue&) override {}
    bool next_item(const IncomingValue&) override { return false; }
    void ask(const SideType&, const void*, tether::Duration, void*) override {}
    void notify(std::uint16_t, const OutgoingValue&) override {}
};

struct Answer final : Responder {
    std::string& payload() override { return message.payload(); }
    std::vector<const tether::Bytes*>& blobs() override { return message.blobs(); }
    void send() override { message.seal(); }
    OutgoingMessage message{};
};

// --- The steps

template <class Codec>
void encode(int count) {
    const Compile request;
    for (OutgoingMessage message; count-- > 0; message.reset()) {
        encode_payload<Codec>(request, message.payload(), message.blobs());
        message.seal();
    }
}

template <class Codec>
void decode(int count) {
    std::string payload;
    std::vector<const tether::Bytes*> blobs;
    encode_payload<Codec>(answer(), payload, blobs);
    while (count-- > 0) decode_payload<Codec, Compiled>(payload, {});
}

// Out of one process and into the other, without a socket between.
void frame(int count) {
    const Echo request{small_blob()};
    OutgoingMessage message;
    encode_payload<MessagePackCodec>(request, message.payload(), message.blobs());
    message.seal();
    FrameReader reader{1 << 20};
    while (count-- > 0) {
        message.open(FrameType::request, 0, 1);
        std::array<ConstBuffer, 4> parts;
        std::size_t sent = 0;
        const auto space = reader.space()[1];
        for (std::size_t i = 0, used = message.gather(parts); i < used; ++i) {
            std::memcpy(space.data + sent, parts[i].data, parts[i].size);
            sent += parts[i].size;
        }
        message.consume(sent);
        reader.received(sent);
        if (!message.done() || !reader.next()) std::abort();
        if (reader.next()) std::abort();
    }
}

// From a request that has arrived to an answer that can leave: lookup, codec, handler.
void dispatch(int count) {
    std::string payload;
    std::vector<const tether::Bytes*> blobs;
    const Echo request{small_blob()};
    encode_payload<MessagePackCodec>(request, payload, blobs);
    HandlerBox<bench::Handler> handler;
    Control control;
    std::vector<tether::Bytes> received(1);
    for (Answer answer; count-- > 0; answer.message.reset()) {
        received[0] = request.bytes;
        if (!handler.dispatch(0, payload, received, control, answer)) std::abort();
    }
}

// The whole of it on the caller's side, with a worker process.
void call(int count) {
    tether::Worker<bench::Protocol> worker;
    const Echo request{small_blob()};
    while (count-- > 0) {
        if (worker.call(request).size() != 64) std::abort();
    }
}

// The same for one of many calls in flight, by callbacks on the background thread.
void async_call(int count) {
    tether::Worker<bench::Protocol> worker;
    bench::Chain{worker, Echo{small_blob()}, static_cast<std::size_t>(count)}.run(16);
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = tether::serve_if_worker<bench::Handler>(argc, argv)) return *code;
    const auto step = std::string_view{argc == 3 ? argv[1] : ""};
    const int count = argc == 3 ? std::atoi(argv[2]) : 0;
    if (step == "encode") return encode<MessagePackCodec>(count), 0;
    if (step == "decode") return decode<MessagePackCodec>(count), 0;
    if (step == "encode_direct") return encode<DirectCodec>(count), 0;
    if (step == "decode_direct") return decode<DirectCodec>(count), 0;
    if (step == "frame") return frame(count), 0;
    if (step == "dispatch") return dispatch(count), 0;
    if (step == "call") return call(count), 0;
    if (step == "async_call") return async_call(count), 0;
    std::fprintf(
        stderr,
        "usage: %s encode|decode|encode_direct|decode_direct|frame|dispatch|call|async_call "
        "COUNT\n",
        argv[0]);
    return 2;
}
