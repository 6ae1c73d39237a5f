#include <tether/detail/wire/error_answer.hpp>

#include <random>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace envelope_test {

using namespace tether::detail;
using tether::errc;
using namespace std::string_literals;

TEST_CASE("an error answer is read as it was written", "[F17]") {
    const ErrorAnswer sent{errc::handler, "text\0\xff"s, {{"code", "message\n"}, {"", ""}}};
    std::string bytes;
    sent.append_to(bytes);
    const auto got = ErrorAnswer::decode(bytes);
    CHECK(got.cause == errc::handler);
    CHECK(got.text == sent.text);
    REQUIRE(got.causes.size() == 2);
    CHECK(got.causes[0].code == "code");
    CHECK(got.causes[0].message == "message\n");
    CHECK(got.causes[1].message.empty());
}

TEST_CASE("the causes that a worker may name") {
    for (const auto cause :
         {errc::codec, errc::message_too_large, errc::cancelled, errc::timeout, errc::stopped}) {
        std::string bytes;
        ErrorAnswer{cause, "text", {}}.append_to(bytes);
        CHECK(ErrorAnswer::decode(bytes).cause == cause);
        CHECK(ErrorAnswer::decode(bytes).text == "text");
    }
    // Others would lie about the parent's side; a handler's error needs a first cause.
    for (const auto cause : {errc::worker_exited, errc::worker_killed, errc::framing, errc::handler,
                             static_cast<errc>(0), static_cast<errc>(77)}) {
        std::string bytes;
        ErrorAnswer{cause, "text", {}}.append_to(bytes);
        CHECK(ErrorAnswer::decode(bytes).cause == errc::codec);
        CHECK(ErrorAnswer::decode(bytes).causes.empty());
    }
}

TEST_CASE("any damage to an error answer is an error answer", "[F16]") {
    std::string bytes;
    ErrorAnswer{errc::handler, "", {{"code", "message"}, {"inner", "reason"}}}.append_to(bytes);
    for (std::size_t size = 1; size < bytes.size(); ++size) {
        CHECK(ErrorAnswer::decode(std::string_view{bytes}.substr(0, size)).cause == errc::codec);
    }
    CHECK(ErrorAnswer::decode(bytes + "x").cause == errc::codec);
    // Nothing at all: the worker had no memory to say more.
    CHECK(ErrorAnswer::decode({}).causes.front().code == "bad_alloc");

    std::minstd_rand random{3};
    for (int round = 0; round < 5000; ++round) {
        auto damaged = bytes;
        damaged[random() % damaged.size()] = static_cast<char>(random());
        const auto answer = ErrorAnswer::decode(damaged);
        // Never a handler's error without a cause: that one is read without looking.
        if (answer.cause == errc::handler) REQUIRE_FALSE(answer.causes.empty());
    }
    // Counts that nobody could have sent cost nothing.
    std::string huge;
    BinaryWriter{huge}
        .number(static_cast<std::uint32_t>(errc::handler))
        .text("")
        .number(~std::uint32_t{0});
    CHECK(ErrorAnswer::decode(huge).cause == errc::codec);
}

TEST_CASE("an error answer is shortened to the limit, and stays one", "[F17]") {
    const auto size_of = [](const ErrorAnswer& answer) {
        std::string bytes;
        answer.append_to(bytes);
        REQUIRE(ErrorAnswer::decode(bytes).causes.size() == answer.causes.size());
        return bytes.size();
    };
    ErrorAnswer small{errc::handler, "text", {{"code", "message"}}};
    const auto size = size_of(small);
    small.shorten(size);
    CHECK(size_of(small) == size);
    CHECK(small.causes[0].message == "message");

    for (const std::size_t count : {std::size_t{1}, std::size_t{16}}) {
        ErrorAnswer large{errc::handler, std::string(100'000, 't'), {}};
        for (std::size_t i = 0; i < count; ++i) {
            large.causes.push_back({std::string(10'000, 'c'), std::string(50'000, 'm')});
        }
        large.shorten(4096);
        CHECK(size_of(large) <= 4096u);
        CHECK(large.causes[0].message.size() > 20u);
        CHECK(large.causes[0].code.size() > 20u);
    }
    // One long message alone is not cut to nothing.
    ErrorAnswer one{errc::handler, "", {{"code", std::string(50'000, 'm')}}};
    one.shorten(4096);
    CHECK(one.causes[0].code == "code");
    CHECK(one.causes[0].message.size() >= 500u);
}

}  // namespace envelope_test
