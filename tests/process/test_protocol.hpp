#pragma once

// What the tests with real processes ask of their worker, misbehaving_child.cpp. Each request does
// one thing, so that a test reads like a description of what happens in the worker.

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tether_test {

struct Echoed {
    std::string text{};
    tether::Bytes blob{};
};
TETHER_DEFINE_MESSAGE(Echoed, text, blob)

/// Answers with what it was given.
struct Echo {
    static constexpr std::string_view name = "echo";
    using Response = Echoed;
    std::string text{};
    tether::Bytes blob{};
};
TETHER_DEFINE_MESSAGE(Echo, text, blob)

struct Add {
    static constexpr std::string_view name = "add";
    using Response = std::int64_t;
    static constexpr bool idempotent = true;
    std::int64_t left{};
    std::int64_t right{};
};
TETHER_DEFINE_MESSAGE(Add, left, right)

/// Neither members nor an answer.
struct Nothing {
    static constexpr std::string_view name = "nothing";
    using Response = void;
};

/// Answers 1, 2, 3, ...: state that a crash loses.
struct Count {
    static constexpr std::string_view name = "count";
    using Response = std::int64_t;
};

/// Tells `gate` that it runs, and then does nothing until the gate opens. Also tells `gate` when it
/// is asked to stop, and ends then if it heeds that. Answers whether it was asked to stop.
struct Await {
    static constexpr std::string_view name = "await";
    using Response = bool;
    std::string gate{};
    bool heeds_stop = true;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Await, gate, heeds_stop)

/// Tells `gate` that it runs, and waits until the gate opens. Never asks whether it should stop.
struct Stall {
    static constexpr std::string_view name = "stall";
    using Response = bool;
    std::string gate{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Stall, gate)

/// The same, and may be done again.
struct Pause {
    static constexpr std::string_view name = "pause";
    using Response = bool;
    static constexpr bool idempotent = true;
    std::string gate{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Pause, gate)

/// As Await by `stop_token()`: tells `gate` when the token's callback has run.
struct AwaitToken {
    static constexpr std::string_view name = "await_token";
    using Response = bool;
    std::string gate{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AwaitToken, gate)

/// Computes for ever, whatever it is asked; first blocks all signals if told to.
struct SpinForever {
    static constexpr std::string_view name = "spin_forever";
    using Response = void;
    std::string gate{};
    bool blocks_signals = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SpinForever, gate, blocks_signals)

/// Has a timeout of its own: 150 ms.
struct AwaitBriefly {
    static constexpr std::string_view name = "await_briefly";
    using Response = bool;
    static constexpr auto timeout = std::chrono::milliseconds{150};
    std::string gate{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AwaitBriefly, gate)

/// The milliseconds that the handler sees until its deadline; -1 where there is none.
struct TimeLeft {
    static constexpr std::string_view name = "time_left";
    using Response = std::int64_t;
};

/// kind: handler_error, nested, exception, system, int, bad_alloc, not_utf8, long
struct Throw {
    static constexpr std::string_view name = "throw";
    using Response = std::int64_t;
    std::string kind{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Throw, kind)

/// Writes `last_words` to stderr and exits.
struct Exit {
    static constexpr std::string_view name = "exit";
    using Response = void;
    int code{};
    std::string last_words{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Exit, code, last_words)

/// Writes `last_words` to stderr and raises the signal `number`, with its default action.
struct Signal {
    static constexpr std::string_view name = "signal";
    using Response = void;
    int number{};
    std::string last_words{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Signal, number, last_words)

/// Writes `text` to stdout or stderr, `times` times.
struct Print {
    static constexpr std::string_view name = "print";
    using Response = void;
    bool to_stderr = false;
    std::string text{};
    std::int64_t times = 1;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Print, to_stderr, text, times)

/// Writes `size` times 'x' to stderr, without a newline, and aborts.
struct PrintAndAbort {
    static constexpr std::string_view name = "print_and_abort";
    using Response = void;
    std::int64_t size{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PrintAndAbort, size)

struct Log {
    static constexpr std::string_view name = "log";
    using Response = void;
    int severity{};
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Log, severity, text)

/// Logs `text`, and answers with `size` bytes; throws it when `size` is negative.
struct LogAndMake {
    static constexpr std::string_view name = "log_and_make";
    using Response = tether::Bytes;
    std::string text{};
    std::int64_t size{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LogAndMake, text, size)

/// Answers with patterned(size).
struct Make {
    static constexpr std::string_view name = "make";
    using Response = tether::Bytes;
    std::int64_t size{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Make, size)

/// Appends a line to the file `path`; then kills its own process, if the file has no more than
/// `deaths` lines. Answers with the number of lines.
struct SideEffect {
    static constexpr std::string_view name = "side_effect";
    using Response = std::int64_t;
    std::string path{};
    std::int64_t deaths{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SideEffect, path, deaths)

struct IdempotentEffect {
    static constexpr std::string_view name = "idempotent_effect";
    using Response = std::int64_t;
    static constexpr bool idempotent = true;
    std::string path{};
    std::int64_t deaths{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(IdempotentEffect, path, deaths)

/// Runs `command` in the background by `sh -c`, and answers with the shell's pid.
struct Start {
    static constexpr std::string_view name = "start";
    using Response = std::int64_t;
    std::string command{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Start, command)

struct Process {
    std::int64_t pid{};
    std::int64_t session{};
    std::int64_t group{};
    std::vector<std::string> arguments{};
    std::vector<std::string> environment{};
    std::string working_directory{};
    std::vector<std::string> descriptors{};  ///< "3 socket:[1234]"
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Process, pid, session, group, arguments, environment,
                                   working_directory, descriptors)

/// What the worker's process is.
struct Who {
    static constexpr std::string_view name = "who";
    using Response = Process;
};

/// Writes to the connection behind Tether's back. kind: garbage, wrong_number, twice, wrong_type,
/// wrong_frame, huge, half, close, good_good_bad, answer_next. Answers 1. Or takes descriptors from
/// it, then logs "taken": take_all, take_stderr; with " FILE" that file gets their numbers. Or
/// forks: copy_ and what the copy does, which its handler knows.
struct Meddle {
    static constexpr std::string_view name = "meddle";
    using Response = std::int64_t;
    std::string kind{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Meddle, kind)

/// Cannot be encoded or decoded where it is told so.
struct Fragile {
    bool breaks_encoding = false;
    bool breaks_decoding = false;
};
inline void to_json(nlohmann::json& json, const Fragile& value) {
    if (value.breaks_encoding) throw std::runtime_error("this value breaks when it is encoded");
    json = value.breaks_decoding;
}
inline void from_json(const nlohmann::json& json, Fragile& value) {
    if (json.get<bool>()) throw std::runtime_error("this value breaks when it is decoded");
    value = {};
}

/// Answers with a value that breaks on the way back, if told so.
struct Carry {
    static constexpr std::string_view name = "carry";
    using Response = Fragile;
    Fragile value{};
    bool answer_breaks_encoding = false;
    bool answer_breaks_decoding = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Carry, value, answer_breaks_encoding, answer_breaks_decoding)

/// Answers with the number that the handler sees for this call.
struct Number {
    static constexpr std::string_view name = "number";
    using Response = std::uint64_t;
};

struct TestProtocol {
    static constexpr std::string_view name = "tether.test";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Add, Nothing, Count, Await, AwaitToken, SpinForever,
                                      AwaitBriefly, TimeLeft, Throw, Exit, Signal, Print,
                                      PrintAndAbort, Log, Make, SideEffect, IdempotentEffect, Start,
                                      Who, Meddle, Carry, Number, Stall, Pause, LogAndMake>;
};

/// The same two requests in every codec.
template <class C>
struct CodecProtocol {
    static constexpr std::string_view name = "tether.test.codec";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Add>;
    using Codec = C;
};

/// The worker's handler has `DirectCodec`; the parent may have any that is MessagePack, too.
template <class C>
struct DirectProtocol {
    static constexpr std::string_view name = "tether.test.direct";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo, Add>;
    using Codec = C;
};

/// A user's own codec: JSON, backwards.
struct BackwardsCodec {
    static constexpr std::string_view name = "backwards";

    template <class T>
    static void encode(const T& value, std::string& out) {
        const auto text = nlohmann::json(value).dump();
        out.append(text.rbegin(), text.rend());
    }

    template <class T>
    static T decode(std::string_view in) {
        return nlohmann::json::parse(std::string{in.rbegin(), in.rend()}).template get<T>();
    }
};

/// Content that shows where a byte came from: all of it, every 64 KiB.
[[nodiscard]] inline const std::string& pattern_block() {
    static const std::string block = [] {
        std::string bytes(65536, '\0');
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            bytes[i] = static_cast<char>((i * 131 + i / 256) & 0xff);
        }
        return bytes;
    }();
    return block;
}

[[nodiscard]] inline tether::Bytes patterned(std::size_t size) {
    const auto& block = pattern_block();
    tether::Bytes bytes(size);
    for (std::size_t at = 0; at < size; at += block.size()) {
        std::memcpy(bytes.data() + at, block.data(), std::min(block.size(), size - at));
    }
    return bytes;
}

[[nodiscard]] inline bool is_patterned(const tether::Bytes& bytes) {
    const auto& block = pattern_block();
    for (std::size_t at = 0; at < bytes.size(); at += block.size()) {
        const auto size = std::min(block.size(), bytes.size() - at);
        if (bytes.view().substr(at, size) != std::string_view{block}.substr(0, size)) return false;
    }
    return true;
}

}  // namespace tether_test
