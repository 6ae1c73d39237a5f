#include <tether/detail/transport/control_link.hpp>

#include <array>
#include <string>
#include <utility>

#include <sys/socket.h>

#include "support/catch.hpp"

namespace control_link_test {

using namespace tether::detail;

TEST_CASE("what is said again anyway does not wait behind what a stopped worker does not read",
          "[F41]") {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    const Descriptor worker{ends[1]};
    ControlLink link{Descriptor{ends[0]}};
    const std::string probe(13, 'p');
    bool sent = true;
    for (int i = 0; sent && i < 1'000'000; ++i) sent = link.send_unless_behind(probe);
    REQUIRE_FALSE(sent);  // the socket is full, and some of the last one waits
    for (int i = 0; i < 1000; ++i) CHECK(link.send_unless_behind(probe));
    CHECK_FALSE(link.send("stop"));

    std::string received;
    std::array<char, 4096> bytes;
    const auto read_all = [&] {
        for (;;) {
            const MutableBuffer space{bytes.data(), bytes.size()};
            const auto size = receive_some(worker.get(), {&space, 1}, Blocking::no);
            if (size <= 0) return;
            received.append(bytes.data(), static_cast<std::size_t>(size));
        }
    };
    do read_all();
    while (!link.send({}));
    read_all();
    CHECK(received.ends_with(probe + "stop"));
    CHECK((received.size() - 4) % probe.size() == 0);
    CHECK(link.send_unless_behind(probe));
    read_all();
    CHECK(received.ends_with("stop" + probe));
}

TEST_CASE("a control channel that is flooded is read in slices, and then no more", "[F111]") {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    const Descriptor worker{ends[1]};
    ControlLink link{Descriptor{ends[0]}};
    const auto record = record_about(7, ControlType::running);
    const auto say = [&](int count) {
        for (int i = 0; i < count; ++i) {
            const ConstBuffer buffer{record.data(), record.size()};
            if (send_some(worker.get(), {&buffer, 1}) < 0) return;
        }
    };
    say(100);
    auto received = link.receive(0);
    CHECK(received.heard);
    CHECK(received.running.size() == 100);
    CHECK_FALSE(received.failure);
    say(2000);
    received = link.receive(2000);  // there were that many calls to tell of
    CHECK_FALSE(received.failure);
    for (int i = 0; i < 100 && !received.failure; ++i) {
        say(10'000);
        received = link.receive(2000);
        CHECK(received.running.size() < 10'000);
    }
    REQUIRE(received.failure);
    CHECK(received.failure->cause == tether::errc::framing);
    CHECK_FALSE(received.open);
}

TEST_CASE("a process that writes its core is known") {
    CHECK(ChildProcess::tells_core_dump("Name:\tx\nCoreDumping:\t1\nTHP_enabled:\t1\n"));
    CHECK_FALSE(ChildProcess::tells_core_dump("Name:\tx\nCoreDumping:\t0\nTHP_enabled:\t1\n"));
    CHECK_FALSE(ChildProcess::tells_core_dump(""));
}

}  // namespace control_link_test
