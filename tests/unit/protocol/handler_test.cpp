#include <tether/detail/protocol/handler_box.hpp>
#include <tether/handler.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/plain_call_control.hpp"
#include "support/text.hpp"

namespace handler_test {

// Not in the unnamed namespace, where Clang warns of the functions that nobody calls.
struct Upper {
    static constexpr std::string_view name = "upper";
    using Response = std::string;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Upper, text)

struct Count {
    static constexpr std::string_view name = "count";
    using Response = int;
};

struct Forget {
    static constexpr std::string_view name = "forget";
    using Response = void;
    int what{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Forget, what)

struct Reverse {
    static constexpr std::string_view name = "reverse";
    using Response = tether::Bytes;
    tether::Bytes bytes{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Reverse, bytes)

namespace {

using tether::Bytes;
using tether::CallContext;
using namespace tether::detail;
using namespace std::string_literals;

struct Picky {
    int value{};
};
void to_json(nlohmann::json&, const Picky&) { throw std::runtime_error("not today"); }
[[maybe_unused]] void from_json(const nlohmann::json&, Picky&) {}

struct Unspeakable {
    static constexpr std::string_view name = "unspeakable";
    using Response = Picky;
};

struct TestProtocol {
    static constexpr std::string_view name = "test.handler";
    static constexpr std::uint32_t version = 4;
    using Requests = tether::Messages<Upper, Count, Forget, Reverse, Unspeakable>;
    using Codec = tether::JsonCodec;
};

class TestHandler final : public tether::Handler<TestProtocol> {
public:
    static inline int alive = 0;
    TestHandler() { ++alive; }
    ~TestHandler() override { --alive; }

private:
    std::string handle(const Upper& request, CallContext<Upper>& call) override {
        ++calls_;
        auto text = request.text;
        for (auto& c : text) c = static_cast<char>(c & ~0x20);
        call.log(tether::Severity::warning, "upper " + std::to_string(call.id()));
        return text;
    }
    int handle(const Count&, CallContext<Count>&) override { return ++calls_; }
    void handle(const Forget& request, CallContext<Forget>& call) override {
        if (request.what == 1) throw tether::HandlerError("one", "it is one");
        if (request.what == 2) throw 42;
        if (request.what == 3) throw std::bad_alloc{};
        if (call.stop_requested()) throw std::runtime_error("stopped");
    }
    Bytes handle(const Reverse& request, CallContext<Reverse>&) override {
        const auto text = request.bytes.view();
        return Bytes{std::string_view{std::string(text.rbegin(), text.rend())}};
    }
    Picky handle(const Unspeakable&, CallContext<Unspeakable>&) override { return {}; }

    int calls_ = 0;
};

static_assert(std::is_abstract_v<tether::Handler<TestProtocol>>);
static_assert(std::has_virtual_destructor_v<tether::Handler<TestProtocol>>);
static_assert(!std::is_copy_constructible_v<TestHandler>);
static_assert(!std::is_move_constructible_v<TestHandler>);
static_assert(!std::is_copy_constructible_v<CallContext<Upper>>);
static_assert(check_handler<TestHandler>());

struct Control final : tether_test::PlainCallControl {
    std::uint64_t id() const noexcept override { return 17; }
    bool stop_requested() const noexcept override { return stop; }
    std::stop_token stop_token() override { return source.get_token(); }
    std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept override {
        return due;
    }
    void log(tether::Severity severity, std::string_view text) override {
        logged += std::string{to_string(severity)} + ":" + std::string{text};
    }
    bool stop = false;
    std::stop_source source{};
    std::optional<std::chrono::steady_clock::time_point> due{};
    std::string logged{};
};

struct Answer final : Responder {
    std::string& payload() override { return bytes; }
    std::vector<const Bytes*>& blobs() override { return parts; }
    void send() override {
        ++sends;
        for (const auto* part : parts) sent.emplace_back(part->view());
    }
    std::string bytes{};
    std::vector<const Bytes*> parts{};
    std::vector<std::string> sent{};
    int sends = 0;
};

struct Fixture {
    std::unique_ptr<AnyHandler> handler = handler_type<TestHandler>().make();
    Control control{};
    Answer answer{};

