// The worker's side of the connection, on a thread: this file speaks to it frame by frame.
#include <tether/detail/worker/guard.hpp>
#include <tether/detail/worker/service_coroutines.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"
#include "support/wire.hpp"

namespace service_test {

// Not in the unnamed namespace, where Clang warns of the functions that nobody calls.
struct Say {
    static constexpr std::string_view name = "say";
    using Response = std::string;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Say, text)

struct Fail {
    static constexpr std::string_view name = "fail";
    using Response = void;
    std::string how{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Fail, how)

/// Has no memory for what it is sent.
struct Glutton {
    static constexpr std::string_view name = "glutton";
    using Response = void;
    int size{};
};
inline void to_json(nlohmann::json& json, const Glutton& glutton) { json = glutton.size; }
inline void from_json(const nlohmann::json&, Glutton&) { throw std::bad_alloc{}; }

struct Fill {
    static constexpr std::string_view name = "fill";
    using Response = tether::Bytes;
    std::size_t size{};
    tether::Bytes ballast{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Fill, size, ballast)

namespace {

using namespace tether::detail;
using namespace tether_test;
using tether::CallContext;
using tether::errc;

/// Runs until it is asked to stop; tells whether it was.
struct Linger {
    static constexpr std::string_view name = "linger";
    using Response = bool;
};

struct Deadline {
    static constexpr std::string_view name = "deadline";
    using Response = std::int64_t;  // milliseconds left, -1: none
};

struct TestProtocol {
    static constexpr std::string_view name = "test.service";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Say, Fail, Fill, Linger, Deadline, Glutton>;
    using Codec = tether::JsonCodec;
};

class TestHandler final : public tether::Handler<TestProtocol> {
    std::string handle(const Say& request, CallContext<Say>&) override { return request.text; }
    void handle(const Fail& request, CallContext<Fail>&) override {
        if (request.how == "std") throw std::runtime_error("a plain one");
        if (request.how == "int") throw 42;
        if (request.how == "bad_alloc") throw std::bad_alloc{};
        if (request.how == "not UTF-8") throw std::runtime_error("\xff\xfe");
        if (request.how == "empty") throw std::runtime_error("");
        if (request.how == "handler") throw tether::HandlerError("code", "message");
        if (request.how == "long") throw std::runtime_error(std::string(100'000, 'e'));
    }
    tether::Bytes handle(const Fill& request, CallContext<Fill>&) override {
        tether::Bytes bytes{request.size};
        std::fill(bytes.begin(), bytes.end(), std::byte{'f'});
        return bytes;
    }
    bool handle(const Linger&, CallContext<Linger>& call) override {
        std::mutex mutex;
        std::condition_variable_any changed;
        std::unique_lock lock{mutex};
        changed.wait_for(lock, call.stop_token(), std::chrono::seconds{30}, [] { return false; });
        return call.stop_requested();
    }
    void handle(const Glutton&, CallContext<Glutton>&) override {}
    std::int64_t handle(const Deadline&, CallContext<Deadline>& call) override {
        if (!call.deadline()) return -1;
        return std::chrono::duration_cast<std::chrono::milliseconds>(
                   *call.deadline() - std::chrono::steady_clock::now())
            .count();
    }
};

/// A service that serves on a thread of its own.
class Fixture {
public:
    explicit Fixture(unsigned concurrency = 1, std::uint64_t limit = 1 << 20) {
        bootstrap_.concurrency = concurrency;
        bootstrap_.max_message_bytes = limit;
        auto control = make_socket_pair("test");
        auto connection = make_socket_pair("test");
        near_ = std::move(connection.first);
        guard_ = std::make_unique<Guard>(std::move(control.first), ControlReader{}, Descriptor{},
                                         Descriptor{}, bootstrap_);
        service_ = std::make_unique<Service>(
            std::make_unique<Channel>(std::move(connection.second), limit), *guard_, *handler_,
            bootstrap_);
        thread_ = std::thread{[this] { service_->run(); }};
    }
    Fixture(const Fixture&) = delete;
    Fixture& operator=(const Fixture&) = delete;
    ~Fixture() { end(); }

    void end() {
        ::shutdown(near_.get(), SHUT_RDWR);
        if (thread_.joinable()) thread_.join();
    }

    void send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ConstBuffer buffer{bytes.data(), bytes.size()};
            const auto sent = send_some(near_.get(), {&buffer, 1});
            if (sent > 0) {
                bytes.remove_prefix(static_cast<std::size_t>(sent));
            } else {
                PollItem item{near_.get(), POLLOUT, 0};
                if (wait_ready({&item, 1}, Clock::now() + std::chrono::seconds{30}) <= 0) return;
            }
        }
    }
    void ask(std::uint64_t number, std::uint16_t index, const nlohmann::json& request) {
        send(encoded({FrameType::request, index, number, request.dump()}));
    }

