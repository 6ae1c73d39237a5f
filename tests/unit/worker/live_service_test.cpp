// The worker's side of calls that are more than a request and an answer: this file speaks to it
// message by message, and not always as a parent may.
#include <tether/detail/worker/guard.hpp>
#include <tether/detail/worker/service_coroutines.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"
#include "support/wire.hpp"

namespace live_service_test {

using namespace tether::detail;
using namespace tether_test;
using tether::CallContext;
using tether::errc;

/// Answers with how many items came.
struct Collect {
    static constexpr std::string_view name = "collect";
    using Upload = std::string;
    using Response = std::int64_t;
};

/// Sends `count` items of `size` bytes.
struct Pour {
    static constexpr std::string_view name = "pour";
    using Item = std::string;
    using Progress = std::int64_t;
    using Response = void;
    std::int64_t count{};
    std::size_t size{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Pour, count, size)

struct Question {
    static constexpr std::string_view name = "question";
    using Response = std::string;
};

/// Asks `times`, each time for `wait_ms`, until there is an answer; answers with that, or how often
/// there was none.
struct Wonder {
    static constexpr std::string_view name = "wonder";
    using Response = std::string;
    std::int64_t times = 1;
    std::int64_t wait_ms = 30'000;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Wonder, times, wait_ms)

/// Reports, and asks.
struct Mutter {
    static constexpr std::string_view name = "mutter";
    using Progress = std::int64_t;
    using Response = void;
};

struct News {
    static constexpr std::string_view name = "news";
};

struct TestProtocol {
    static constexpr std::string_view name = "test.live_service";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Collect, Pour, Wonder, Mutter>;
    using Callbacks = tether::Messages<Question>;
    using Notifications = tether::Messages<News>;
    using Codec = tether::JsonCodec;
};

class TestHandler final : public tether::Handler<TestProtocol> {
    std::int64_t handle(const Collect&, CallContext<Collect>& call) override {
        std::int64_t count = 0;
        while (call.next()) ++count;
        return count;
    }
    void handle(const Pour& request, CallContext<Pour>& call) override {
        for (std::int64_t i = 0; i < request.count; ++i) {
            call.progress(i);
            call.send(std::string(request.size, 'x'));
        }
    }
    std::string handle(const Wonder& request, CallContext<Wonder>& call) override {
        for (std::int64_t i = 0; i < request.times; ++i) {
            try {
                return call.ask(Question{}, {std::chrono::milliseconds{request.wait_ms}});
            } catch (const tether::CallError& error) {
                if (error.cause() != errc::timeout) throw;
            }
        }
        return std::to_string(request.times);
    }
    void handle(const Mutter&, CallContext<Mutter>& call) override {
        call.progress(1);
        call.notify(News{});
        call.ask(Question{});
    }
};

/// A service that serves on a thread of its own.
class Fixture {
public:
    Fixture() {
        auto control = make_socket_pair("test");
        auto connection = make_socket_pair("test");
        near_ = std::move(connection.first);
        guard_ = std::make_unique<Guard>(std::move(control.first), ControlReader{}, Descriptor{},
                                         Descriptor{}, bootstrap());
        service_ = std::make_unique<Service>(
            std::make_unique<Channel>(std::move(connection.second), bootstrap().max_message_bytes),
            *guard_, *handler_, bootstrap());
        thread_ = std::thread{[this] { service_->run(); }};
    }
    Fixture(const Fixture&) = delete;
    Fixture& operator=(const Fixture&) = delete;
    ~Fixture() {
        ::shutdown(near_.get(), SHUT_RDWR);
        if (thread_.joinable()) thread_.join();
    }

    void say(const std::string& whole) {
        for (std::string_view bytes = whole; !bytes.empty();) {
            const ConstBuffer buffer{bytes.data(), bytes.size()};
            const auto sent = send_some(near_.get(), {&buffer, 1});
            if (sent > 0) {
                bytes.remove_prefix(static_cast<std::size_t>(sent));
                continue;
            }
            PollItem item = writable(near_.get());
            if (!would_block() || wait_ready({&item, 1}, soon()) <= 0) return;
        }
    }
    void request(std::uint16_t index, std::uint64_t number, const nlohmann::json& request = {}) {
        say(encoded({FrameType::request, index, number, request.is_null() ? "" : request.dump()}));
    }
    void send(FrameType type, std::uint64_t call, std::string payload = {}) {
        say(encoded({type, 0, side_.next(), std::move(payload), {}, of_call(call)}));
    }

