#include <tether/detail/transport/channel.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/wire.hpp"

namespace channel_test {

namespace {

using namespace tether::detail;
using namespace tether_test;

using Received = Channel::Received;
using Withdrawn = Outbox::Withdrawn;

constexpr auto limit = std::uint64_t{1} << 30;

std::string noise(std::size_t size, unsigned seed = 1) {
    std::string text(size, '\0');
    std::minstd_rand random{seed};
    for (auto& c : text) c = static_cast<char>(random());
    return text;
}

TimePoint soon() { return Clock::now() + std::chrono::seconds{30}; }

/// One side of a connection, as its owner uses it: a mutex for sending, one thread that reads.
struct Side {
    explicit Side(Descriptor socket) : channel(std::move(socket), limit) {}

    void send(Parcel& parcel) {
        Channel::Lock lock{mutex};
        channel.send(parcel.outgoing, lock);
    }
    /// Sends it and waits until it has left.
    void send_wholly(Parcel& parcel) {
        Channel::Lock lock{mutex};
        channel.send(parcel.outgoing, lock);
        while ((!parcel.outgoing.done() || channel.has_output()) && !channel.broken()) {
            lock.unlock();
            PollItem item{channel.fd(), POLLOUT, 0};
            wait_ready({&item, 1}, soon());
            lock.lock();
            channel.flush(lock);
        }
    }
    bool flush() {
        Channel::Lock lock{mutex};
        channel.flush(lock);
        return !channel.has_output();
    }
    Withdrawn release(Parcel& parcel) {
        Channel::Lock lock{mutex};
        return channel.release(parcel.outgoing, lock);
    }
    /// Takes what is there.
    Received read() {
        for (;;) {
            const auto result = channel.receive(
                false, [&](const IncomingMessage& message) { got.push_back(copy_of(message)); });
            if (result != Received::more) return result;
        }
    }
    void read_until(std::size_t count) {
        while (got.size() < count) {
            PollItem item = readable(channel.fd());
            REQUIRE(wait_ready({&item, 1}, soon()) > 0);
            REQUIRE(read() != Received::closed);
        }
    }

    std::mutex mutex{};
    Channel channel;
    std::vector<Message> got{};
};

struct Connection {
    explicit Connection(DescriptorPair pair = make_socket_pair("test"))
        : near(std::move(pair.first)), far(std::move(pair.second)) {}
    Side near;
    Side far;

