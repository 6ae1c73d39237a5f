#include <tether/detail/wire/outbox.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <malloc.h>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/wire.hpp"

namespace outbox_test {

namespace {

using namespace tether::detail;
using namespace tether_test;

using Withdrawn = Outbox::Withdrawn;

Message request(std::uint64_t number, std::size_t size) {
    // Noise whose period is no frame's size, begun elsewhere by each number.
    static const std::string noise = [] {
        std::string bytes(10'007, '\0');
        std::minstd_rand random{1};
        for (auto& c : bytes) c = static_cast<char>(random());
        return bytes;
    }();
    std::string payload = noise.substr(number * 101 % noise.size(), size);
    payload.reserve(size);
    while (payload.size() < size) payload.append(noise, 0, size - payload.size());
    return {FrameType::request, 1, number, std::move(payload)};
}

/// The other side of an outbox.
struct Wire {
    Outbox outbox{};
    Receiver receiver{std::uint64_t{1} << 30};

    /// One send of at most `most` bytes; returns how many there were.
    std::size_t send(std::size_t most) {
        std::array<ConstBuffer, 16> buffers;
        const auto count = outbox.gather(buffers);
        std::string bytes;
        for (std::size_t i = 0; i < count; ++i) bytes.append(buffers[i].data, buffers[i].size);
        bytes.resize(std::min(bytes.size(), most));
        outbox.consume(bytes.size());
        receiver.feed(bytes);
        return bytes.size();
    }

    void send_all() {
        while (!outbox.empty()) send(std::size_t(-1));
    }

    [[nodiscard]] std::vector<std::uint64_t> delivered() const {
        std::vector<std::uint64_t> numbers;
        for (const auto& message : receiver.messages) numbers.push_back(message.number);
        return numbers;
    }
};

using Numbers = std::vector<std::uint64_t>;
constexpr auto frame_size = max_frame_body + FrameHeader::size;

}  // namespace

TEST_CASE("an outbox that is never empty does not keep what it has sent", "[F84]") {
    Outbox outbox;
    std::array<ConstBuffer, 16> buffers;
    const std::string payload(8000, 'x');
    const auto push = [&] {
        OutgoingMessage message;
        message.payload() += payload;
        message.seal();
        message.open(FrameType::response, 0, 1);
        outbox.push_copy(message);
    };
    push();
    push();
    const auto before = ::mallinfo2().uordblks;
    for (int i = 0; i < 20'000; ++i) {
        push();
        REQUIRE(outbox.gather(buffers) != 0);
        outbox.consume(std::min<std::size_t>(buffers[0].size, 8060));
        REQUIRE_FALSE(outbox.empty());
    }
    CHECK(::mallinfo2().uordblks < before + 10'000'000);  // 160 MB went through
}

TEST_CASE("an outbox sends what was pushed, in order, small things together") {
    Wire wire;
    CHECK(wire.outbox.empty());
    Parcel first{request(1, 10)};
    Parcel second{request(2, 20)};
    Parcel third{request(3, 30)};
    wire.outbox.push_copy(first.outgoing);
    wire.outbox.push_copy(second.outgoing);
    wire.outbox.push(third.outgoing);
    CHECK_FALSE(wire.outbox.empty());
    CHECK(wire.send(std::size_t(-1)) == first.outgoing.wire_size() + second.outgoing.wire_size());
    CHECK_FALSE(third.outgoing.done());
    wire.send_all();
    CHECK(third.outgoing.done());
    CHECK(wire.delivered() == Numbers{1, 2, 3});
}

TEST_CASE("gathering nothing does no harm") {
    Wire wire;
    CHECK(wire.send(100) == 0);
    CHECK(wire.outbox.empty());
    Parcel parcel{request(1, 10)};
    wire.outbox.push(parcel.outgoing);
    wire.send(0);  // the socket takes nothing
    wire.send(0);
    wire.send_all();
    CHECK(wire.delivered() == Numbers{1});
}

TEST_CASE("a large message does not block small ones") {
    Wire wire;
    Parcel large{request(1, 4 * max_frame_body)};
    Parcel small{request(2, 10)};
    wire.outbox.push(large.outgoing);
    wire.send(frame_size);
    wire.outbox.push_copy(small.outgoing);
    wire.send(frame_size);
    CHECK(wire.delivered() == Numbers{2});
    wire.send_all();
    CHECK(wire.delivered() == Numbers{2, 1});
}

TEST_CASE("small messages do not block a large one") {
    Wire wire;
    Parcel large{request(1, 4 * max_frame_body)};
    wire.outbox.push(large.outgoing);
    wire.send(frame_size);
    // However many come meanwhile: with every second send the large one moves on.
    std::uint64_t number = 2;
    int sends = 0;
    while (!large.outgoing.done() && sends < 100) {
        Parcel small{request(number++, 10)};
        wire.outbox.push_copy(small.outgoing);
        wire.send(std::size_t(-1));
        ++sends;
    }
    CHECK(large.outgoing.done());
    CHECK(sends <= 12);
}

TEST_CASE("large messages take turns") {
    Wire wire;
    Parcel first{request(1, 3 * max_frame_body)};
    Parcel second{request(2, 3 * max_frame_body)};
    wire.outbox.push(first.outgoing);
    wire.outbox.push(second.outgoing);
    for (int i = 0; i < 4; ++i) wire.send(std::size_t(-1));
    CHECK_FALSE(first.outgoing.done());
    CHECK_FALSE(second.outgoing.done());
    CHECK(first.outgoing.opened());
    CHECK(second.outgoing.opened());
    wire.send_all();
    CHECK(wire.delivered() == Numbers{1, 2});
}

TEST_CASE("buffers that were gathered stay valid while more is queued") {
    Outbox outbox;
    Receiver receiver;
    std::uint64_t number = 0;
    for (int round = 0; round < 20; ++round) {
        Parcel first{request(++number, 100)};
        outbox.push_copy(first.outgoing);
        std::array<ConstBuffer, 16> buffers;
        const auto count = outbox.gather(buffers);
        CHECK(outbox.in_flight());
        REQUIRE(count == 1);
        // Larger than any capacity that the gathered string may have left.
        for (int i = 0; i < 50; ++i) {
            Parcel more{request(++number, 1000)};
            outbox.push_copy(more.outgoing);
        }
        receiver.feed({buffers[0].data, buffers[0].size});
        outbox.consume(buffers[0].size);
        CHECK_FALSE(outbox.in_flight());
        while (!outbox.empty()) {
            const auto rest = outbox.gather(buffers);
            for (std::size_t i = 0; i < rest; ++i) {
                receiver.feed({buffers[i].data, buffers[i].size});
            }
            outbox.consume(rest == 0 ? 0 : buffers[0].size);
        }
    }
    CHECK(receiver.messages.size() == number);
}

TEST_CASE("withdrawing before anything was sent leaves no trace") {
    Wire wire;
    auto parcel = std::make_unique<Parcel>(request(1, 100'000));
    Parcel other{request(2, 5)};
    wire.outbox.push(parcel->outgoing);
    wire.outbox.push_copy(other.outgoing);
    SECTION("while it is queued") {}
    SECTION("while it is chosen, and the socket took nothing") { wire.send(0); }
    CHECK(wire.outbox.withdraw(parcel->outgoing) == Withdrawn::unsent);
    parcel.reset();
    wire.send_all();
    CHECK(wire.delivered() == Numbers{2});
    CHECK(wire.receiver.reader().idle());
}

TEST_CASE("copies that wait can be withdrawn, each once, and the others leave in order", "[F112]") {
    Wire wire;
    std::vector<std::unique_ptr<Parcel>> parcels;
    const auto push = [&](std::uint64_t number) {
        parcels.push_back(std::make_unique<Parcel>(request(number, 10'000)));
        wire.outbox.push_copy(parcels.back()->outgoing);
    };
    for (std::uint64_t number = 1; number <= 40; ++number) push(number);
    REQUIRE(wire.send(1) == 1);  // the socket is full now
    for (std::uint64_t number = 41; number <= 100; ++number) push(number);
    CHECK_FALSE(wire.outbox.withdraw_copy(1));  // a part of it has left
    CHECK_FALSE(wire.outbox.withdraw_copy(1000));
    Numbers left;
    for (std::uint64_t number = 1; number <= 100; ++number) {
        const bool waits = number % 3 != 0 || !wire.outbox.withdraw_copy(number);
        if (waits) left.push_back(number);
        CHECK((waits || !wire.outbox.withdraw_copy(number)));
    }
    CHECK(left.size() < 80);
    wire.send_all();
    CHECK(wire.delivered() == left);
}

TEST_CASE("copies that were withdrawn keep no memory", "[F112]") {
    Outbox outbox;
    std::array<ConstBuffer, 16> buffers;
    Parcel stays{request(1, 100)};
    outbox.push_copy(stays.outgoing);
    REQUIRE(outbox.gather(buffers) == 1);  // being sent all the time
    const auto before = ::mallinfo2().uordblks;
    for (std::uint64_t number = 2; number <= 20'000; ++number) {
        OutgoingMessage message;
        message.payload().append(8000, 'x');
        message.seal();
        message.open(FrameType::request, 0, number);
        outbox.push_copy(message);
    }
    for (std::uint64_t number = 2; number <= 20'000; ++number) {
        REQUIRE(outbox.withdraw_copy(number));
    }
    CHECK(::mallinfo2().uordblks < before + 1'000'000);
    outbox.consume(buffers[0].size);
    CHECK(outbox.empty());
}

TEST_CASE("withdrawing in the last frame finishes it from a copy") {
    Wire wire;
    auto parcel = std::make_unique<Parcel>(request(1, 100'000));
    wire.outbox.push(parcel->outgoing);
    wire.send(50'000);
    CHECK(wire.outbox.withdraw(parcel->outgoing) == Withdrawn::sent);
    parcel.reset();
    wire.send_all();
    REQUIRE(wire.receiver.messages.size() == 1);
    CHECK((wire.receiver.messages[0] == request(1, 100'000)));
}

TEST_CASE("withdrawing in an earlier frame aborts the message") {
    Wire wire;
    auto parcel = std::make_unique<Parcel>(request(1, 3 * max_frame_body));
    wire.outbox.push(parcel->outgoing);
    SECTION("in the middle of the first frame") { wire.send(1000); }
    SECTION("in its header") { wire.send(7); }
    SECTION("between two frames") { wire.send(frame_size); }
    SECTION("between two frames, chosen for the next") {
        wire.send(frame_size);
        wire.send(0);
    }
    SECTION("in the middle of the second frame") {
        wire.send(frame_size);
        wire.send(1000);
    }
    CHECK(wire.outbox.withdraw(parcel->outgoing) == Withdrawn::aborted);
    parcel.reset();
    CHECK_FALSE(wire.outbox.empty());
    Parcel next{request(2, 10)};
    wire.outbox.push_copy(next.outgoing);
    wire.send_all();
    CHECK(wire.delivered() == Numbers{2});
    CHECK(wire.receiver.reader().idle());
}

TEST_CASE("a frame that was begun is finished before another message's") {
    // A stream waits for its turn, small bytes have just been sent (so it is the stream's turn),
    // and a third message was queued before: it is in the middle of a frame when it is taken away.
    Wire wire;
    Parcel stream{request(1, 3 * max_frame_body)};
    wire.outbox.push(stream.outgoing);
    wire.send(frame_size);
    auto third = std::make_unique<Parcel>(request(3, 15'000));
    {
        Parcel small{request(2, 10)};
        wire.outbox.push_copy(small.outgoing);
    }
    wire.outbox.push(third->outgoing);
    wire.send(std::size_t(-1));  // the small one
    wire.send(5000);             // a part of the third
    REQUIRE(third->outgoing.opened());

    SECTION("withdrawn") { CHECK(wire.outbox.withdraw(third->outgoing) == Withdrawn::sent); }
    SECTION("detached") { wire.outbox.detach(third->outgoing); }
    third.reset();
    CHECK_NOTHROW(wire.send_all());
    auto numbers = wire.delivered();
    std::ranges::sort(numbers);
    CHECK(numbers == Numbers{1, 2, 3});
}

TEST_CASE("the rest of a frame stays first when another message is given up, too") {
    Wire wire;
    auto stream = std::make_unique<Parcel>(request(1, 3 * max_frame_body));
    wire.outbox.push(stream->outgoing);
    wire.send(frame_size);
    auto second = std::make_unique<Parcel>(request(2, 15'000));
    wire.outbox.push(second->outgoing);
    wire.send(5000);
    REQUIRE(second->outgoing.opened());
    // The socket takes nothing while both callers give up.
    CHECK(wire.outbox.withdraw(second->outgoing) == Withdrawn::sent);
    second.reset();
    CHECK(wire.outbox.withdraw(stream->outgoing) == Withdrawn::aborted);
    stream.reset();
    CHECK_NOTHROW(wire.send_all());
    CHECK(wire.delivered() == Numbers{2});
    CHECK(wire.receiver.reader().idle());
}

TEST_CASE("what is queued while nothing is sent stays queued") {
    Outbox outbox;
    std::array<ConstBuffer, 16> buffers;
    CHECK(outbox.gather(buffers) == 0u);
    Parcel parcel{request(1, 10)};
    outbox.push(parcel.outgoing);
    outbox.consume(0);
    CHECK_FALSE(outbox.empty());
    CHECK(outbox.gather(buffers) != 0u);
}

TEST_CASE("a small message can be detached at any point") {
    const auto size = request(1, 200).payload.size() + OutgoingMessage::prefix;
    for (std::size_t sent = 0; sent < size; ++sent) {
        Wire wire;
        auto parcel = std::make_unique<Parcel>(request(1, 200));
        wire.outbox.push(parcel->outgoing);
        if (sent % 2 == 0) wire.send(0);
        for (auto left = sent; left != 0;) left -= wire.send(std::min<std::size_t>(left, 50));
        wire.outbox.detach(parcel->outgoing);
        parcel.reset();
        Parcel next{request(2, 10)};
        wire.outbox.push_copy(next.outgoing);
        wire.send_all();
        if (wire.delivered() != Numbers{1, 2}) FAIL("detached after " << sent);
        REQUIRE((wire.receiver.messages[0] == request(1, 200)));
    }
}

TEST_CASE("detaching a message that waits in the queue keeps its place") {
    Wire wire;
    Parcel first{request(1, 20)};
    auto second = std::make_unique<Parcel>(request(2, 20));
    Parcel third{request(3, 20)};
    wire.outbox.push(first.outgoing);
    wire.outbox.push(second->outgoing);
    wire.outbox.push(third.outgoing);
    wire.outbox.detach(second->outgoing);
    second.reset();
    wire.send_all();
    CHECK(wire.delivered() == Numbers{1, 2, 3});
}

TEST_CASE("random traffic arrives exactly once, whatever is withdrawn or detached") {
    // Under the address sanitizer this also shows that nothing points to a dead message.
    const auto seed = GENERATE(range(0U, tether_test::instrumented ? 8U : 40U));
    std::minstd_rand random{seed + 1};
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };

    struct Live {
        std::unique_ptr<Parcel> parcel;
        bool one_frame;
    };
    Wire wire;
    std::map<std::uint64_t, Live> live;
    std::map<std::uint64_t, Message> expected;
    std::uint64_t last = 0;

    const auto push = [&] {
        const bool large = chance(20);
        auto message = request(++last, large ? random() % (3 * max_frame_body) : random() % 3000);
        if (chance(40)) message.blobs.push_back(request(last + 1000, random() % 5000).payload);
        if (large && chance(50)) {
            message.blobs.push_back(request(last + 2000, random() % max_frame_body).payload);
        }
        auto parcel = std::make_unique<Parcel>(message);
        const bool one_frame = parcel->outgoing.last_frame();
        expected[last] = std::move(message);
        if (parcel->outgoing.wire_size() <= Outbox::copy_limit && chance(50)) {
            wire.outbox.push_copy(parcel->outgoing);
            return;
        }
        wire.outbox.push(parcel->outgoing);
        live[last] = {std::move(parcel), one_frame};
    };
    const auto pick = [&]() -> std::uint64_t {
        std::erase_if(live, [](const auto& entry) { return entry.second.parcel->outgoing.done(); });
        if (live.empty()) return 0;
        return std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()))->first;
    };

    for (int step = 0; step < 120; ++step) {
        if (chance(30)) push();
        if (chance(12)) {
            if (const auto number = pick(); number != 0) {
                const auto result = wire.outbox.withdraw(live[number].parcel->outgoing);
                if (result != Withdrawn::sent) expected.erase(number);
                live.erase(number);
            }
        }
        if (chance(12)) {
            const auto number = pick();
            if (number != 0 && live[number].one_frame) {
                wire.outbox.detach(live[number].parcel->outgoing);
                live.erase(number);
            }
        }
        // A send, and what other threads push meanwhile.
        if (wire.outbox.empty()) continue;
        std::array<ConstBuffer, 16> buffers;
        const auto count = wire.outbox.gather(buffers);
        if (chance(30)) push();
        std::string bytes;
        for (std::size_t i = 0; i < count; ++i) bytes.append(buffers[i].data, buffers[i].size);
        bytes.resize(chance(40) ? random() % (bytes.size() + 1) : bytes.size());
        wire.outbox.consume(bytes.size());
        REQUIRE_NOTHROW(wire.receiver.feed(bytes));
    }
    REQUIRE_NOTHROW(wire.send_all());
    CHECK(wire.receiver.reader().idle());

    CHECK(wire.receiver.messages.size() == expected.size());
    for (const auto& message : wire.receiver.messages) {
        const auto found = expected.find(message.number);
        if (found == expected.end()) FAIL("not expected: " << message.number);
        if (!(found->second == message)) FAIL("damaged: " << message.number);
        expected.erase(found);
    }
    CHECK(expected.empty());
}

}  // namespace outbox_test