    /// Until there are `count` answers, or the connection ends.
    std::vector<Message>& answers(std::size_t count) {
        char bytes[65536];
        while (receiver_.messages.size() < count) {
            PollItem item = readable(near_.get());
            REQUIRE(wait_ready({&item, 1}, Clock::now() + std::chrono::seconds{30}) > 0);
            const auto size = ::recv(near_.get(), bytes, sizeof bytes, 0);
            if (size <= 0) break;
            receiver_.feed({bytes, static_cast<std::size_t>(size)});
        }
        return receiver_.messages;
    }
    Message answer(std::uint64_t number, std::uint16_t index, const nlohmann::json& request) {
        receiver_.messages.clear();
        ask(number, index, request);
        REQUIRE(answers(1).size() == 1);
        return receiver_.messages[0];
    }
    /// Whether the service has ended the connection by itself.
    bool ended() {
        thread_.join();
        return true;
    }

    Guard& guard() { return *guard_; }

private:
    Bootstrap bootstrap_{};
    Descriptor near_;
    std::unique_ptr<AnyHandler> handler_ = handler_type<TestHandler>().make();
    std::unique_ptr<Guard> guard_;
    std::unique_ptr<Service> service_;
    std::thread thread_;
    Receiver receiver_;
};

ErrorAnswer error_of(const Message& message) {
    REQUIRE(message.type == FrameType::error);
    return ErrorAnswer::decode(message.payload);
}

}  // namespace

TEST_CASE("a service answers under the number of the request") {
    Fixture fixture;
    const auto answer = fixture.answer(77, 0, {{"text", "hello"}});
    CHECK((answer == Message{FrameType::response, 0, 77, "\"hello\""}));
}

TEST_CASE("requests of one read are answered in order", "[F9]") {
    Fixture fixture;
    std::string bytes;
    for (std::uint64_t number = 1; number <= 500; ++number) {
        bytes += encoded({FrameType::request, 0, number,
                          nlohmann::json{{"text", std::to_string(number)}}.dump()});
    }
    fixture.send(bytes);
    const auto& answers = fixture.answers(500);
    REQUIRE(answers.size() == 500);
    for (std::uint64_t number = 1; number <= 500; ++number) {
        const auto& answer = answers[number - 1];
        if (answer.number != number || answer.payload != '"' + std::to_string(number) + '"') {
            FAIL("answer " << number);
        }
    }
}

TEST_CASE("whatever a handler throws is exactly one error answer", "[F17]") {
    Fixture fixture;
    const std::vector<std::pair<std::string, std::pair<std::string, std::string>>> cases{
        {"std", {"exception", "a plain one"}},
        {"int", {"unknown", "an exception that is no std::exception"}},
        {"bad_alloc", {"bad_alloc", std::bad_alloc{}.what()}},
        {"not UTF-8", {"exception", "\xff\xfe"}},
        {"empty", {"exception", ""}},
        {"handler", {"code", "message"}}};
    std::uint64_t number = 0;
    for (const auto& [how, expected] : cases) {
        const auto answer = fixture.answer(++number, 1, {{"how", how}});
        const auto error = error_of(answer);
        CHECK(answer.number == number);
        CHECK(error.cause == errc::handler);
        REQUIRE(error.causes.size() == 1);
        CHECK(error.causes[0].code == expected.first);
        CHECK(error.causes[0].message == expected.second);
        // Exactly one: the next answer is the next request's.
        const auto next = fixture.answer(++number, 0, {{"text", "next"}});
        CHECK(next.number == number);
        CHECK(next.type == FrameType::response);
    }
    const auto none = fixture.answer(++number, 1, {{"how", "not at all"}});
    CHECK((none == Message{FrameType::response, 1, number, ""}));
    const auto undecoded = error_of(fixture.answer(++number, 5, 7));
    CHECK(undecoded.cause == errc::handler);
    REQUIRE(undecoded.causes.size() == 1);
    CHECK(undecoded.causes[0].code == "bad_alloc");
}

TEST_CASE("what is no request of the protocol is that call's error", "[F16][F17]") {
    Fixture fixture;
    CHECK(error_of(fixture.answer(1, 99, "x")).cause == errc::codec);
    CHECK(error_of(fixture.answer(2, 0, "wrong")).cause == errc::codec);
    CHECK(contains(error_of(fixture.answer(3, 0, "wrong")).text, "\"say\""));
    CHECK(fixture.answer(4, 0, {{"text", "still serving"}}).type == FrameType::response);
}

TEST_CASE("a response over the limit is that call's error", "[F12]") {
    Fixture fixture{1, 100'000};
    const auto error = error_of(fixture.answer(1, 2, {{"size", 100'001}}));
    CHECK(error.cause == errc::message_too_large);
    CHECK(contains(error.text, "100001"));
    CHECK(contains(error.text, "100000"));
    const auto fits = fixture.answer(2, 2, {{"size", 100'000}});
    CHECK(fits.type == FrameType::response);
    REQUIRE(fits.blobs.size() == 1);
    CHECK((fits.blobs[0] == std::string(100'000, 'f')));
}

TEST_CASE("an error answer never breaks the limit either", "[F12][F17]") {
    Fixture fixture{1, 4096};
    const auto answer = fixture.answer(1, 1, {{"how", "long"}});
    const auto error = error_of(answer);
    CHECK(answer.payload.size() <= 4096u);
    CHECK(error.cause == errc::handler);
    CHECK(error.causes[0].message.substr(0, 10) == "eeeeeeeeee");
    CHECK(error_of(fixture.answer(2, 2, {{"size", 5000}})).cause == errc::message_too_large);
}

TEST_CASE("the deadline comes with the request") {
    Fixture fixture;
    CHECK(fixture.answer(1, 4, nullptr).type == FrameType::error);  // a payload, and none expected
    fixture.answers(0).clear();
    fixture.send(encoded({FrameType::request, 4, 2, ""}));
    fixture.send(encoded({FrameType::request, 4, 3, "", {}, {60'000'000}}));
    fixture.send(encoded({FrameType::request, 4, 4, "", {}, {~std::uint64_t{0}}}));
    const auto& answers = fixture.answers(3);
    REQUIRE(answers.size() == 3);
    CHECK(answers[0].payload == "-1");
    CHECK(std::stol(answers[1].payload) > 20'000);
    CHECK(std::stol(answers[1].payload) <= 60'000);
    CHECK(std::stol(answers[2].payload) > 60'000);
}

TEST_CASE("a cancelled call is told, also before it was begun", "[F40]") {
    Fixture fixture;
    fixture.guard().calls().cancel(1);
    fixture.send(encoded({FrameType::request, 3, 1, ""}));
    const auto& answers = fixture.answers(1);
    REQUIRE(answers.size() == 1);
    CHECK(error_of(answers[0]).cause == errc::cancelled);
}

TEST_CASE("answers do not wait for a slow handler behind them") {
    Fixture fixture;
    fixture.send(encoded({FrameType::request, 0, 1, R"({"text":"fast"})"}) +
                 encoded({FrameType::request, 3, 2, ""}));
    const auto& answers = fixture.answers(1);
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].number == 1u);
    fixture.guard().calls().cancel(2);
    fixture.guard().calls().fire();
    REQUIRE(fixture.answers(2).size() == 2);
    CHECK(answers[1].payload == "true");
}

TEST_CASE("several handlers run at once where they may") {
    Fixture fixture{3};
    fixture.send(encoded({FrameType::request, 3, 1, ""}));
    fixture.send(encoded({FrameType::request, 3, 2, ""}));
    fixture.send(encoded({FrameType::request, 0, 3, R"({"text":"third"})"}));
    const auto& answers = fixture.answers(1);
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].number == 3u);
    // A cancel may overtake its request, so it counts either way.
    fixture.guard().calls().cancel(1);
    fixture.guard().calls().cancel(2);
    fixture.guard().calls().fire();
    REQUIRE(fixture.answers(3).size() == 3);
}

TEST_CASE("large requests and answers in both directions at once", "[F20]") {
    Fixture fixture{1, 64 << 20};
    const std::string large(10 << 20, 'f');
    std::thread sender{[&] {
        for (std::uint64_t number = 1; number <= 4; ++number) {
            fixture.send(encoded(
                {FrameType::request, 2, number, R"({"size":10485760,"ballast":0})", {large}}));
        }
    }};
    const auto& answers = fixture.answers(4);
    sender.join();
    REQUIRE(answers.size() == 4);
    for (const auto& answer : answers) {
        CHECK(answer.type == FrameType::response);
        CHECK((answer.blobs == std::vector{large}));
    }
}

TEST_CASE("nonsense, and what only a worker sends, end the service", "[F15]") {
    Fixture fixture;
    SECTION("nonsense") { fixture.send(std::string(100, '\xee')); }
    SECTION("a response") { fixture.send(encoded({FrameType::response, 0, 1, "x"})); }
    SECTION("a second hello") { fixture.send(encoded({FrameType::hello, 0, 0, "x"})); }
    CHECK(fixture.ended());
}

TEST_CASE("nonsense ends a service of several threads, too", "[F15]") {
    Fixture fixture{3};
    SECTION("nonsense") { fixture.send(std::string(100, '\xee')); }
    SECTION("a response") { fixture.send(encoded({FrameType::response, 0, 1, "x"})); }
    SECTION("the end") {
        fixture.end();
        return;
    }
    CHECK(fixture.ended());
}

}  // namespace service_test