    /// Until both outboxes are empty and everything has been read.
    void carry(Side& from, Side& to, std::size_t count) {
        while (to.got.size() < count || from.channel.has_output()) {
            from.flush();
            to.read();
        }
    }
};

}  // namespace

TEST_CASE("a small message leaves at once, and arrives") {
    Connection connection;
    const Message message{FrameType::request, 1, 1, "hello", {"blob"}, {99}};
    Parcel parcel{message};
    CHECK(connection.far.read() == Received::nothing);
    connection.near.send(parcel);
    CHECK(parcel.outgoing.done());
    CHECK_FALSE(connection.near.channel.has_output());
    connection.far.read_until(1);
    CHECK((connection.far.got == std::vector{message}));
    CHECK(connection.near.release(parcel) == Withdrawn::sent);
}

TEST_CASE("a full socket is no error, and small messages do not need their senders any more") {
    Connection connection;
    std::vector<Message> sent;
    std::uint64_t number = 0;
    while (!connection.near.channel.blocked()) {
        sent.push_back({FrameType::request, 0, ++number, noise(10'000, 3)});
        Parcel parcel{sent.back()};
        connection.near.send(parcel);
        REQUIRE(parcel.outgoing.done());
        REQUIRE(number < 10'000);
    }
    for (int i = 0; i < 50; ++i) {
        sent.push_back({FrameType::request, 0, ++number, "small"});
        Parcel parcel{sent.back()};
        connection.near.send(parcel);
        REQUIRE(parcel.outgoing.done());
    }
    CHECK(connection.near.channel.has_output());
    connection.carry(connection.near, connection.far, sent.size());
    CHECK((connection.far.got == sent));
    CHECK_FALSE(connection.near.channel.blocked());
}

TEST_CASE("who gives up a large message in the middle can take its memory away", "[F40]") {
    Connection connection;
    const Message large{FrameType::request, 0, 1, noise(8 << 20), {noise(4 << 20)}};
    auto parcel = std::make_unique<Parcel>(large);
    connection.near.send(*parcel);
    REQUIRE(connection.near.channel.blocked());
    CHECK_FALSE(parcel->outgoing.done());
    CHECK(connection.near.release(*parcel) == Withdrawn::aborted);
    parcel.reset();
    Parcel next{{FrameType::request, 0, 2, "next"}};
    connection.near.send(next);
    connection.carry(connection.near, connection.far, 1);
    CHECK((connection.far.got == std::vector<Message>{{FrameType::request, 0, 2, "next"}}));
    CHECK(connection.far.channel.reader().idle());
}

TEST_CASE("a message that nothing of has left is given up without a trace") {
    Connection connection;
    Parcel first{{FrameType::request, 0, 1, noise(8 << 20)}};
    connection.near.send(first);
    REQUIRE(connection.near.channel.blocked());
    auto second = std::make_unique<Parcel>(Message{FrameType::request, 0, 2, noise(2 << 20)});
    connection.near.send(*second);
    CHECK(connection.near.release(*second) == Withdrawn::unsent);
    second.reset();
    connection.carry(connection.near, connection.far, 1);
    CHECK(connection.far.got[0].number == 1u);
    CHECK(connection.far.channel.reader().idle());
}

TEST_CASE("nothing waits for room any more once the message that found none is given up") {
    Connection connection;
    std::uint64_t number = 0;
    auto result = Withdrawn::sent;
    while (result == Withdrawn::sent) {  // each leaves whole or not at all
        REQUIRE(++number < 10'000);
        Parcel parcel{{FrameType::request, 0, number, noise(20'000)}};
        connection.near.send(parcel);
        CHECK(connection.near.channel.blocked() == !parcel.outgoing.done());
        result = connection.near.release(parcel);
    }
    CHECK(result == Withdrawn::unsent);
    CHECK_FALSE(connection.near.channel.has_output());
    CHECK_FALSE(connection.near.channel.blocked());
}

TEST_CASE("a frame through the smallest buffers", "[F10]") {
    auto pair = make_socket_pair("test");
    const int size = 1;
    for (const auto* end : {&pair.first, &pair.second}) {
        ::setsockopt(end->get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        ::setsockopt(end->get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
    Connection connection{std::move(pair)};
    const Message message{FrameType::request, 0, 1, noise(1 << 20), {noise(100), noise(1 << 20)}};
    Parcel parcel{message};
    connection.near.send(parcel);
    connection.carry(connection.near, connection.far, 1);
    CHECK((connection.far.got == std::vector{message}));
}

TEST_CASE("the end of the connection is seen on both sides, without a signal", "[F48]") {
    Connection connection;
    Parcel last{{FrameType::request, 0, 1, "last words"}};
    connection.near.send(last);
    connection.near.channel.shut_down();
    // What was sent before still arrives.
    CHECK(connection.far.read() == Received::drained);
    CHECK(connection.far.got.size() == 1u);
    CHECK(connection.far.read() == Received::closed);
    CHECK(connection.near.read() == Received::closed);

    Parcel lost{{FrameType::response, 0, 2, "lost"}};
    connection.far.send(lost);  // SIGPIPE would end this program
    CHECK(connection.far.channel.broken());
    CHECK_FALSE(connection.far.channel.has_output());
    CHECK_FALSE(connection.far.channel.blocked());
    Parcel large{{FrameType::response, 0, 3, noise(1 << 20)}};
    connection.far.send(large);
    connection.far.release(large);
    CHECK(connection.far.channel.broken());
}

TEST_CASE("shutting down wakes a blocked reader") {
    Connection connection;
    std::atomic<bool> closed{false};
    std::thread reader{[&] {
        const auto result = connection.near.channel.receive(true, [](const IncomingMessage&) {});
        closed = result == Received::closed;
    }};
    connection.near.channel.shut_down();
    reader.join();
    CHECK(closed);
}

TEST_CASE("good messages are delivered before the error of a bad one", "[F14]") {
    auto pair = make_socket_pair("test");
    const auto bytes = encoded({FrameType::response, 0, 1, "one"}) +
                       encoded({FrameType::response, 0, 2, "two"}) + std::string(64, '\x99');
    const ConstBuffer buffer{bytes.data(), bytes.size()};
    REQUIRE(send_some(pair.second.get(), {&buffer, 1}) == static_cast<::ssize_t>(bytes.size()));
    Side side{std::move(pair.first)};
    CHECK_THROWS_AS(side.read(), FramingError);
    CHECK(side.got.size() == 2u);
}

TEST_CASE("large traffic in both directions at once", "[F20]") {
    Connection connection;
    const auto talk = [](Side& side, unsigned seed) {
        const Message large{FrameType::request, 0, seed, noise(6 << 20, seed)};
        Parcel parcel{large};
        side.send(parcel);
        while (side.got.empty() || !parcel.outgoing.done()) {
            PollItem item{side.channel.fd(), POLLIN, 0};
            {
                const Channel::Lock lock{side.mutex};
                if (side.channel.has_output()) item.events |= POLLOUT;
            }
            if (wait_ready({&item, 1}, soon()) <= 0) return;
            side.flush();
            side.read();
        }
    };
    std::thread other{[&] { talk(connection.far, 2); }};
    talk(connection.near, 1);
    other.join();
    REQUIRE(connection.near.got.size() == 1);
    REQUIRE(connection.far.got.size() == 1);
    CHECK((connection.near.got[0].payload == noise(6 << 20, 2)));
    CHECK((connection.far.got[0].payload == noise(6 << 20, 1)));
}

TEST_CASE("many threads send at once, some of them give up", "[F54]") {
    constexpr unsigned senders = 8;
    constexpr std::uint64_t each = 60;
    Connection connection;
    std::mutex mutex;
    std::map<std::uint64_t, std::size_t> expected;  // number, size of its payload
    std::atomic<unsigned> running{senders};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < senders; ++t) {
        threads.emplace_back([&, t] {
            std::minstd_rand random{t + 1};
            for (std::uint64_t i = 1; i <= each; ++i) {
                const bool large = random() % 8 == 0;
                const auto size = large ? random() % (3 << 20) : random() % 20'000;
                const auto number = t * each + i;
                auto parcel = std::make_unique<Parcel>(
                    Message{FrameType::request, 0, number, std::string(size, 'x')});
                if (random() % 4 == 0) {
                    connection.near.send(*parcel);
                    const auto result = connection.near.release(*parcel);
                    parcel.reset();
                    const std::scoped_lock lock{mutex};
                    if (result == Withdrawn::sent) expected[number] = size;
                } else {
                    connection.near.send_wholly(*parcel);
                    parcel.reset();
                    const std::scoped_lock lock{mutex};
                    expected[number] = size;
                }
            }
            --running;
        });
    }
    while (running != 0 || connection.near.channel.has_output()) {
        connection.near.flush();
        connection.far.read();
    }
    for (auto& thread : threads) thread.join();
    while (!connection.near.flush()) connection.far.read();
    connection.far.read();

    std::map<std::uint64_t, std::size_t> got;
    for (const auto& message : connection.far.got) {
        if (got.contains(message.number)) FAIL("twice: " << message.number);
        got[message.number] = message.payload.size();
    }
    CHECK((got == expected));
    CHECK(connection.far.channel.reader().idle());
}

}  // namespace channel_test
