#include <tether/detail/wire/frame_reader.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/resource.h>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/text.hpp"
#include "support/wire.hpp"

namespace frame_reader_test {

namespace {

using namespace tether::detail;
using namespace tether_test;
using namespace std::string_literals;

constexpr auto more = FrameHeader::more;

std::string pattern(std::size_t size, unsigned seed = 1) {
    std::string text(size, '\0');
    std::minstd_rand random{seed};
    for (auto& c : text) c = static_cast<char>(random());
    return text;
}

/// A message in three frames: as the reader must take it, whatever sizes the writer chose.
struct InThreeFrames {
    Message message{FrameType::response, 2, 77, pattern(40), {pattern(25), {}, pattern(31)}, {5}};

    [[nodiscard]] std::string bytes() const {
        const auto content =
            message.payload + message.blobs[0] + message.blobs[1] + message.blobs[2];
        return frame(message.type, more, message.number,
                     head(40, {25, 0, 31}, message.timeouts) + content.substr(0, 30),
                     message.index) +
               frame(FrameType::data, more, message.number, content.substr(30, 40)) +
               frame(FrameType::data, 0, message.number, content.substr(70));
    }
};

/// What came out of a stream of bytes: the messages, and whether an error ended it.
struct Result {
    std::vector<Message> messages{};
    bool failed = false;
    friend bool operator==(const Result&, const Result&) = default;
};

template <class NextSize>
Result read_all(std::string_view bytes, NextSize next_size) {
    Receiver receiver{std::uint64_t{1} << 20};
    Result result;
    try {
        while (!bytes.empty()) {
            const auto size = std::min<std::size_t>(bytes.size(), next_size());
            receiver.feed(bytes.substr(0, size));
            bytes.remove_prefix(size);
        }
    } catch (const FramingError&) {
        result.failed = true;
    }
    result.messages = std::move(receiver.messages);
    return result;
}

std::string failure_of(std::string_view bytes, std::uint64_t limit = Receiver::default_limit) {
    Receiver receiver{limit};
    try {
        receiver.feed(bytes);
    } catch (const FramingError& error) {
        return error.what();
    }
    return "no failure";
}

}  // namespace

TEST_CASE("a stream of three frames may be cut anywhere", "[F9]") {
    const std::vector<Message> messages{
        {FrameType::request, 0, 1, "first"},
        {FrameType::request, 1, 2, pattern(60), {pattern(9), "", pattern(17)}, {1'000'000}},
        {FrameType::request, 2, 3, ""}};
    std::string bytes;
    for (const auto& message : messages) bytes += encoded(message);

    for (std::size_t split = 0; split <= bytes.size(); ++split) {
        Receiver receiver;
        receiver.feed(std::string_view{bytes}.substr(0, split));
        receiver.feed(std::string_view{bytes}.substr(split));
        if (receiver.messages != messages) FAIL("split at " << split);
        REQUIRE(receiver.reader().idle());
    }
}

TEST_CASE("a message in three frames may be cut anywhere, twice", "[F9]") {
    const InThreeFrames whole;
    const auto bytes = whole.bytes();
    for (std::size_t first = 0; first <= bytes.size(); ++first) {
        for (std::size_t second = first; second <= bytes.size(); second += 3) {
            Receiver receiver;
            receiver.feed(std::string_view{bytes}.substr(0, first));
            receiver.feed(std::string_view{bytes}.substr(first, second - first));
            receiver.feed(std::string_view{bytes}.substr(second));
            const bool good = receiver.messages.size() == 1 &&
                              receiver.messages[0] == whole.message && receiver.reader().idle();
            if (!good) FAIL("cut at " << first << " and " << second);
        }
    }
}

TEST_CASE("a message that is received in place may be cut anywhere", "[F9]") {
    const Message large{FrameType::response, 1, 9, pattern(30'000), {pattern(20'000), "", "end"}};
    const Message small{FrameType::response, 1, 10, "behind"};
    const auto bytes = encoded(large) + encoded(small);
    for (std::size_t split = 0; split <= bytes.size(); split += split < 200 ? 1 : 509) {
        Receiver receiver;
        receiver.feed(std::string_view{bytes}.substr(0, split));
        receiver.feed(std::string_view{bytes}.substr(split));
        if (receiver.messages != std::vector{large, small}) FAIL("split at " << split);
    }
}

