#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/greeting.hpp>

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"
#include "support/wire.hpp"

namespace handshake_test {

namespace {

using namespace tether::detail;
using tether::errc;
using tether_test::cancel_record;
using tether_test::contains;
using namespace std::string_literals;

Secret secret(char first) {
    Secret result{};
    for (std::size_t i = 0; i < result.size(); ++i) {
        result[i] = static_cast<char>(static_cast<unsigned char>(first) + i * 7);
    }
    return result;
}

Bootstrap full_bootstrap() {
    Bootstrap sent;
    sent.worker = "worker";
    sent.generation = 5;
    sent.parent_secret = secret('a');
    sent.worker_secret = secret('\xf0');
    sent.protocol = {"example.protocol", 3, 0x1234567890abcdef};
    sent.listening = true;
    sent.verify_peer = true;
    sent.mark_severity = true;
    sent.has_parent = true;
    sent.concurrency = 9;
    sent.max_message_bytes = std::uint64_t{1} << 40;
    sent.orphan_grace_us = 500'000;
    sent.parent_pid = 4711;
    return sent;
}

/// What a reader makes of a stream that comes in pieces of `size`.
std::vector<std::pair<ControlType, std::string>> records(std::string_view bytes, std::size_t size,
                                                         bool& broken) {
    std::vector<std::pair<ControlType, std::string>> got;
    ControlReader reader;
    while (!bytes.empty() && !reader.broken()) {
        const auto part = std::min({size, bytes.size(), reader.space_size()});
        REQUIRE(part != 0);
        std::memcpy(reader.space(), bytes.data(), part);
        reader.received(part);
        bytes.remove_prefix(part);
        while (const auto record = reader.next()) got.emplace_back(record->type, record->content);
    }
    broken = reader.broken();
    return got;
}

}  // namespace

TEST_CASE("secrets are compared as a whole", "[F60]") {
    const auto one = secret('a');
    auto other = one;
    CHECK(equal_secrets(view(one), view(other)));
    for (std::size_t i = 0; i < other.size(); ++i) {
        other = one;
        other[i] = static_cast<char>(other[i] ^ 1);
        CHECK_FALSE(equal_secrets(view(one), view(other)));
    }
    CHECK_FALSE(equal_secrets(view(one), view(one).substr(1)));
    CHECK_FALSE(equal_secrets(view(one), ""));
}

TEST_CASE("a bootstrap is read as it was written") {
    const auto sent = full_bootstrap();
    const auto got = Bootstrap::decode(sent.encode());
    REQUIRE(got);
    CHECK(got->worker == sent.worker);
    CHECK(got->generation == sent.generation);
    CHECK(got->parent_secret == sent.parent_secret);
    CHECK(got->worker_secret == sent.worker_secret);
    CHECK(got->protocol == sent.protocol);
    CHECK(got->listening);
    CHECK(got->verify_peer);
    CHECK(got->mark_severity);
    CHECK(got->has_parent);
    CHECK(got->concurrency == sent.concurrency);
    CHECK(got->max_message_bytes == sent.max_message_bytes);
    CHECK(got->orphan_grace_us == sent.orphan_grace_us);
    CHECK(got->parent_pid == sent.parent_pid);
    CHECK(got->spin_us == 0);
    CHECK_FALSE(got->spares_sessions);
    CHECK_FALSE(got->has_alarm);

    auto only_one = full_bootstrap();
    only_one.listening = only_one.mark_severity = only_one.has_parent = false;
    only_one.limits.nice = 7;
    only_one.spin_us = 15;
    only_one.depth = 3;
    only_one.calls_in_work = 77;
    only_one.spares_sessions = only_one.has_alarm = true;
    const auto flags = Bootstrap::decode(only_one.encode());
    REQUIRE(flags);
    CHECK_FALSE(flags->listening);
    CHECK(flags->verify_peer);
    CHECK_FALSE(flags->mark_severity);
    CHECK_FALSE(flags->has_parent);
    CHECK(flags->limits == only_one.limits);
    CHECK(flags->spin_us == 15);
    CHECK(flags->depth == 3);
    CHECK(flags->calls_in_work == 77);
    CHECK(flags->slots() == 77);
    CHECK(flags->spares_sessions);
    CHECK(flags->has_alarm);
}

TEST_CASE("a bootstrap or greeting that is cut, prolonged or foreign is none", "[F6]") {
    const auto bootstrap = full_bootstrap().encode();
    std::string greeting;
    Greeting{secret('g'), {"name", 1, 2}}.append_to(greeting);
    REQUIRE(Greeting::decode(greeting));
    CHECK(Greeting::decode(greeting)->secret == secret('g'));
    CHECK((Greeting::decode(greeting)->protocol == ProtocolId{"name", 1, 2}));

    for (std::size_t size = 0; size < bootstrap.size(); ++size) {
        CHECK_FALSE(Bootstrap::decode(std::string_view{bootstrap}.substr(0, size)));
    }
    for (std::size_t size = 0; size < greeting.size(); ++size) {
        CHECK_FALSE(Greeting::decode(std::string_view{greeting}.substr(0, size)));
    }
    CHECK_FALSE(Bootstrap::decode(bootstrap + "x"));
    CHECK_FALSE(Greeting::decode(greeting + "x"));
    // Magic (8 bytes) and wire version (4): each byte counts.
    for (std::size_t at = 0; at < 12; ++at) {
        auto other = greeting;
        other[at] = static_cast<char>(other[at] ^ 0x40);
        CHECK_FALSE(Greeting::decode(other));
        auto other_bootstrap = bootstrap;
        other_bootstrap[at] = static_cast<char>(other_bootstrap[at] ^ 0x40);
        CHECK_FALSE(Bootstrap::decode(other_bootstrap));
    }
    CHECK(greeting.substr(0, 8) == "\0TETHER1"s);
}

TEST_CASE("a mismatch names the first thing that differs", "[F6]") {
    const ProtocolId wanted{"wanted", 1, 10};
    CHECK(contains(describe_mismatch(wanted, {"offered", 2, 20}), "\"wanted\""));
    CHECK(contains(describe_mismatch(wanted, {"offered", 2, 20}), "\"offered\""));
    CHECK(contains(describe_mismatch(wanted, {"wanted", 2, 20}), "version 1"));
    CHECK(contains(describe_mismatch(wanted, {"wanted", 2, 20}), "version 2"));
    CHECK(contains(describe_mismatch(wanted, {"wanted", 1, 20}), "other messages"));
}

TEST_CASE("a start failure is read as it was written") {
    for (const auto cause : {errc::start_failed, errc::protocol_mismatch, errc::hook_missing}) {
        const auto got = StartFailure::decode(StartFailure{cause, "why\0 \xff"s}.encode());
        CHECK(got.cause == cause);
        CHECK(got.text == "why\0 \xff"s);
    }
    // A worker may not claim what only the parent can know.
    CHECK(StartFailure::decode(StartFailure{errc::timeout, "x"}.encode()).cause ==
          errc::start_failed);
    const auto bytes = StartFailure{errc::hook_missing, "why"}.encode();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        CHECK(contains(StartFailure::decode(bytes.substr(0, size)).text, "malformed"));
    }
    CHECK(contains(StartFailure::decode(bytes + "x").text, "malformed"));
}

