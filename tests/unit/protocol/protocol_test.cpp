#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/protocol.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace protocol_test {

namespace {

using namespace tether::detail;
using tether::Messages;

struct First {
    static constexpr std::string_view name = "first";
    using Response = int;
};
struct Second {
    static constexpr std::string_view name = "second";
    using Response = void;
    static constexpr auto timeout = std::chrono::minutes{2};
    static constexpr bool idempotent = true;
};
struct Third {
    static constexpr auto name = "third";  // anything that becomes a string_view
    using Response = std::string;
    static constexpr bool idempotent = false;
};
// Data members are only data.
struct Data {
    static constexpr std::string_view name = "data";
    using Response = int;
    int timeout{};
    bool idempotent{true};
};
struct Nameless {
    using Response = int;
};
struct Unanswered {
    static constexpr std::string_view name = "unanswered";
};
struct NeedsArgument {
    [[maybe_unused]] static constexpr std::string_view name = "needs";
    using Response = int;
    explicit NeedsArgument(int);
};

template <class List, class C = tether::MessagePackCodec>
struct Protocol {
    static constexpr std::string_view name = "test";
    static constexpr std::uint32_t version = 1;
    using Requests = List;
    using Codec = C;
};
struct Small {
    static constexpr const char* name = "small";
    static constexpr int version = 7;
    using Requests = Messages<First>;
};
struct NoVersion {
    [[maybe_unused]] static constexpr std::string_view name = "x";
    using Requests = Messages<First>;
};

static_assert(tether::Request<First> && tether::Request<Second> && tether::Request<Third>);
static_assert(!tether::Request<Nameless>);
static_assert(!tether::Request<Unanswered>);
static_assert(!tether::Request<NeedsArgument>);
static_assert(!tether::Request<int>);

static_assert(tether::Protocol<Small>);
static_assert(tether::Protocol<Protocol<Messages<First, Second, Third>>>);
static_assert(!tether::Protocol<Protocol<Messages<First, Nameless>>>);
static_assert(!tether::Protocol<Protocol<int>>);
static_assert(!tether::Protocol<Protocol<Messages<First>, int>>);
static_assert(!tether::Protocol<NoVersion>);
static_assert(!tether::Protocol<int>);

static_assert(std::is_same_v<tether::CodecOf<Small>, tether::MessagePackCodec>);
static_assert(std::is_same_v<tether::CodecOf<Protocol<Messages<First>, tether::JsonCodec>>,
                             tether::JsonCodec>);

using Both = Protocol<Messages<First, Second>>;
static_assert(check_protocol<Both>());
static_assert(Messages<>::size == 0 && Messages<First, Second>::size == 2);
static_assert(is_request_of<Both, First> && is_request_of<Both, Second>);
static_assert(!is_request_of<Both, Third>);
static_assert(message_index<Both, First> == 0 && message_index<Both, Second> == 1);
static_assert(request_timeout<Second>() == std::chrono::minutes{2});
static_assert(request_timeout<First>() == std::nullopt);
static_assert(tether::Request<Data>);
static_assert(request_timeout<Data>() == std::nullopt && !is_idempotent<Data>());
static_assert(is_idempotent<Second>() && !is_idempotent<First>() && !is_idempotent<Third>());

static_assert(have_distinct_names(Messages<First, Second, Third>{}));
static_assert(!have_distinct_names(Messages<First, Second, First>{}));
static_assert(have_distinct_names(Messages<>{}));

// What both sides compare: names, their order and number, the codec.
static_assert(fingerprint<Both>() == fingerprint<Protocol<Messages<First, Second>>>());
static_assert(fingerprint<Both>() != fingerprint<Protocol<Messages<Second, First>>>());
static_assert(fingerprint<Both>() != fingerprint<Protocol<Messages<First>>>());
static_assert(fingerprint<Both>() != fingerprint<Protocol<Messages<First, Third>>>());
static_assert(fingerprint<Both>() !=
              fingerprint<Protocol<Messages<First, Second>, tether::JsonCodec>>());

}  // namespace

TEST_CASE("the fingerprint delimits its parts, and is the same for ever") {
    Fingerprint one;
    one.add("ab");
    one.add("c");
    Fingerprint other;
    other.add("a");
    other.add("bc");
    CHECK(one.value() != other.value());
    CHECK(Fingerprint{}.value() == 0xcbf29ce484222325u);

    // A worker in another language computes it from docs/wire-protocol.md: FNV-1a, 64 bits.
    std::string bytes;
    const auto number = [&](std::uint64_t value) {
        for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
    };
    const auto text = [&](std::string_view value) {
        number(value.size());
        bytes += value;
    };
    text("msgpack");
    number(2);
    text("first");
    text("second");
    std::uint64_t expected = 0xcbf29ce484222325;
    for (const char c : bytes) {
        expected = (expected ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
    CHECK(fingerprint<Both>() == expected);
}

}  // namespace protocol_test