TEST_CASE("one byte at a time", "[F9]") {
    const InThreeFrames whole;
    const Message small{FrameType::error, 3, 78, "small", {"blob"}};
    const Message large{FrameType::response, 1, 79, pattern(70'000), {pattern(5)}};
    Receiver receiver;
    receiver.feed(encoded(small) + whole.bytes() + encoded(large) + encoded(small), 1);
    CHECK((receiver.messages == std::vector{small, whole.message, large, small}));
    CHECK(receiver.reader().idle());
}

TEST_CASE("a thousand frames in one buffer", "[F9]") {
    std::string bytes;
    std::vector<Message> sent;
    for (std::uint64_t number = 1; number <= 1000; ++number) {
        sent.push_back({FrameType::response, static_cast<std::uint16_t>(number % 7), number,
                        std::to_string(number)});
        bytes += encoded(sent.back());
    }
    Receiver receiver;
    const auto space = receiver.reader().space();
    REQUIRE(space[0].size == 0);
    REQUIRE(space[1].size >= bytes.size());
    std::ranges::copy(bytes, space[1].data);
    receiver.reader().received(bytes.size());
    std::size_t announced = 0;
    std::vector<Message> got;
    while (const auto message = receiver.reader().next()) {
        got.push_back(copy_of(*message));
        announced += receiver.reader().has_buffered() ? 1 : 0;
    }
    CHECK((got == sent));
    CHECK(announced == 999u);
}

TEST_CASE("multi-byte text that is split across reads arrives unchanged", "[F10]") {
    std::string text;
    for (char32_t c = 0x4e00; text.size() < (std::size_t{8} << 20);
         c = c == 0x9fff ? 0x4e00 : c + 1) {
        text += static_cast<char>(0xe0 | (c >> 12));
        text += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
        text += static_cast<char>(0x80 | (c & 0x3f));
    }
    const Message sent{FrameType::request, 0, 1, text, {text.substr(0, 3001)}};
    const auto bytes = encoded(sent);
    for (const std::size_t read_size :
         {std::size_t{997}, std::size_t{4096}, std::size_t{1} << 22}) {
        Receiver receiver;
        receiver.feed(bytes, read_size);
        REQUIRE(receiver.messages.size() == 1);
        CHECK((receiver.messages[0] == sent));
    }
}

TEST_CASE("any byte, and a whole frame, may be a payload", "[F11]") {
    std::string all(256, '\0');
    std::iota(all.begin(), all.end(), '\0');
    const auto inner = encoded({FrameType::response, 9, 9, all, {all}}) + InThreeFrames{}.bytes();
    const std::vector<Message> messages{
        {FrameType::request, 0, 1, all, {all, inner}},
        {FrameType::request, 0, 2, inner, {inner}},
        {FrameType::request, 0, 3, inner + std::string(40'000, '\xff')}};
    std::string bytes;
    for (const auto& message : messages) bytes += encoded(message);
    for (const std::size_t read_size : {std::size_t{1}, std::size_t{13}, bytes.size()}) {
        Receiver receiver;
        receiver.feed(bytes, read_size);
        CHECK((receiver.messages == messages));
    }
}

TEST_CASE("a length of 2^63-1 is a framing error, without an allocation", "[F13]") {
    const auto huge = (std::uint64_t{1} << 63) - 1;
    const std::vector<std::string> streams{
        frame(FrameType::request, more, 1, head(huge, {})),
        frame(FrameType::request, 0, 1, head(huge, {})),
        frame(FrameType::request, more, 1, head(0, {huge})),
        frame(FrameType::request, more, 1, head(1, {huge, huge, 3})),  // the sum wraps to 2
        frame(FrameType::request, 0, 1, head(1, {huge, huge, 3})),
        frame(FrameType::request, more, 1, head(0, {~std::uint64_t{0}})),
        frame(FrameType::request, more, 1, head(std::uint64_t{1} << 40, {}) + pattern(40'000))};
    for (const auto& stream : streams) CHECK(contains(failure_of(stream), "message too large"));

    // The length of a single frame.
    auto long_frame = frame(FrameType::request, 0, 1, head(0, {}));
    store_le(long_frame.data(), ~std::uint32_t{0});
    CHECK(contains(failure_of(long_frame), "frame too long"));
    store_le(long_frame.data(), static_cast<std::uint32_t>(max_frame_body + 1));
    CHECK(contains(failure_of(long_frame), "frame too long"));
}

#if !defined(TETHER_TEST_SANITIZED)
TEST_CASE("a length over the limit allocates nothing even where it could", "[F13]") {
    // What is mapped now and 256 MiB more: a gibibyte cannot be had any longer.
    ::rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
    std::size_t pages = 0;
    {
        auto* statm = std::fopen("/proc/self/statm", "r");
        REQUIRE(statm != nullptr);
        REQUIRE(std::fscanf(statm, "%zu", &pages) == 1);
        std::fclose(statm);
    }
    auto limited = before;
    limited.rlim_cur = pages * 4096 + (::rlim_t{256} << 20);
    REQUIRE(::setrlimit(RLIMIT_AS, &limited) == 0);
    const auto gibibyte = std::uint64_t{1} << 30;
    bool can_allocate = true;
    try {
        const tether::Bytes probe{gibibyte};
    } catch (const std::bad_alloc&) {
        can_allocate = false;
    }
    const auto refused =
        failure_of(frame(FrameType::request, more, 1, head(gibibyte, {gibibyte})), gibibyte - 1);
    std::string allowed = "nothing thrown";
    try {
        allowed = failure_of(frame(FrameType::request, more, 1, head(gibibyte, {})), gibibyte);
    } catch (const std::bad_alloc&) {
        allowed = "bad_alloc";
    }
    REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);
    CHECK_FALSE(can_allocate);
    CHECK(contains(refused, "message too large"));
    CHECK(allowed == "bad_alloc");
}
#endif

TEST_CASE("good, good, bad in one read: two deliveries, then the error", "[F14]") {
    const Message first{FrameType::response, 0, 1, "one"};
    const Message second{FrameType::response, 0, 2, "two", {"blob"}};
    const auto bytes = encoded(first) + encoded(second) + std::string(100, '\xee');

    SECTION("small ones") {
        Receiver receiver;
        CHECK_THROWS_AS(receiver.feed(bytes), FramingError);
        CHECK((receiver.messages == std::vector{first, second}));
    }
    SECTION("the second in place") {
        const Message large{FrameType::response, 0, 2, pattern(50'000)};
        const auto stream = encoded(first) + encoded(large) + std::string(100, '\xee');
        REQUIRE(stream.size() < FrameReader::buffer_size);
        Receiver receiver;
        CHECK_THROWS_AS(receiver.feed(stream), FramingError);
        CHECK((receiver.messages == std::vector{first, large}));
    }
    SECTION("the error tells where, and the bytes") {
        const auto text = failure_of(bytes);
        const auto offset = encoded(first).size() + encoded(second).size();
        CHECK(contains(text, "at byte " + std::to_string(offset) + ":"));
        CHECK(contains(text, "ee ee ee ee"));
    }
}

TEST_CASE("each malformation has its sentence", "[F15]") {
    const auto good_head = head(0, {});
    const auto opened = frame(FrameType::request, more, 1, head(10, {}) + "12345");
    std::vector<std::uint64_t> too_many(MessageHead::max_blobs + 1, 0);
    const std::vector<std::pair<std::string, std::string>> cases{
        {frame(static_cast<FrameType>(0), 0, 1, good_head), "unknown frame type"},
        {frame(static_cast<FrameType>(15), 0, 1, good_head), "unknown frame type"},
        {frame(static_cast<FrameType>(255), 0, 1, good_head), "unknown frame type"},
        {frame(FrameType::request, 2, 1, good_head), "unknown frame flags"},
        {frame(FrameType::request, 0x81, 1, good_head), "unknown frame flags"},
        {frame(FrameType::response, 4, 1, good_head), "unknown frame flags"},
        {opened + frame(FrameType::data, 2, 1, "12345"), "unknown frame flags"},
        {frame(FrameType::request, 0, 1, good_head.substr(1)), "frame too short"},
        {frame(FrameType::request, 0, 1, ""), "frame too short"},
        {frame(FrameType::request, 0, 1, head(1, {})), "size differs"},
        {frame(FrameType::request, 0, 1, good_head + "x"), "size differs"},
        {frame(FrameType::request, 0, 1, head(0, {2}) + "x"), "size differs"},
        {frame(FrameType::request, more, 1, head(3, {}) + "abc"), "size differs"},
        {frame(FrameType::request, more, 1, head(3, {}) + "abcd"), "size differs"},
        {frame(FrameType::request, 0, 1, head(100'000, {}) + pattern(50'000)), "size differs"},
        {frame(FrameType::request, more, 1, head(0, too_many)), "blob table too long"},
        {frame(FrameType::request, 0, 1, head(0, {1, 2, 3}).substr(0, 30)), "blob table too long"},
        {frame(FrameType::data, 0, 1, "x"), "data for an unknown message"},
        {frame(FrameType::data, 0, 1, ""), "empty data frame"},
        {opened + frame(FrameType::data, 0, 2, "67890"), "data for an unknown message"},
        {frame(FrameType::abort, 0, 1, ""), "abort of an unknown message"},
        {frame(FrameType::abort, 0, 1, "x"), "abort with a body"},
        {opened + opened, "opened twice"},
        {opened + frame(FrameType::data, 0, 1, "678"), "ends before its announced size"},
        {opened + frame(FrameType::data, 0, 1, "6789012"), "longer than its announced size"},
        {opened + frame(FrameType::data, more, 1, "6789012"), "longer than its announced size"},
        {opened + frame(FrameType::abort, 0, 1, "") + frame(FrameType::data, 0, 1, "67890"),
         "data for an unknown message"},
        {opened + frame(FrameType::data, 0, 1, "67890") + frame(FrameType::data, 0, 1, "x"),
         "data for an unknown message"}};
    for (const auto& [bytes, sentence] : cases) {
        const auto text = failure_of(bytes);
        INFO(text << " - expected: " << sentence);
        CHECK(contains(text, sentence));
        // The same, however it is cut.
        CHECK(read_all(bytes, [] { return std::size_t{1}; }).failed);
    }
}

TEST_CASE("a message that is whole must not be flagged to go on", "[F16]") {
    // Otherwise its receiver would wait for a frame that has nothing to carry.
    const auto bytes = frame(FrameType::request, more, 1, head(10, {}) + "12345") +
                       frame(FrameType::data, more, 1, "67890");
    CHECK(failure_of(bytes) != "no failure");
    CHECK(read_all(bytes, [] { return std::size_t{1}; }).failed);
}

TEST_CASE("the limit counts payload and blobs, to the byte") {
    const Message fits{FrameType::request, 0, 1, pattern(600), {pattern(300), pattern(124)}};
    Receiver exact{1024};
    exact.feed(encoded(fits));
    CHECK((exact.messages == std::vector{fits}));
    CHECK(contains(failure_of(encoded(fits), 1023), "message too large"));

    const Message large{FrameType::request, 0, 1, pattern(100'000), {pattern(60'000)}};
    Receiver large_exact{160'000};
    large_exact.feed(encoded(large));
    CHECK((large_exact.messages == std::vector{large}));
    CHECK(contains(failure_of(encoded(large), 159'999), "message too large"));

    exact.reader().set_max_message_bytes(10);
    CHECK_THROWS_AS(exact.feed(encoded(fits)), FramingError);
}

TEST_CASE("any number of blobs up to the limit") {
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{2}, std::size_t{100}, std::size_t{MessageHead::max_blobs}}) {
        Message message{FrameType::request, 0, 1, "payload"};
        for (std::size_t i = 0; i < count; ++i) message.blobs.push_back(pattern(i % 5));
        Receiver receiver;
        receiver.feed(encoded(message), 1000);
        CHECK((receiver.messages == std::vector{message}));
    }
}

TEST_CASE("received blobs are shared by their copies, small and large ones") {
    FrameReader reader{1 << 20};
    for (const std::size_t size : {10u, 500'000u}) {
        const auto bytes = encoded({FrameType::request, 0, 1, "", {pattern(size)}});
        std::optional<IncomingMessage> message;
        for (std::string_view rest = bytes; !rest.empty();) {
            std::size_t taken = 0;
            for (const auto space : reader.space()) {
                const auto part = rest.substr(0, space.size);
                if (!part.empty()) std::memcpy(space.data, part.data(), part.size());
                rest.remove_prefix(part.size());
                taken += part.size();
            }
            reader.received(taken);
            message = reader.next();
        }
        REQUIRE(message.has_value());
        const auto received = std::move(message->blobs[0]);
        const auto copy = received;
        CHECK((copy.view() == pattern(size)));
        CHECK(copy.data() == received.data());
    }
}

TEST_CASE("frames of several messages may alternate, and one may be given up") {
    const auto open = [](std::uint64_t number) {
        return frame(FrameType::request, more, number, head(6, {2}) + "abc");
    };
    Receiver receiver;
    receiver.feed(open(1) + open(2) + open(3));
    CHECK(receiver.messages.empty());
    CHECK_FALSE(receiver.reader().idle());
    receiver.feed(frame(FrameType::data, 0, 3, "def33"));
    receiver.feed(frame(FrameType::abort, 0, 2, ""));
    receiver.feed(encoded({FrameType::request, 0, 4, "small"}));
    receiver.feed(frame(FrameType::data, more, 1, "d") + frame(FrameType::data, 0, 1, "ef11"));
    CHECK(
        (receiver.messages == std::vector<Message>{{FrameType::request, 0, 3, "abcdef", {"33"}},
                                                   {FrameType::request, 0, 4, "small"},
                                                   {FrameType::request, 0, 1, "abcdef", {"11"}}}));
    CHECK(receiver.reader().idle());
    // The number of what was given up or delivered is free again.
    receiver.feed(open(2) + frame(FrameType::data, 0, 2, "def22"));
    CHECK(receiver.messages.size() == 4u);
}

TEST_CASE("the cost of a message is linear in its size", "[F19]") {
    struct Cost {
        std::size_t gathers, reads, copied;
    };
    const auto cost_of = [](std::size_t size) {
        const Message message{FrameType::request, 0, 1, pattern(size / 2), {pattern(size / 2)}};
        Parcel parcel{message};
        Receiver receiver{std::uint64_t{1} << 40};
        Cost cost{};
        while (!parcel.outgoing.done()) {
            // As a socket with a buffer of 200 KiB takes it.
            ConstBuffer buffers[16];
            const auto count = parcel.outgoing.gather(buffers);
            ++cost.gathers;
            std::size_t left = 200 * 1024;
            for (std::size_t i = 0; i < count && left != 0; ++i) {
                const auto part = std::min(left, buffers[i].size);
                receiver.feed({buffers[i].data, part});
                left -= part;
            }
            parcel.outgoing.consume(200 * 1024 - left);
        }
        REQUIRE(receiver.messages.size() == 1);
        REQUIRE((receiver.messages[0] == message));
        cost.reads = receiver.reads;
        cost.copied = receiver.buffered_bytes;
        return cost;
    };
    const auto small = cost_of(std::size_t{4} << 20);
    const auto large = cost_of(std::size_t{32} << 20);
    INFO(small.gathers << ' ' << small.reads << ' ' << small.copied);
    INFO(large.gathers << ' ' << large.reads << ' ' << large.copied);
    CHECK(large.gathers <= 9 * small.gathers);
    CHECK(large.reads <= 9 * small.reads);
    CHECK(large.copied <= 9 * small.copied);
    CHECK(large.copied <= std::size_t{32} * (64 << 10) + 4096);  // a buffer each mebibyte at most
}

TEST_CASE("damaged streams end the same way however they are cut", "[F15]") {
    std::string good;
    for (std::uint64_t number = 1; number <= 3; ++number) {
        good += encoded({FrameType::response, 1, number, pattern(20 * number), {pattern(7)}});
    }
    good += InThreeFrames{}.bytes();
    good += frame(FrameType::request, more, 9, head(6, {}) + "abc");
    good += frame(FrameType::abort, 0, 9, "");
    good += encoded({FrameType::response, 1, 10, pattern(40'000)});

    std::minstd_rand random{20240229};
    std::size_t failures = 0;
    for (int round = 0; round < 1500; ++round) {
        auto bytes = good;
        for (unsigned damage = 0; damage < 1 + random() % 3; ++damage) {
            bytes[random() % std::min<std::size_t>(bytes.size(), 700)] =
                static_cast<char>(random());
        }
        const auto whole = read_all(bytes, [&] { return bytes.size(); });
        const auto pieces = read_all(bytes, [&] { return 1 + random() % 600; });
        if (!(whole == pieces)) FAIL("round " << round);
        failures += whole.failed ? 1 : 0;
    }
    CHECK(failures > 100u);
    CHECK(failures < 1500u);
}

TEST_CASE("random bytes are refused or waited for, and never more than that", "[F15]") {
    std::minstd_rand random{7};
    for (int round = 0; round < 2000; ++round) {
        std::string bytes(random() % 300, '\0');
        for (auto& c : bytes) c = static_cast<char>(random() % (round % 2 == 0 ? 256 : 8));
        const auto whole = read_all(bytes, [&] { return bytes.size(); });
        const auto pieces = read_all(bytes, [&] { return 1 + random() % 9; });
        if (!(whole == pieces)) FAIL("round " << round);
    }
}

TEST_CASE("the oldest message that is still coming is known") {
    Receiver receiver;
    const auto& reader = receiver.reader();
    CHECK(reader.oldest_open(5) == 5u);
    receiver.feed(frame(FrameType::request, more, 3, head(6, {}) + "abc"));
    receiver.feed(frame(FrameType::request, more, 4, head(6, {}) + "abc"));
    CHECK(reader.oldest_open(5) == 3u);
    CHECK(reader.oldest_open(2) == 2u);
    receiver.feed(frame(FrameType::data, 0, 3, "def"));
    CHECK(reader.oldest_open(5) == 4u);
    receiver.feed(frame(FrameType::abort, 0, 4, ""));
    CHECK(reader.oldest_open(5) == 5u);
}

/// Takes number 1, discards 2, refuses all others.
struct OneTwo final : Doorkeeper {
    Verdict judge(const FrameHeader& header, std::uint64_t) override {
        ++judged;
        return header.number == 1   ? Verdict::take
               : header.number == 2 ? Verdict::discard
                                    : Verdict::refuse;
    }
    void broken_off(FrameType, std::uint64_t call) override { broken.push_back(call); }
    int judged = 0;
    std::vector<std::uint64_t> broken{};
};

TEST_CASE("the doorkeeper learns what is broken off", "[live]") {
    OneTwo door;
    Receiver receiver{std::uint64_t{1} << 20};
    receiver.reader().set_doorkeeper(door);
    receiver.feed(frame(FrameType::response, more, 1, head(9, {}, of_call(7)) + "x"));
    CHECK(receiver.reader().open_messages() == 1);
    receiver.feed(frame(FrameType::abort, 0, 1, {}));
    CHECK(door.broken == std::vector<std::uint64_t>{7});
    CHECK(receiver.reader().open_messages() == 0);
}

TEST_CASE("a side message has a number of its own", "[live]") {
    Receiver receiver;
    receiver.feed(encoded({FrameType::item, 0, SideNumbers::bit | 1U, "1", {}, of_call(1)}));
    CHECK(receiver.messages.size() == 1);
    CHECK_THROWS_AS(receiver.feed(encoded({FrameType::item, 0, 2, "1", {}, of_call(1)})),
                    FramingError);
}

TEST_CASE("what is not wanted has no storage, and what was not asked for ends the connection",
          "[F111]") {
    OneTwo door;
    Receiver receiver{std::uint64_t{1} << 30};
    receiver.reader().set_doorkeeper(door);
    const std::string large(300'000, 'x');
    const Message wanted{FrameType::response, 2, 1, large, {large}, {}};
    const Message unwanted{FrameType::response, 2, 2, large, {large, {}}, {}};
    const Message small{FrameType::response, 2, 3, "small", {}, {}};
    receiver.feed(encoded(wanted) + encoded(unwanted) + encoded(small) + encoded(unwanted), 1000);
    REQUIRE(receiver.messages.size() == 4);
    CHECK(receiver.messages[0] == wanted);
    CHECK(receiver.messages[1].number == 2);
    CHECK(receiver.messages[1].payload.empty());
    CHECK(receiver.messages[1].blobs.empty());
    CHECK(receiver.messages[2] == small);  // there is no more of it than has come
    CHECK(receiver.messages[3].number == 2);
    CHECK(receiver.reader().idle());
    CHECK(door.judged == 3);

    // Its size alone would be an allocation.
    const auto claim = frame(FrameType::response, more, 4, head(std::uint64_t{1} << 29, {}) + "x");
    CHECK_THROWS_AS(receiver.feed(claim), FramingError);
}

TEST_CASE("frames that begin no message are counted, since they may be very small", "[F111]") {
    Receiver receiver{std::uint64_t{1} << 20};
    std::string bytes = frame(FrameType::response, more, 1, head(100, {}) + "x");
    for (int i = 0; i < 98; ++i) bytes += frame(FrameType::data, more, 1, "x");
    receiver.feed(bytes);
    CHECK(receiver.reader().pieces() == 98);
    receiver.feed(frame(FrameType::data, 0, 1, "x"));
    CHECK(receiver.messages.size() == 1);
    CHECK(receiver.reader().pieces() == 99);
    receiver.feed(encoded(Message{FrameType::response, 2, 2, "small", {}, {}}));
    CHECK(receiver.reader().pieces() == 99);
}

TEST_CASE("a message that is discarded must still be as long as it says", "[F111]") {
    const auto begin = frame(FrameType::response, more, 2, head(100, {}) + std::string(60, 'x'));
    const auto discard = [&](const std::string& rest) {
        OneTwo door;
        Receiver receiver{std::uint64_t{1} << 20};
        receiver.reader().set_doorkeeper(door);
        receiver.feed(begin + rest);
        return receiver.messages.size();
    };
    CHECK(discard(frame(FrameType::data, 0, 2, std::string(40, 'x'))) == 1);
    CHECK(discard(frame(FrameType::abort, 0, 2, {})) == 0);
    CHECK_THROWS_AS(discard(frame(FrameType::data, 0, 2, std::string(39, 'x'))), FramingError);
    CHECK_THROWS_AS(discard(frame(FrameType::data, 0, 2, std::string(41, 'x'))), FramingError);
    CHECK_THROWS_AS(discard(frame(FrameType::data, more, 2, std::string(40, 'x'))), FramingError);
}

}  // namespace frame_reader_test
