#pragma once

// A protocol with a bit of everything, and a handler that tests can hold up.

#include <tether/loopback_worker.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <pthread.h>

#include "support/latch.hpp"

namespace loopback_test {

struct Echo {
    static constexpr std::string_view name = "echo";
    using Response = std::string;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Echo, text)

struct Sum {
    int value{};
    friend bool operator==(const Sum&, const Sum&) = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Sum, value)

struct Add {
    static constexpr std::string_view name = "add";
    using Response = Sum;
    std::vector<int> numbers{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Add, numbers)

struct Fail {
    static constexpr std::string_view name = "fail";
    using Response = void;
    std::string how{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Fail, how)

/// Counts the calls to one handler. No members.
struct Count {
    static constexpr std::string_view name = "count";
    using Response = int;
};

struct Reverse {
    static constexpr std::string_view name = "reverse";
    using Response = tether::Bytes;
    tether::Bytes bytes{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Reverse, bytes)

/// Runs until it is asked to stop or `stage().open` counts; returns whether it was asked to stop.
struct Wait {
    static constexpr std::string_view name = "wait";
    using Response = bool;
    bool stubborn{};  // does not look whether it shall stop
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Wait, stubborn)

/// Milliseconds left, -1 for no deadline.
struct TimeLeft {
    static constexpr std::string_view name = "time_left";
    using Response = std::int64_t;
};
struct TimeLeftOfTen {
    static constexpr std::string_view name = "time_left_of_ten";
    using Response = std::int64_t;
    static constexpr auto timeout = std::chrono::seconds{10};
};

struct Log {
    static constexpr std::string_view name = "log";
    using Response = void;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Log, text)

template <class C>
struct ProtocolWith {
    static constexpr std::string_view name = "test.loopback";
    static constexpr std::uint32_t version = 1;
    using Requests =
        tether::Messages<Echo, Add, Fail, Count, Reverse, Wait, TimeLeft, TimeLeftOfTen, Log>;
    using Codec = C;
};
using TestProtocol = ProtocolWith<tether::MessagePackCodec>;

/// What handlers and tests tell each other.
struct Stage {
    tether_test::Tally entered{};  // Wait has begun
    tether_test::Tally left{};     // Wait has ended
    tether_test::Tally stopped{};  // of these, those that were asked to stop
    tether_test::Tally open{};     // the stubborn may go on
    tether_test::Tally made{};
    tether_test::Tally destroyed{};

    void reset() {
        for (auto* tally : {&entered, &left, &stopped, &open, &made, &destroyed}) tally->reset();
    }
};

inline Stage& stage() {
    static Stage& instance = *new Stage;  // handlers may end while the program exits
    return instance;
}

/// Resets the stage; the base of tests.
struct FreshStage {
    FreshStage() { stage().reset(); }
};

struct NullText : std::exception {
    [[nodiscard]] const char* what() const noexcept override { return nullptr; }
};

template <class C>
class HandlerWith final : public tether::Handler<ProtocolWith<C>> {
public:
    HandlerWith() { stage().made.add(); }
    ~HandlerWith() override { stage().destroyed.add(); }

private:
    template <class R>
    using Call = tether::CallContext<R>;

    std::string handle(const Echo& request, Call<Echo>&) override { return request.text; }
    Sum handle(const Add& request, Call<Add>&) override {
        Sum sum;
        for (const int number : request.numbers) sum.value += number;
        return sum;
    }
    void handle(const Fail& request, Call<Fail>&) override {
        if (request.how == "std") throw std::runtime_error("a plain one");
        if (request.how == "int") throw 42;
        if (request.how == "null") throw NullText{};
        if (request.how == "end_thread") ::pthread_exit(nullptr);
        if (request.how == "bad_alloc") throw std::bad_alloc{};
        if (request.how == "not UTF-8") throw std::runtime_error("\xff\xfe");
        if (request.how == "handler") throw tether::HandlerError("no_file", "a file is needed");
        if (request.how == "nested") {
            try {
                throw std::system_error(2, std::generic_category(), "open");
            } catch (...) {
                std::throw_with_nested(tether::HandlerError("outer", "it failed"));
            }
        }
    }
    int handle(const Count&, Call<Count>&) override { return ++count_; }
    tether::Bytes handle(const Reverse& request, Call<Reverse>&) override {
        const auto text = request.bytes.view();
        return tether::Bytes{std::string_view{std::string(text.rbegin(), text.rend())}};
    }
    bool handle(const Wait& request, Call<Wait>& call) override {
        stage().entered.add();
        const auto stop = request.stubborn ? std::stop_token{} : call.stop_token();
        const bool stopped = !stage().open.wait_for(1, stop);
        if (stopped) stage().stopped.add();
        stage().left.add();
        return stopped;
    }
    std::int64_t handle(const TimeLeft&, Call<TimeLeft>& call) override { return left(call); }
    std::int64_t handle(const TimeLeftOfTen&, Call<TimeLeftOfTen>& call) override {
        return left(call);
    }
    void handle(const Log& request, Call<Log>& call) override {
        call.log(tether::Severity::warning, request.text);
    }

    template <class C2>
    static std::int64_t left(const C2& call) {
        if (!call.deadline()) return -1;
        return std::chrono::duration_cast<std::chrono::milliseconds>(
                   *call.deadline() - std::chrono::steady_clock::now())
            .count();
    }

    std::atomic<int> count_{0};
};
using TestHandler = HandlerWith<tether::MessagePackCodec>;
using Worker = tether::LoopbackWorker<TestProtocol, TestHandler>;

}  // namespace loopback_test
