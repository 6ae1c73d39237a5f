// What a worker may send about calls that are more than a request and an answer, and what it may
// not: this file is the worker. All that is stored for it stays within the windows.
#include <tether/detail/parent/connection_reading.hpp>

#include <asio/io_context.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/text.hpp"
#include "support/wire.hpp"
#include "unit/parent/connection_support.hpp"

namespace connection_test {
namespace {

using tether_test::contains;
using tether_test::frame;
using tether_test::head;
using tether_test::Message;

constexpr FeedKind everything{true, true, true, true};

std::string eight(std::uint64_t number) {
    std::string bytes;
    append_window(bytes, number);
    return bytes;
}

/// A worker that sends what it likes to a parent with a live protocol.
class Hostile : public Fixture {
public:
    Hostile() {
        owner.the_hub = std::make_shared<Hub>();
        owner.the_hub->attach(shared());
    }

    Waiting& call(FeedKind kind) {
        auto& made = *calls_.emplace_back(std::make_unique<Waiting>());
        made.feed = feeds_.emplace_back(std::make_shared<CallFeed>(kind));
        shared()->submit(made);
        return made;
    }
    void send(FrameType type, std::uint64_t call, std::string payload = {},
              std::uint16_t index = 0) {
        send_bytes(encoded({type, index, side_.next(), std::move(payload), {}, of_call(call)}));
    }
    /// Only the first frame of a message.
    std::uint64_t begin(FrameType type, std::uint64_t call) {
        const auto number = side_.next();
        send_bytes(frame(type, FrameHeader::more, number,
                         head(50'000, {}, of_call(call)) + std::string(10, 'a')));
        return number;
    }
    void send_bytes(const std::string& bytes) {
        say(bytes);
        shared()->read_available();
        while (owner.flushes != 0) {
            --owner.flushes;
            shared()->on_others_ran();
        }
    }

    [[nodiscard]] bool is_refused() const { return !owner.violations.empty(); }

private:
    SideNumbers side_;
    std::vector<std::shared_ptr<CallFeed>> feeds_;
    std::vector<std::unique_ptr<Waiting>> calls_;
};

}  // namespace

TEST_CASE("what a call has no use for ends the connection", "[hostile]") {
    const auto type = GENERATE(FrameType::item, FrameType::progress, FrameType::question,
                               FrameType::window, FrameType::finish, FrameType::subscription);
    const auto payload = type == FrameType::window ? eight(1) : "1";
    INFO(static_cast<int>(type));
    Hostile worker;
    SECTION("no call, which is pending") { worker.send(type, 0, payload); }
    SECTION("a call that was never made") { worker.send(type, 7, payload); }
    SECTION("a call that was answered") {
        auto& call = worker.call(everything);
        worker.answer(call);
        CHECK(call.settled);
        worker.send(type, call.number, payload);
    }
    SECTION("a call of nothing but a request and an answer") {
        Waiting plain;
        worker->submit(plain);
        worker.send(type, plain.number, payload);
        worker->stop({});
    }
    SECTION("a call of another kind") { worker.send(type, worker.call({}).number, payload); }
    SECTION("a request without an answer") {
        BlockingCall post;
        post.info = {"tell", 0, false, Clock::now(), TimePoint::max(), tether::no_timeout};
        post.message.seal();
        REQUIRE(worker->post(post));
        worker.send(type, 1, payload);
    }
    SECTION("under a number that requests have") {
        const auto number = worker.call(everything).number;
        worker.send_bytes(encoded({type, 0, 9, payload, {}, of_call(number)}));
    }
    CHECK(worker.is_refused());
    worker->stop({});
}

TEST_CASE("a message about a call of another type ends the connection", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    worker.send(FrameType::question, call.number, "1", 5);  // the index is the question's
    CHECK_FALSE(worker.is_refused());
    const auto type = GENERATE(FrameType::item, FrameType::progress, FrameType::window);
    worker.send(type, call.number, eight(1), 5);
    CHECK(worker.is_refused());
    worker->stop({});
}

TEST_CASE("what comes for a call that was given up is dropped until its answer", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    const auto begun = worker.begin(FrameType::item, call.number);
    worker->cancel(call.number, false);
    REQUIRE(call.settled);
    const auto type =
        GENERATE(FrameType::item, FrameType::progress, FrameType::question, FrameType::window);
    for (int i = 0; i < 100; ++i) worker.send(type, call.number, std::string(20'000, 'x'));
    worker.send_bytes(frame(FrameType::abort, 0, begun, {}));
    for (int i = 0; i < 100; ++i) {
        const auto number = worker.begin(FrameType::item, call.number);
        worker.send_bytes(frame(FrameType::abort, 0, number, {}));
    }
    CHECK_FALSE(worker.is_refused());
    CHECK_FALSE(call.feed->has_item(call.feed->lock()));
    worker.answer(call);
    CHECK_FALSE(worker.is_refused());
    worker.send(type, call.number);
    CHECK(worker.is_refused());
}

TEST_CASE("what only parents send ends the connection, also about a call that was given up",
          "[hostile]") {
    Hostile worker;
    const auto number = worker.call(everything).number;
    worker->cancel(number, false);
    const auto type = GENERATE(FrameType::finish, FrameType::subscription);
    SECTION("whole") { worker.send(type, number); }
    SECTION("begun") { worker.begin(type, number); }
    CHECK(worker.is_refused());
}

TEST_CASE("messages for a call that was given up do not pile up half", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    worker->cancel(call.number, false);
    int begun = 0;
    while (!worker.is_refused() && begun < 1000) {
        worker.begin(FrameType::item, call.number);
        ++begun;
    }
    CHECK(begun < 10);
}

TEST_CASE("items end with their window", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    int sent = 0;
    SECTION("large ones") {
        for (; !worker.is_refused() && sent < 1000; ++sent) {
            worker.send(FrameType::item, call.number, std::string(12'500, 'x'));
        }
        CHECK(sent == 22);
    }
    SECTION("of nothing but empty blobs") {
        const std::vector<std::string> blobs(MessageHead::max_blobs - 1);
        for (; !worker.is_refused() && sent < 1000; ++sent) {
            worker.send_bytes(encoded(
                {FrameType::item, 0, SideNumbers::bit | 1U, {}, blobs, of_call(call.number)}));
        }
        CHECK(sent == 9);
    }
    SECTION("empty ones") {
        const auto batch = [&] {
            std::string bytes;
            for (int i = 0; i < 1000; ++i) {
                bytes += encoded(
                    {FrameType::item, 0, SideNumbers::bit | 1U, {}, {}, of_call(call.number)});
            }
            return bytes;
        }();
        for (; !worker.is_refused() && sent < 100; ++sent) worker.send_bytes(batch);
        CHECK(sent == 7);
    }
    worker->stop({});
}

TEST_CASE("a large item begins only while its window is open, and alone", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    SECTION("two at once") {
        worker.begin(FrameType::item, call.number);
        CHECK_FALSE(worker.is_refused());
        worker.begin(FrameType::item, call.number);
        CHECK(worker.is_refused());
    }
    SECTION("one after the other, though the first was broken off") {
        for (int i = 0; i < 3; ++i) {
            const auto number = worker.begin(FrameType::item, call.number);
            worker.send_bytes(frame(FrameType::abort, 0, number, {}));
        }
        CHECK_FALSE(worker.is_refused());
    }
    SECTION("beside a large question") {
        worker.begin(FrameType::item, call.number);
        worker.begin(FrameType::question, call.number);
        CHECK_FALSE(worker.is_refused());
        worker.begin(FrameType::question, call.number);
        CHECK(worker.is_refused());
    }
    SECTION("the window is closed") {
        for (int i = 0; i < 21; ++i) {
            worker.send(FrameType::item, call.number, std::string(12'500, 'x'));
        }
        CHECK_FALSE(worker.is_refused());
        worker.begin(FrameType::item, call.number);
        CHECK(worker.is_refused());
    }
    SECTION("there is no large progress") {
        worker.begin(FrameType::progress, call.number);
        CHECK(worker.is_refused());
    }
    SECTION("and no large window") {
        worker.begin(FrameType::window, call.number);
        CHECK(worker.is_refused());
    }
    worker->stop({});
}

TEST_CASE("a window that no worker opens so far ends the connection", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    SECTION("at once") { worker.send(FrameType::window, call.number, eight(1ULL << 63)); }
    SECTION("to the end of numbers") { worker.send(FrameType::window, call.number, eight(~0ULL)); }
    SECTION("step by step") {
        for (int i = 0; i < 3 && !worker.is_refused(); ++i) {
            worker.send(FrameType::window, call.number, eight(1ULL << 40));
        }
    }
    SECTION("no number") { worker.send(FrameType::window, call.number, "seven77"); }
    CHECK(worker.is_refused());
    worker->stop({});
}

TEST_CASE("only the newest progress is kept", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    for (int i = 0; i < 1000; ++i) {
        worker.send(FrameType::progress, call.number, std::to_string(i) + std::string(16'000, ' '));
    }
    CHECK_FALSE(worker.is_refused());
    const auto newest = call.feed->take_progress();
    REQUIRE(newest);
    CHECK(contains(newest->payload, "999 "));
    worker->stop({});
}

TEST_CASE("questions that wait are limited in number and in size", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    int sent = 0;
    SECTION("small ones") {
        for (; !worker.is_refused() && sent < 5000; ++sent) {
            worker.send(FrameType::question, call.number);
        }
        CHECK(sent == 1025);
    }
    SECTION("large ones") {
        for (; !worker.is_refused() && sent < 1000; ++sent) {
            worker.send(FrameType::question, call.number, std::string(12'500, 'x'));
        }
        CHECK(sent == 22);
    }
    SECTION("not those that were taken") {
        for (; !worker.is_refused() && sent < 5000; ++sent) {
            worker.send(FrameType::question, call.number, std::string(1000, 'x'));
            REQUIRE(call.feed->take_question(call.number));
        }
        CHECK_FALSE(worker.is_refused());
    }
    worker->stop({});
}

TEST_CASE("a worker that asks and reads no answer is ended", "[hostile]") {
    Hostile worker;
    auto& call = worker.call(everything);
    int sent = 0;
    for (; !worker.is_refused() && sent < 10'000; ++sent) {
        worker.send(FrameType::question, call.number);
        const auto question = call.feed->take_question(call.number);
        if (!question) break;
        OutgoingMessage answer;
        answer.payload().append(10'000, 'a');
        answer.seal();
        worker->send_answer(call.number, FrameType::response, 0, question->number, answer);
    }
    CHECK(worker.is_refused());
    CHECK(sent < 1200);
    worker->stop({});
}

TEST_CASE("notifications end with their window", "[hostile]") {
    Hostile worker;
    const auto flood = [&] {
        int sent = 0;
        for (; !worker.is_refused() && sent < 200; ++sent) {
            worker.send(FrameType::notification, 0, std::string(12'500, 'x'));
        }
        return sent;
    };
    SECTION("while the program takes none") {
        asio::io_context later;
        int handled = 0;
        const auto subscriber = std::make_shared<Subscriber>(std::uint16_t{0}, later.get_executor(),
                                                             [&](StoredMessage&) { ++handled; });
        worker.owner.the_hub->subscribe(subscriber);
        CHECK(flood() == 22);
        later.run();
        CHECK(handled == 21);
        worker.owner.the_hub->unsubscribe(subscriber);
    }
    SECTION("not those that no one wants, which are dropped") { CHECK(flood() == 200); }
    SECTION("large ones, one at a time") {
        const auto number = worker.begin(FrameType::notification, 0);
        worker.send_bytes(frame(FrameType::abort, 0, number, {}));
        worker.begin(FrameType::notification, 0);
        CHECK_FALSE(worker.is_refused());
        worker.begin(FrameType::notification, 0);
        CHECK(worker.is_refused());
    }
    SECTION("there are none in a protocol that is not live") {
        worker.owner.the_hub.reset();
        CHECK(flood() == 1);
    }
}

}  // namespace connection_test
