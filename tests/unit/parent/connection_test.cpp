// All calls to one worker, without one: this file is the worker, and the owner too.
#include <tether/detail/parent/connection_reading.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>

#include "support/catch.hpp"
#include "support/text.hpp"
#include "support/wire.hpp"
#include "unit/parent/connection_support.hpp"

namespace connection_test {

using namespace std::chrono_literals;
using namespace tether::detail;
using tether::errc;
using tether_test::contains;
using tether_test::encoded;

TEST_CASE("whoever takes the connection from the reactor may wait in a receive again") {
    Fixture connection;
    connection.owner.watched_fd = connection->fd();
    Waiting async;
    connection->submit(async);
    REQUIRE(connection.owner.input_watches == 1);
    CHECK((::fcntl(connection->fd(), F_GETFL) & O_NONBLOCK) != 0);

    BlockingCall call;
    call.info = {"ask", 0, false, Clock::now(), TimePoint::max(), tether::no_timeout};
    call.message.seal();
    connection->submit(call);
    connection.say({FrameType::response, 0, call.number, {}});
    connection->wait(call);
    CHECK(call.settled);
    // It is the reactor's again, since the other call is pending, but was not meanwhile.
    CHECK(connection.owner.input_watches == 2);
    CHECK(connection.owner.unwatched == 1);
    CHECK(connection.owner.was_blocking_when_watched);
}

TEST_CASE("what the handlers on the background thread ask for leaves together") {
    Fixture connection;
    Waiting alone;
    connection->submit(alone);
    const auto one = connection.heard();
    REQUIRE(one > 0);

    connection.owner.in_background = true;
    std::array<Waiting, 3> calls;
    for (auto& call : calls) connection->submit(call);
    CHECK(connection.owner.flushes == 1);
    CHECK(connection.heard() == 0);

    Waiting another;
    SECTION("once the others have run") {
        connection->on_others_ran();
        CHECK(connection.heard() == 3 * one);
        connection->submit(another);
        CHECK(connection.owner.flushes == 2);
        connection->on_others_ran();
        CHECK(connection.heard() == one);
    }
    SECTION("at the latest with the next of another thread, and in its order") {
        connection.owner.in_background = false;
        connection->submit(another);
        CHECK(connection.heard() == 4 * one);
        connection->on_others_ran();
        CHECK(connection.heard() == 0);
    }
    SECTION("at the latest with a large one") {
        another.message.payload().append(Outbox::copy_limit, 'x');
        another.message.seal();
        connection->submit(another);
        CHECK(connection.heard() > 3 * one + std::ptrdiff_t{Outbox::copy_limit});
    }
    SECTION("as soon as there are some") {
        std::array<Waiting, 13> more;
        for (auto& call : more) connection->submit(call);
        CHECK(connection.owner.flushes == 1);
        CHECK(connection.heard() == 16 * one);
    }
    SECTION("when the worker is asked to leave") {
        connection->stop({});
        CHECK(connection.heard() == 3 * one);
        connection->on_others_ran();
    }
    SECTION("those that were cancelled meanwhile as well: the worker is told") {
        connection->cancel(calls[1].number, false);
        CHECK(calls[1].settled);
        CHECK(connection.owner.given_up == std::vector{calls[1].number});
        connection->on_others_ran();
        CHECK(connection.heard() == 3 * one);
    }
}

TEST_CASE("a call is answered, and a reader is wanted meanwhile") {
    Fixture connection;
    CHECK(connection->ready());
    Waiting call;
    CHECK(connection->submit(call) == 1);
    CHECK(connection.owner.input_watches == 1);
    CHECK(connection->has_calls());
    connection.answer(call, FrameType::response, "payload");
    CHECK(call.settled);
    CHECK(call.outcome.bytes() == "payload");
    CHECK_FALSE(connection->has_calls());
}

TEST_CASE("a request that expires before it has left is never heard of", "[F112]") {
    Fixture connection;
    std::vector<std::unique_ptr<Waiting>> calls;
    const auto submit = [&] {
        calls.push_back(std::make_unique<Waiting>(std::string(10'000, 'x')));
        connection->submit(*calls.back());
    };
    while (connection.owner.room_watches == 0) submit();
    for (int i = 0; i < 20; ++i) submit();
    auto& last = *calls.back();
    connection->cancel(last.number, false);
    CHECK(last.settled);
    CHECK(last.error().find("the request had not left") != std::string::npos);
    CHECK(last.outcome.error->code() != tether::errc::outcome_unknown);
    CHECK_FALSE(connection->is_unanswered(last.number));
    CHECK(connection.owner.given_up.empty());
    connection->cancel(1, false);  // that one has left
    CHECK(connection->is_unanswered(1));
    CHECK(connection.owner.given_up == std::vector<std::uint64_t>{1});
    connection->stop({});
}

TEST_CASE("of many overdue calls those are looked at that have begun", "[F40][F112]") {
    using tether::detail::Begun;
    Fixture connection;
    std::vector<std::unique_ptr<Waiting>> calls;
    for (int i = 0; i < 100; ++i) {
        calls.push_back(std::make_unique<Waiting>());
        calls.back()->info.deadline = Clock::now() + std::chrono::milliseconds{1};
        connection->submit(*calls.back());
    }
    CHECK_FALSE(connection->has_overdue());
    while (Clock::now() < calls.back()->deadline()) std::this_thread::yield();
    connection->on_deadline();
    CHECK(connection->has_overdue());
    const auto begun = connection->overdue_calls(Begun{std::vector<std::uint64_t>{7}});
    REQUIRE(begun.size() == 1);
    CHECK(begun.front().number == 7);
    CHECK(connection->overdue_calls(Begun{}).size() == 64);  // no ledger: the oldest
    connection->excuse(7);
    CHECK(connection->overdue_calls(Begun{std::vector<std::uint64_t>{7}}).empty());
    CHECK(connection->take_untold().empty());
}

TEST_CASE("a closed connection takes no calls, and tells when it has none left") {
    Fixture connection;
    Waiting first;
    Waiting second;
    Waiting late;
    CHECK(connection->submit(first) == 1);
    CHECK(connection->submit(second) == 2);
    connection->close();
    CHECK_FALSE(connection->takes_calls());
    CHECK(connection->submit(late) == 0);
    connection.answer(first);
    CHECK(connection.owner.drained == 0);
    connection->cancel(second.number, false);
    CHECK(connection.owner.drained == 1);
    CHECK(connection.owner.given_up == std::vector<std::uint64_t>{2});
    CHECK(connection->is_unanswered(2));
    connection.answer(second);
    CHECK_FALSE(connection->is_unanswered(2));
}

TEST_CASE("idle is what has had no call from one look to the next", "[F87]") {
    Fixture connection;
    Waiting call;
    CHECK(connection->submit(call) == 1);
    CHECK_FALSE(connection->close_if_idle());
    CHECK_FALSE(connection->close_if_idle());  // it runs for long
    connection.answer(call);
    CHECK_FALSE(connection->close_if_idle());  // it ended only now
    CHECK(connection->close_if_idle());
    CHECK_FALSE(connection->takes_calls());

    Fixture unused;
    CHECK(unused->close_if_idle());
}

TEST_CASE("what ends a connection is told once, and with its cause") {
    Fixture connection;
    Waiting call;
    connection->close();  // it retires: that is no reason to overlook its end
    connection.hang_up();
    connection->read_available();
    CHECK(connection.owner.lost ==
          std::vector<std::string>{"it closed its connection but did not end"});

    Fixture sender;
    Waiting lost;
    sender.hang_up();
    CHECK(sender.owner.lost.size() == 1);
    CHECK(sender->submit(lost) == 0);
}

TEST_CASE("a caller that looks for its answer sleeps once nothing can come any more") {
    Fixture connection{1ms};
    BlockingCall call;
    call.info = {"ask", 0, false, Clock::now(), Clock::now() + 300ms, tether::no_timeout};
    call.message.seal();
    REQUIRE(connection->submit(call) == 1);
    connection.hang_up();
    const auto cpu_time = [] {
        ::timespec now{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
    };
    const auto before = cpu_time();
    connection->wait(call);
    CHECK(call.outcome.error->code() == errc::timeout);
    CHECK(cpu_time() - before < 100ms);
}

TEST_CASE("a call that has no time left is not sent") {
    Fixture connection;
    Waiting call;
    call.info.deadline = call.info.made;
    CHECK_THROWS_AS(connection->submit(call), tether::CallError);
    CHECK_FALSE(connection->has_calls());
    Waiting next;
    CHECK(connection->submit(next) == 1);
}

TEST_CASE("a run timeout ends the call that has it, whoever tells first") {
    Fixture connection;
    Waiting patient;
    Waiting told{50ms};
    Waiting answered{50ms};
    for (auto* call : {&patient, &told, &answered}) connection->submit(*call);
    for (const auto number : {patient.number, told.number}) connection->on_overrun(number);
    CHECK_FALSE(patient.settled);
    CHECK(contains(told.error(), "run_timeout of 50 ms"));
    CHECK(told.outcome.error->code() == errc::outcome_unknown);

    std::string error;
    ErrorAnswer{errc::timeout, "text", {}}.append_to(error);
    connection.answer(answered, FrameType::error, error);
    CHECK(answered.error().substr(answered.error().find("its handler")) ==
          told.error().substr(told.error().find("its handler")));
    CHECK(answered.outcome.error->code() == errc::timeout);
    CHECK(answered.outcome.error->code() == errc::outcome_unknown);
    connection->on_overrun(answered.number);
    CHECK(connection.owner.given_up == std::vector<std::uint64_t>{told.number});
}

TEST_CASE("what no worker sends is a violation", "[F16]") {
    Fixture connection;
    connection.say({FrameType::response, 0, 99, {}});
    connection->read_available();
    REQUIRE(connection.owner.violations.size() == 1);
    CHECK(contains(connection.owner.violations[0], "99"));
}

// --- Completion of async calls

/// An async call that keeps itself alive, and calls `user` where the user's code would run: when it
/// is completed, and when it is destroyed.
class SelfOwned final : public Call, public std::enable_shared_from_this<SelfOwned> {
public:
    explicit SelfOwned(std::function<void()> user) : user_(std::move(user)) {
        info = {"ask", 0, false, Clock::now(), TimePoint::max(), tether::no_timeout};
        message.seal();
    }
    ~SelfOwned() override { user_(); }
    tether::detail::Waiter on_settled() noexcept override {
        user_();
        self_.reset();
        return nullptr;
    }
    [[nodiscard]] bool is_async() const noexcept override { return true; }
    [[nodiscard]] std::shared_ptr<Call> keep_alive() override { return shared_from_this(); }
    void hold() { self_ = shared_from_this(); }

private:
    std::function<void()> user_;
    std::shared_ptr<SelfOwned> self_;
};

TEST_CASE("no lock is held where an async call is completed or destroyed") {
    Fixture connection;
    std::vector<std::future<void>> others;
    int completed = 0;
    int blocked = 0;
    // What another thread of the user's may be doing at that moment.
    const auto use_on_another_thread = [&] {
        ++completed;
        others.push_back(std::async(std::launch::async, [&] {
            connection->cancel(1000, false);
            connection->read_available();
        }));
        if (others.back().wait_for(10s) != std::future_status::ready) ++blocked;
    };
    const auto submit = [&](Clock::duration time, tether::Duration run_timeout) {
        const auto call = std::make_shared<SelfOwned>(use_on_another_thread);
        call->info.deadline = deadline_after(Clock::now(), time);
        call->info.run_timeout = run_timeout;
        call->hold();
        return connection->submit(*call);
    };
    const auto number = submit(1h, 50ms);
    const bool in_background = GENERATE(true, false);
    connection.owner.in_background = in_background;

    SECTION("by an answer") {
        connection.say({FrameType::response, 0, number, {}});
        connection->read_available();
    }
    SECTION("by an answer that the reactor reports") {
        connection.say({FrameType::response, 0, number, {}});
        connection->on_input();
    }
    SECTION("by a cancellation") { connection->cancel(number, false); }
    SECTION("by its deadline") {
        const auto due = submit(1ms, tether::no_timeout);
        while (connection->is_pending(due)) connection->on_deadline();
        connection->on_others_ran();
        CHECK(completed == 2);
        completed = 0;
        connection->cancel(number, false);
    }
    SECTION("by its run timeout") { connection->on_overrun(number); }
    SECTION("because the worker is stopped") { connection->stop({}); }
    SECTION("because the worker has ended") {
        connection->finish(errc::worker_exited, {}, std::make_shared<tether::ExitReport>());
    }
    SECTION("by an answer that was not sent") {
        connection->recover(encoded({FrameType::response, 0, number, {}}));
    }
    CHECK_FALSE(connection->is_pending(number));
    CHECK(completed == (in_background ? 2 : 0));  // another thread may hold locks of the user's
    connection->on_others_ran();
    CHECK(completed == 2);
    CHECK(blocked == 0);
}

// An executor may block on a mutex of the user's, whose holder waits for this connection.
TEST_CASE("a blocked caller leaves other completions to the background thread") {
    Fixture connection;
    std::mutex users;
    int completed = 0;
    const auto async = std::make_shared<SelfOwned>([&] {
        const std::scoped_lock lock{users};
        ++completed;
    });
    async->hold();
    connection->submit(*async);
    std::array<BlockingCall, 2> calls;
    for (auto& call : calls) {
        call.info = {"ask", 0, false, Clock::now(), Clock::now() + 60s, tether::no_timeout};
        call.message.seal();
        connection->submit(call);
    }
    std::thread other{[&] { connection->wait(calls[0]); }};
    {
        const std::scoped_lock lock{users};
        connection.say({FrameType::response, 0, async->number, {}});
        connection.say({FrameType::response, 0, calls[1].number, {}});
        connection->wait(calls[1]);
    }
    CHECK_FALSE(calls[1].outcome.error);
    connection.say({FrameType::response, 0, calls[0].number, {}});
    other.join();
    CHECK_FALSE(calls[0].outcome.error);
    CHECK(completed == 0);
    CHECK(connection.owner.flushes == 1);

    connection->on_others_ran();

    CHECK(completed == 1);
}

TEST_CASE("completions can be postponed until the owner has released its locks") {
    Fixture connection;
    int completed = 0;
    const auto async = std::make_shared<SelfOwned>([&] { ++completed; });
    async->hold();
    connection->submit(*async);
    {
        const Connection::Postponed outer{*connection.operator->()};
        {
            const Connection::Postponed inner{*connection.operator->()};
            connection->stop({});
            CHECK(async->settled);
        }
        connection->on_others_ran();
        CHECK(completed == 0);
    }
    CHECK(connection.owner.flushes == 1);
    connection->on_others_ran();
    CHECK(completed == 1);
}

}  // namespace connection_test
