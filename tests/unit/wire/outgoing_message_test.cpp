#include <tether/detail/wire/outgoing_message.hpp>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/wire.hpp"

namespace outgoing_message_test {

namespace {

using namespace tether::detail;
using namespace tether_test;

constexpr auto more = FrameHeader::more;

std::string pattern(std::size_t size, unsigned seed = 1) {
    std::string text(size, '\0');
    std::minstd_rand random{seed};
    for (auto& c : text) c = static_cast<char>(random());
    return text;
}

}  // namespace

TEST_CASE("large messages are cut into frames of at most a mebibyte") {
    const Message message{FrameType::response,
                          4,
                          5,
                          pattern(1'500'000),
                          {pattern(700'000), "", pattern(2'000'000), pattern(1)}};
    const auto bytes = encoded(message);
    std::size_t frames = 0;
    for (std::size_t at = 0; at < bytes.size();) {
        const auto header = FrameHeader::load(bytes.data() + at);
        CHECK(header.body <= max_frame_body);
        CHECK(header.number == 5u);
        CHECK(header.type == (at == 0 ? FrameType::response : FrameType::data));
        at += FrameHeader::size + header.body;
        CHECK((header.flags == more) == (at != bytes.size()));
        ++frames;
    }
    CHECK(frames == 5u);
    Receiver receiver;
    receiver.feed(bytes, 12'345);
    CHECK((receiver.messages == std::vector{message}));
}

TEST_CASE("an answer says once that its handler has logged", "[F110]") {
    for (const std::size_t size : {10U, 100'000U, 3'000'000U}) {
        Message message{FrameType::response, 4, 5, pattern(size), {pattern(11)}};
        message.logged = true;
        Receiver receiver;
        receiver.feed(encoded(message), 12'345);
        CHECK((receiver.messages == std::vector{message}));
        message.type = FrameType::error;
        receiver.feed(encoded(message));
        CHECK((receiver.messages.back() == message));
    }
}

TEST_CASE("an outgoing message can be sent again, and its storage be used again") {
    Message message{FrameType::request, 3, 8, pattern(30), {pattern(11)}};
    Parcel parcel{message};
    CHECK_FALSE(parcel.outgoing.opened());
    CHECK(parcel.outgoing.sealed_payload() == message.payload);
    parcel.outgoing.consume(20);
    CHECK(parcel.outgoing.opened());
    CHECK_FALSE(parcel.outgoing.done());
    CHECK_FALSE(parcel.outgoing.between_frames());

    message.number = 9;
    message.timeouts = {10, 20};
    parcel.outgoing.open(message.type, message.index, message.number, message.timeouts);
    CHECK(parcel.outgoing.rest_of_frame() == encoded(message));
    CHECK(parcel.outgoing.wire_size() == encoded(message).size());

    parcel.outgoing.mark_done();
    CHECK(parcel.outgoing.done());
    CHECK(parcel.outgoing.rest_of_frame().empty());

    parcel.outgoing.reset();
    parcel.outgoing.payload() += "again";
    CHECK(parcel.outgoing.content_size() == 5u);
    parcel.outgoing.seal();
    parcel.outgoing.open(FrameType::response, 0, 1);
    CHECK(parcel.outgoing.rest_of_frame() == encoded({FrameType::response, 0, 1, "again"}));
}

TEST_CASE("an outgoing message keeps its storage only as long as that is small") {
    OutgoingMessage message;
    message.payload().append(100'000, 'x');
    const auto small = message.payload().capacity();
    REQUIRE(small <= OutgoingMessage::kept_storage);
    message.reset();
    CHECK(message.payload().capacity() == small);

    message.payload().append(OutgoingMessage::kept_storage + 1, 'x');
    REQUIRE(message.payload().capacity() > OutgoingMessage::kept_storage);
    message.reset();
    CHECK(message.payload().capacity() <= OutgoingMessage::kept_storage);
    CHECK(message.content_size() == 0u);
}

TEST_CASE("gathering in small steps gives the same bytes") {
    const Message message{
        FrameType::request, 3, 8, pattern(1'100'000), {"", pattern(5), "", pattern(1'200'000), ""}};
    const auto expected = encoded(message);
    std::minstd_rand random{11};
    for (const std::size_t most_buffers : {std::size_t{1}, std::size_t{2}, std::size_t{16}}) {
        Parcel parcel{message};
        std::string got;
        while (!parcel.outgoing.done()) {
            std::vector<ConstBuffer> buffers(most_buffers);
            const auto count = parcel.outgoing.gather(buffers);
            REQUIRE(count != 0);
            std::size_t left = 1 + random() % 300'000;
            std::size_t taken = 0;
            for (std::size_t i = 0; i < count; ++i) {
                REQUIRE(buffers[i].size != 0);
                const auto size = std::min(left, buffers[i].size);
                got.append(buffers[i].data, size);
                left -= size;
                taken += size;
            }
            parcel.outgoing.consume(taken);
        }
        CHECK((got == expected));
    }
}

}  // namespace outgoing_message_test
