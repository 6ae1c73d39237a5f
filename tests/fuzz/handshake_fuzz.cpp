// Any bytes into what both sides decode before they trust each other.
//
// Holds: decoding never crashes or throws; a greeting that decodes is, encoded again, the same
// bytes, and a bootstrap the same values; and what is encoded decodes.
//
// Input: a byte that selects, then what is decoded, or the fields of a bootstrap.

#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/greeting.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/support.hpp"

namespace {

using namespace tether::detail;
using tether_fuzz::ByteSource;
using tether_fuzz::require;

void greeting(std::string_view bytes) {
    const auto decoded = Greeting::decode(bytes);
    if (!decoded) return;
    std::string again;
    decoded->append_to(again);
    require(again == bytes, "a greeting has one form");
    require(equal_secrets(view(decoded->secret), view(decoded->secret)), "a secret equals itself");
    require(!describe_mismatch(decoded->protocol, {}).empty(), "there is a sentence");
}

void bootstrap(std::string_view bytes) {
    const auto decoded = Bootstrap::decode(bytes);
    if (!decoded) return;
    // Not the same bytes: unknown flags are dropped, and limits that are all "none" need no fields.
    require(Bootstrap::decode(decoded->encode()) == decoded, "what is decoded is kept");
}

void any_bootstrap(ByteSource in) {
    Bootstrap made;
    made.worker = in.text(in.byte());
    made.generation = in.number<std::uint64_t>();
    in.text(made.parent_secret.size()).copy(made.parent_secret.data(), made.parent_secret.size());
    in.text(made.worker_secret.size()).copy(made.worker_secret.data(), made.worker_secret.size());
    made.protocol = {std::string{in.text(in.byte())}, in.number<std::uint32_t>(),
                     in.number<std::uint64_t>()};
    const auto flags = in.byte();
    made.listening = (flags & 1) != 0;
    made.verify_peer = (flags & 2) != 0;
    made.mark_severity = (flags & 4) != 0;
    made.has_parent = (flags & 8) != 0;
    made.concurrency = in.number<std::uint32_t>();
    made.max_message_bytes = in.number<std::uint64_t>();
    made.spin_us = in.number<std::uint64_t>();
    made.depth = in.number<std::uint32_t>();
    if (const auto memory = in.number<std::uint64_t>(); memory != 0) {
        made.limits.memory_bytes = memory == no_limit ? 0 : memory;
        made.limits.nice = static_cast<int>(memory % 40) - 20;
    }
    const auto bytes = made.encode();
    require(Bootstrap::decode(bytes) == made, "what is encoded decodes");
    require(!Bootstrap::decode(bytes + '\0'), "nothing follows the last field");
    require(!Bootstrap::decode(std::string_view{bytes}.substr(1)), "the magic is looked at");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteSource in{data, size};
    const auto which = in.byte() % 3;
    if (which == 0) greeting(in.rest());
    if (which == 1) bootstrap(in.rest());
    if (which == 2) any_bootstrap(in);
    return 0;
}
