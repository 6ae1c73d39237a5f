// The bytes in docs/wire-protocol.md are those that the library sends.
#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/frame.hpp>
#include <tether/detail/wire/greeting.hpp>
#include <tether/detail/wire/outgoing_message.hpp>
#include <tether/detail/wire/stored_message.hpp>
#include <tether/protocol.hpp>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>

#include "../../../examples/python_worker/greet_protocol.hpp"
#include "../../../examples/python_worker/translate_protocol.hpp"
#include "support/catch.hpp"
#include "support/wire.hpp"

namespace {

using namespace tether::detail;
using tether_test::cancel_record;

int hex_digit(char c) {
    const auto at = std::string_view{"0123456789abcdef"}.find(c);
    return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

/// Appends the bytes of one line, "0010  0a 0b 0c  what they are".
void add_line(std::string& bytes, const std::string& line) {
    REQUIRE(std::stoul(line.substr(0, 4), nullptr, 16) == bytes.size());
    for (std::size_t at = 6; at + 1 < line.size(); at += 3) {
        const int high = hex_digit(line[at]);
        const int low = hex_digit(line[at + 1]);
        if (high == -1 || low == -1) return;
        bytes += static_cast<char>(16 * high + low);
        if (line.substr(at + 2, 1) != " " || line.substr(at + 3, 1) == " ") return;
    }
}

/// The dumps of the page: each in a block of its own, after a comment that names it.
std::map<std::string, std::string> dumps_of_page() {
    std::ifstream page{TETHER_SOURCE_DIR "/docs/wire-protocol.md"};
    REQUIRE(page);
    constexpr std::string_view mark = "<!-- bytes: ";
    std::map<std::string, std::string> dumps;
    for (std::string line; std::getline(page, line);) {
        if (!line.starts_with(mark)) continue;
        auto& bytes = dumps[line.substr(mark.size(), line.find(' ', mark.size()) - mark.size())];
        REQUIRE(std::getline(page, line));  // the fence
        while (std::getline(page, line) && line != "```") add_line(bytes, line);
    }
    return dumps;
}

Secret secret_from(int first) {
    Secret secret{};
    for (char& byte : secret) byte = static_cast<char>(first++);
    return secret;
}

ProtocolId protocol_id() {
    return {std::string{GreetProtocol::name}, GreetProtocol::version, fingerprint<GreetProtocol>()};
}

std::string frame_of(OutgoingMessage& message, FrameType type, std::uint16_t index,
                     std::uint64_t number, tether::detail::Timeouts timeouts = {}) {
    message.seal();
    message.open(type, index, number, timeouts);
    return message.rest_of_frame();
}

std::string greeting_frame(FrameType type, const Secret& secret) {
    OutgoingMessage message;
    Greeting{secret, protocol_id()}.append_to(message.payload());
    return frame_of(message, type, 0, 0);
}

template <class T>
std::string value_frame(FrameType type, const T& value, tether::detail::Timeouts timeouts = {}) {
    OutgoingMessage message;
    encode_payload<GreetProtocol::Codec>(value, message.payload(), message.blobs());
    return frame_of(message, type, message_index<GreetProtocol, Greet>, 1, timeouts);
}

std::string bootstrap_record() {
    Bootstrap bootstrap;
    bootstrap.worker = "greeter";
    bootstrap.generation = 1;
    bootstrap.parent_secret = secret_from(0);
    bootstrap.worker_secret = secret_from(32);
    bootstrap.protocol = protocol_id();
    bootstrap.listening = bootstrap.verify_peer = true;
    bootstrap.mark_severity = bootstrap.has_parent = true;
    bootstrap.max_message_bytes = std::uint64_t{512} << 20;
    bootstrap.orphan_grace_us = 500'000;
    bootstrap.parent_pid = 4711;
    return control_record(ControlType::bootstrap, bootstrap.encode());
}

std::string error_frame() {
    OutgoingMessage message;
    const ErrorAnswer error{tether::errc::handler, {}, {{"no_name", "whom shall I greet?"}}};
    error.append_to(message.payload());
    return frame_of(message, FrameType::error, 0, 2);
}

std::string item_frame() {
    OutgoingMessage message;
    encode_payload<TranslateProtocol::Codec>(std::string{"S"}, message.payload(), message.blobs());
    CHECK(window_cost(message) == 43);
    return frame_of(message, FrameType::item, message_index<TranslateProtocol, Translate>,
                    SideNumbers{}.next(), of_call(5));
}

std::string window_frame() {
    OutgoingMessage message;
    append_window(message.payload(), 1'048'600);
    return frame_of(message, FrameType::window, message_index<TranslateProtocol, Translate>,
                    SideNumbers{}.next(), of_call(5));
}

std::string abort_frame() {
    std::string bytes(FrameHeader::size, '\0');
    FrameHeader{0, FrameType::abort, 0, 0, 4}.store(bytes.data());
    return bytes;
}

/// As in the page, so that a difference can be read.
std::string hex(std::string_view bytes) {
    std::ostringstream out;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        const auto byte = static_cast<unsigned char>(bytes[at]);
        out << (at % 16 == 0 ? '\n' : ' ') << "0123456789abcdef"[byte >> 4]
            << "0123456789abcdef"[byte & 15];
    }
    return out.str();
}

}  // namespace

TEST_CASE("wire example: the page shows what is sent", "[wire]") {
    OutgoingMessage large;
    large.payload().append(1'500'000, 'x');
    const auto first = frame_of(large, FrameType::request, message_index<GreetProtocol, Spell>, 4);
    large.consume(first.size());
    const auto second = large.rest_of_frame();
    CHECK(second.size() == FrameHeader::size + 451'448);
    CHECK(large.last_frame());

    const std::map<std::string, std::string> expected{
        {"bootstrap", bootstrap_record()},
        {"hello", greeting_frame(FrameType::hello, secret_from(0))},
        {"welcome", greeting_frame(FrameType::welcome, secret_from(32))},
        {"request", value_frame(FrameType::request, Greet{"snake"}, {.call_us = 5'000'000})},
        {"response", value_frame(FrameType::response, std::string{"Hello, snake!"})},
        {"error", error_frame()},
        {"cancel", cancel_record(3)},
        {"first", first.substr(0, OutgoingMessage::prefix)},
        {"data", second.substr(0, FrameHeader::size)},
        {"abort", abort_frame()},
        {"item", item_frame()},
        {"window", window_frame()},
    };
    const auto dumps = dumps_of_page();
    CHECK(dumps.size() == expected.size());
    for (const auto& [name, bytes] : expected) {
        INFO(name);
        REQUIRE(dumps.contains(name));
        CHECK(hex(dumps.at(name)) == hex(bytes));
    }
}

TEST_CASE("wire example: the fingerprint", "[wire]") {
    std::ifstream page{TETHER_SOURCE_DIR "/docs/wire-protocol.md"};
    std::ostringstream text;
    text << page.rdbuf();
    for (const auto value : {fingerprint<GreetProtocol>(), fingerprint<TranslateProtocol>()}) {
        std::ostringstream hex;
        hex << "`0x" << std::hex << value << '`';
        CHECK(text.str().find(hex.str()) != std::string::npos);
    }
}
