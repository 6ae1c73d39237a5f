#pragma once

// What tests of a connection share: its owner, its calls, and the worker at its other end.

#include <tether/detail/parent/connection_reading.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>

#include "support/catch.hpp"
#include "support/wire.hpp"

namespace connection_test {

using namespace tether::detail;
using tether::errc;
using tether_test::encoded;

inline const ProtocolId protocol{"test", 1, 2};

/// Notes what it is told, and does nothing about it.
class Owner final : public ConnectionOwner {
public:
    void watch_input() override {
        ++input_watches;
        if (watched_fd == -1) return;
        was_blocking_when_watched = (::fcntl(watched_fd, F_GETFL) & O_NONBLOCK) == 0;
        set_non_blocking(watched_fd, "watched");  // as a reactor does
    }
    void watch_room() override { ++room_watches; }
    void unwatch_connection() override { ++unwatched; }
    void watch_deadline(TimePoint when) override { deadline = when; }
    [[nodiscard]] bool on_background_thread() const noexcept override { return in_background; }
    void let_others_run() override { ++flushes; }
    bool on_given_up(std::uint64_t number, errc) override {
        given_up.push_back(number);
        return true;
    }
    void on_error_answer(const ErrorAnswer& answer) override { causes.push_back(answer.cause); }
    std::shared_ptr<OutputSource> output() override { return nullptr; }
    std::shared_ptr<Hub> hub() override { return the_hub; }
    void on_drained() override { ++drained; }
    void on_lost(const std::string& text) override { lost.push_back(text); }
    void on_violation(errc, const std::string& text) override { violations.push_back(text); }

    bool in_background = false;
    int flushes = 0;  // that are due
    int input_watches = 0;
    int room_watches = 0;
    int unwatched = 0;
    int watched_fd = -1;
    bool was_blocking_when_watched = false;
    int drained = 0;
    TimePoint deadline{};
    std::vector<std::uint64_t> given_up{};
    std::vector<errc> causes{};
    std::vector<std::string> lost{};
    std::vector<std::string> violations{};
    std::shared_ptr<Hub> the_hub{};  // of a live protocol
};

/// An async call.
class Waiting final : public Call {
public:
    explicit Waiting(tether::Duration run_timeout = tether::no_timeout) {
        info = {"ask", 0, false, Clock::now(), TimePoint::max(), run_timeout};
        message.seal();
    }
    explicit Waiting(const std::string& payload) {
        info = {"ask", 0, false, Clock::now(), TimePoint::max(), tether::no_timeout};
        message.payload() += payload;
        message.seal();
    }
    tether::detail::Waiter on_settled() noexcept override { return nullptr; }
    [[nodiscard]] bool is_async() const noexcept override { return true; }
    [[nodiscard]] std::string error() const { return outcome.error ? outcome.error->what() : ""; }
};

class Fixture {
public:
    explicit Fixture(tether::Duration spin = {}) {
        auto pair = make_socket_pair("test");
        worker_ = std::move(pair.second);
        connection_ =
            std::make_shared<Connection>(owner, std::move(pair.first), 1 << 20,
                                         Connection::Identity{"x", 7, protocol, {}}, spin);
        std::string greeting;
        Greeting{{}, protocol}.append_to(greeting);
        say({FrameType::welcome, 0, 0, greeting});
        connection_->read_available();
    }

    Connection* operator->() noexcept { return connection_.get(); }

    std::shared_ptr<Connection> shared() noexcept { return connection_; }

    void say(const tether_test::Message& message) { say(encoded(message)); }
    void say(const std::string& bytes) {
        const ConstBuffer buffer{bytes.data(), bytes.size()};
        REQUIRE(send_some(worker_.get(), {&buffer, 1}) ==
                static_cast<std::ptrdiff_t>(bytes.size()));
    }
    void answer(const Call& call, FrameType type = FrameType::response, std::string payload = {}) {
        say({type, 0, call.number, std::move(payload)});
        connection_->read_available();
    }
    /// How many bytes have arrived at the worker since the last time.
    std::ptrdiff_t heard() {
        std::array<char, 65536> bytes{};
        return std::max<std::ptrdiff_t>(
            ::recv(worker_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT), 0);
    }
    void hang_up() {
        worker_.reset();
        connection_->read_available();
    }

    Owner owner{};

private:
    Descriptor worker_;
    std::shared_ptr<Connection> connection_;
};

}  // namespace connection_test