    /// The next message; nothing at the end of the connection.
    std::optional<Message> next() {
        char bytes[65536];
        while (receiver_.messages.size() == at_) {
            PollItem item = readable(near_.get());
            REQUIRE(wait_ready({&item, 1}, soon()) > 0);
            const auto size = ::recv(near_.get(), bytes, sizeof bytes, 0);
            if (size <= 0) return std::nullopt;
            receiver_.feed({bytes, static_cast<std::size_t>(size)});
        }
        return receiver_.messages[at_++];
    }
    /// Passes over what comes before.
    Message next(FrameType type) {
        for (;;) {
            auto message = next();
            REQUIRE(message);
            if (message->type == type) return *message;
        }
    }
    [[nodiscard]] bool is_silent() {
        PollItem item = readable(near_.get());
        return receiver_.messages.size() == at_ &&
               wait_ready({&item, 1}, Clock::now() + std::chrono::milliseconds{50}) == 0;
    }
    /// The service has ended by itself.
    void wait_for_end() { thread_.join(); }

private:
    static Bootstrap bootstrap() {
        Bootstrap result;
        result.max_message_bytes = 1 << 20;
        return result;
    }
    static TimePoint soon() { return Clock::now() + std::chrono::seconds{30}; }

    Descriptor near_;
    std::unique_ptr<AnyHandler> handler_ = handler_type<TestHandler>().make();
    std::unique_ptr<Guard> guard_;
    std::unique_ptr<Service> service_;
    std::thread thread_;
    Receiver receiver_;
    std::size_t at_ = 0;
    SideNumbers side_;
};

std::string window(std::uint64_t bytes) {
    std::string payload;
    append_window(payload, bytes);
    return payload;
}

TEST_CASE("a handler takes what is uploaded, and opens the window again", "[live]") {
    Fixture fixture;
    fixture.request(0, 1);
    const auto item = '"' + std::string(12'500, 'x') + '"';
    for (int i = 0; i < 11; ++i) fixture.send(FrameType::item, 1, item);
    const auto opened = fixture.next(FrameType::window);
    CHECK(opened.timeouts == of_call(1));
    CHECK(load_le<std::uint64_t>(opened.payload.data()) == 11 * (item.size() + 40));
    fixture.send(FrameType::finish, 1);
    CHECK((fixture.next(FrameType::response) == Message{FrameType::response, 0, 1, "11"}));
}

TEST_CASE("a parent that uploads beyond the window ends the service", "[live][hostile]") {
    Fixture fixture;
    fixture.request(2, 1, {{"times", 1}});  // takes nothing, and reads for all
    fixture.next(FrameType::question);
    SECTION("for the call that runs") {
        for (int i = 0; i < 22; ++i) fixture.send(FrameType::item, 1, std::string(12'500, 'x'));
    }
    SECTION("for one that waits") {
        fixture.request(0, 2);
        for (int i = 0; i < 22; ++i) fixture.send(FrameType::item, 2, std::string(12'500, 'x'));
    }
    SECTION("with empty blobs") {
        const std::vector<std::string> blobs(MessageHead::max_blobs - 1);
        for (int i = 0; i < 10; ++i) {
            fixture.say(
                encoded({FrameType::item, 0, SideNumbers::bit | 1U, {}, blobs, of_call(1)}));
        }
    }
    fixture.wait_for_end();
}

TEST_CASE("what a parent does not send ends the service", "[live][hostile]") {
    Fixture fixture;
    fixture.request(2, 1, {{"times", 1}});
    const auto question = fixture.next(FrameType::question);
    SECTION("types of a worker") {
        fixture.send(GENERATE(FrameType::progress, FrameType::question, FrameType::notification,
                              FrameType::hello, FrameType::welcome),
                     1);
    }
    SECTION("an unknown type") { fixture.send(static_cast<FrameType>(15), 1); }
    SECTION("the number of a request") {
        fixture.say(encoded({FrameType::item, 0, 2, {}, {}, of_call(1)}));
    }
    SECTION("a window too wide") {
        fixture.send(FrameType::window, GENERATE(0U, 1U),
                     window(GENERATE(std::uint64_t{1} << 63, (std::uint64_t{1} << 40) + 1)));
    }
    SECTION("a window that is no number") { fixture.send(FrameType::window, 1, "12"); }
    fixture.wait_for_end();
}

TEST_CASE("what comes for a call that has been answered is dropped", "[live]") {
    Fixture fixture;
    for (int i = 0; i < 30; ++i) {
        fixture.send(FrameType::item, 7, std::string(12'500, 'x'));
        fixture.send(FrameType::window, 7, window(~0ULL));
        fixture.send(FrameType::finish, 7);
        fixture.say(encoded({FrameType::response, 0, SideNumbers::bit | 9U, "\"late\""}));
        fixture.say(encoded({FrameType::error, 0, SideNumbers::bit | 10U, {}}));
    }
    fixture.request(2, 1, {{"times", 1}});
    const auto question = fixture.next(FrameType::question);
    fixture.say(encoded({FrameType::response, 0, question.number, "\"yes\""}));
    CHECK((fixture.next(FrameType::response) == Message{FrameType::response, 2, 1, "\"yes\""}));
}

TEST_CASE("a handler sends while its window is open", "[live]") {
    Fixture fixture;
    fixture.request(1, 1, {{"count", 30}, {"size", 12'498}});
    for (int i = 0; i < 21; ++i) CHECK(fixture.next(FrameType::item).payload.size() == 12'500);
    while (!fixture.is_silent()) CHECK(fixture.next()->type == FrameType::progress);
    fixture.send(FrameType::window, 1, window(125'000));
    for (int i = 0; i < 9; ++i) fixture.next(FrameType::item);
    fixture.next(FrameType::response);
}

TEST_CASE("a handler asks no more than may wait, though it does not wait itself", "[live]") {
    Fixture fixture;
    fixture.request(2, 1, {{"times", 1100}, {"wait_ms", 0}});
    std::vector<std::uint64_t> asked;
    for (auto message = fixture.next(); message->type != FrameType::response;
         message = fixture.next()) {
        REQUIRE(message->type == FrameType::question);
        asked.push_back(message->number);
    }
    CHECK(asked.size() == QuestionLimit::most);
    // Late answers make room, and are for no later question.
    fixture.request(2, 2, {{"times", 1}});
    const auto question = fixture.next(FrameType::question);
    for (const auto number : asked) {
        fixture.say(encoded({FrameType::response, 0, number, "\"late\""}));
    }
    fixture.say(encoded({FrameType::response, 0, question.number, "\"yes\""}));
    CHECK((fixture.next(FrameType::response) == Message{FrameType::response, 2, 2, "\"yes\""}));
}

TEST_CASE("a request without an answer sends nothing about itself", "[live]") {
    Fixture fixture;
    fixture.say(encoded({FrameType::request, 3, 1, {}, {}, {}, false, true}));
    fixture.request(0, 2);
    fixture.send(FrameType::finish, 2);
    CHECK((fixture.next() == Message{FrameType::response, 0, 2, "0"}));
}

TEST_CASE("a worker notifies only of what is subscribed, while there is room", "[live]") {
    Fixture fixture;
    fixture.request(3, 1);
    CHECK(fixture.next()->type == FrameType::progress);
    const auto question = fixture.next();
    CHECK(question->type == FrameType::question);
    fixture.say(encoded({FrameType::response, 0, question->number, "\"\""}));
    fixture.next(FrameType::response);

    fixture.send(FrameType::subscription, 1);
    fixture.request(3, 2);
    CHECK(fixture.next(FrameType::notification).timeouts == of_call(0));
}

}  // namespace live_service_test