TEST_CASE("control records may be cut anywhere") {
    const auto longest = std::string(ControlReader::capacity - 5, 'l');
    const auto bytes = control_record(ControlType::bootstrap, full_bootstrap().encode()) +
                       cancel_record(0x0102030405060708) + control_record(ControlType::stop) +
                       control_record(ControlType::failed, longest) + cancel_record(2);
    for (const std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{100},
                                   std::size_t{4096}, bytes.size()}) {
        bool broken = false;
        const auto got = records(bytes, size, broken);
        CHECK_FALSE(broken);
        REQUIRE(got.size() == 5);
        CHECK(got[0].first == ControlType::bootstrap);
        CHECK(Bootstrap::decode(got[0].second));
        CHECK(got[1].first == ControlType::cancel);
        CHECK(got[1].second == "\x08\x07\x06\x05\x04\x03\x02\x01");
        CHECK(got[2].first == ControlType::stop);
        CHECK(got[2].second.empty());
        CHECK(got[3].second == longest);
        CHECK(got[4].first == ControlType::cancel);
    }
}

TEST_CASE("a control record of a size that cannot be breaks the channel", "[F13]") {
    bool broken = false;
    const auto good = cancel_record(1);
    for (const auto& bad : {"\0\0\0\0\1"s, "\xff\xff\xff\xff\1"s, "\xfd\x1f\0\0\1"s}) {
        const auto got = records(good + bad + good, 1, broken);
        CHECK(broken);
        CHECK(got.size() == 1u);
    }
    // The largest that fits.
    ControlReader reader;
    std::memcpy(reader.space(), "\xfc\x1f\0\0\1", 5);
    reader.received(5);
    CHECK_FALSE(reader.next());
    CHECK_FALSE(reader.broken());
    CHECK(reader.space_size() == ControlReader::capacity - 5);
}

}  // namespace handshake_test