    bool dispatch(std::size_t index, std::string_view payload, std::vector<Bytes> blobs = {}) {
        return handler->dispatch(index, payload, blobs, control, answer);
    }
};

}  // namespace

TEST_CASE("a handler type tells what it serves") {
    const auto type = handler_type<TestHandler>();
    CHECK(type.protocol == "test.handler");
    CHECK(type.version == 4u);
    CHECK(type.fingerprint == fingerprint<TestProtocol>());
    {
        const auto handler = type.make();
        CHECK(TestHandler::alive == 1);
    }
    CHECK(TestHandler::alive == 0);
}

TEST_CASE_METHOD(Fixture, "requests reach their overload by their place in the list") {
    CHECK(dispatch(0, R"({"text":"abc"})"));
    CHECK(answer.bytes == "\"ABC\"");
    CHECK(answer.sends == 1);
    CHECK(control.logged == "warning:upper 17");
    answer = {};
    CHECK(dispatch(1, ""));
    CHECK(answer.bytes == "2");  // one handler for all calls
    answer = {};
    CHECK(dispatch(2, R"({"what":0})"));
    CHECK(answer.bytes.empty());
    CHECK(answer.sends == 1);
}

TEST_CASE_METHOD(Fixture, "an index outside of the list is no request", "[F16]") {
    CHECK_FALSE(dispatch(5, ""));
    CHECK_FALSE(dispatch(65535, "x"));
    CHECK(answer.sends == 0);
}

TEST_CASE_METHOD(Fixture, "blobs reach the handler, and are alive while they are sent") {
    CHECK(dispatch(3, R"({"bytes":0})", {Bytes{std::string_view{"olleh"}}}));
    CHECK(answer.sent == std::vector{"hello"s});
    CHECK(answer.bytes.empty());
}

TEST_CASE_METHOD(Fixture, "what cannot be decoded or encoded names its request", "[F17]") {
    const auto failure = [&](std::size_t index, std::string_view payload) -> std::string {
        try {
            dispatch(index, payload);
        } catch (const CodecFailure& error) {
            return error.what();
        }
        return {};
    };
    CHECK(tether_test::contains(failure(0, "{"), "\"upper\""));
    CHECK(tether_test::contains(failure(0, "{}"), "decoded"));
    CHECK(tether_test::contains(failure(1, "x"), "\"count\""));
    CHECK(tether_test::contains(failure(3, R"({"bytes":0})"), "blob"));
    CHECK(tether_test::contains(failure(4, ""), "not today"));
    CHECK(tether_test::contains(failure(4, ""), "encoded"));
    CHECK(tether_test::contains(failure(0, "{\"text\":\"\xff\"}"), "\"upper\""));
    CHECK(answer.sends == 0);
}

TEST_CASE_METHOD(Fixture, "what the handler throws passes through, unsent", "[F17]") {
    CHECK_THROWS_AS(dispatch(2, R"({"what":1})"), tether::HandlerError);
    CHECK_THROWS_AS(dispatch(2, R"({"what":2})"), int);
    CHECK_THROWS_AS(dispatch(2, R"({"what":3})"), std::bad_alloc);
    control.stop = true;
    CHECK_THROWS_AS(dispatch(2, R"({"what":0})"), std::runtime_error);
    CHECK(answer.sends == 0);
}

TEST_CASE("a call context tells what its surroundings know") {
    Control control;
    const CallContext<Count> call{control};
    CHECK(call.id() == 17u);
    CHECK_FALSE(call.stop_requested());
    CHECK_FALSE(call.deadline());
    control.due = std::chrono::steady_clock::time_point{std::chrono::seconds{5}};
    CHECK(call.deadline() == control.due);
    control.source.request_stop();
    CHECK(call.stop_token().stop_requested());
}

}  // namespace handler_test
