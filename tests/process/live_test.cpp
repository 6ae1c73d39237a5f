// Progress, streams, questions and notifications: over each transport, and without a process.

#include <tether/worker_pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "process/host_process.hpp"
#include "process/live_protocol.hpp"
#include "process/support/worker_under_test.hpp"

namespace tether_test::live_test {
namespace {

using tether_lifetime::let_pass;
using tether_lifetime::within;

using LiveWorker = tether::Worker<LiveProtocol>;
using LivePool = tether::WorkerPool<LiveProtocol>;
using LiveLoopback = tether::LoopbackWorker<LiveProtocol, LiveHandler>;

constexpr std::int64_t mebibyte = 1 << 20;

/// A worker, or what stands for it. "async": its handlers are coroutines. "pool": of one worker.
class Site {
public:
    explicit Site(const std::string& kind, unsigned concurrency = 1,
                  std::optional<asio::any_io_executor> executor = std::nullopt) {
        INFO(kind);
        using tether::Transport;
        auto options = options_for(kind == "tcp"           ? Transport::tcp
                                   : kind == "socket_pair" ? Transport::socket_pair
                                                           : Transport::automatic);
        options.concurrency = concurrency;
        if (kind == "async") options.arguments = {"async"};
        if (kind == "pool") {
            const tether::PoolOptions of_pool{.size = 1, .worker = options};
            pool_ = executor ? std::make_unique<LivePool>(*executor, of_pool)
                             : std::make_unique<LivePool>(of_pool);
            any_.emplace(*pool_);
        } else if (kind == "loopback") {
            loopback_ = executor ? std::make_unique<LiveLoopback>(*executor, options)
                                 : std::make_unique<LiveLoopback>(options);
            any_.emplace(*loopback_);
        } else {
            worker_ = executor ? std::make_unique<LiveWorker>(*executor, options)
                               : std::make_unique<LiveWorker>(options);
            any_.emplace(*worker_);
        }
    }

    tether::AnyWorker<LiveProtocol>* operator->() { return &*any_; }
    [[nodiscard]] LiveWorker& process() { return *worker_; }
    [[nodiscard]] bool has_process() const noexcept { return worker_ != nullptr; }
    void stop() {
        if (worker_ != nullptr) worker_->stop();
        if (loopback_ != nullptr) loopback_->stop();
        if (pool_ != nullptr) pool_->stop();
    }
    void kill() {
        if (worker_ != nullptr) worker_->kill();
        if (loopback_ != nullptr) loopback_->kill();
        if (pool_ != nullptr) pool_->kill();
    }
    void end() {
        pool_.reset();
        worker_.reset();
        loopback_.reset();
    }

private:
    std::unique_ptr<LiveWorker> worker_;
    std::unique_ptr<LiveLoopback> loopback_;
    std::unique_ptr<LivePool> pool_;
    std::optional<tether::AnyWorker<LiveProtocol>> any_;
};

std::string each_kind() {
    return GENERATE("automatic", "tcp", "socket_pair", "loopback", "async", "pool");
}
std::string each_side() { return GENERATE("automatic", "loopback"); }

template <class Call>
std::optional<errc> failure_of(Call call) {
    try {
        call();
        return std::nullopt;
    } catch (const CallError& error) {
        UNSCOPED_INFO(error.what());
        return error.cause();
    }
}

Piece piece(std::int64_t number, std::int64_t size) {
    return {number, tether::Bytes(static_cast<std::size_t>(size))};
}

// --- Streams down

TEST_CASE("items come in order, and then the response", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    for (const auto& [count, size] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {0, 0}, {1, 10}, {20'000, 10}, {300, 50'000}, {5, 3 * mebibyte}}) {
        INFO(count << " of " << size);
        auto stream = site->stream(Produce{count, size});
        std::int64_t next = 0;
        bool right = true;
        for (auto& item : stream) {
            right = right && item.number == next++ &&
                    item.blob.size() == static_cast<std::size_t>(size);
        }
        CHECK(right);
        CHECK(next == count);
        CHECK(stream.response() == count);
    }
}

TEST_CASE("items come in order to a coroutine", "[process][live]") {
    const Census census;
    asio::io_context context;
    Site site{each_kind(), 1, context.get_executor()};
    std::int64_t next = 0;
    std::int64_t answer = -1;
    const auto run = [&]() -> asio::awaitable<void> {
        auto stream = site->stream(Produce{20'000, 10});
        while (auto item = co_await stream.async_next(asio::use_awaitable)) {
            if (item->number == next) ++next;
        }
        answer = co_await stream.async_response(asio::use_awaitable);
    };
    asio::co_spawn(context, run(), asio::detached);
    context.run();
    CHECK(next == 20'000);
    CHECK(answer == 20'000);
}

TEST_CASE("a slow consumer holds up its own stream only", "[process][live]") {
    const Census census;
    Site site{each_side(), 2};
    auto stream = site->stream(Produce{1'000, 64 * 1024});
    REQUIRE(stream.next());
    // What is let go before the window is full.
    const std::int64_t most = 256 / 64;
    const auto produced = [&] { return site->call(Look{}).produced; };
    REQUIRE(eventually([&] { return produced() >= most; }));
    CHECK(site->call(Work{100, true}) == 100);
    CHECK(produced() == most);
    std::int64_t more = 1;
    while (stream.next()) ++more;
    CHECK(more == 1'000);
    CHECK(stream.response() == 1'000);
}

TEST_CASE("a stream that is dropped stops its handler", "[process][live]") {
    const Census census;
    const std::string how = GENERATE("destroy", "cancel", "stop_token", "assign");
    Site site{each_side(), 2};
    std::stop_source source;
    auto stream = std::make_unique<tether::Stream<LiveProtocol, Produce>>(
        site->stream(Produce{1'000'000, 10'000}, {.stop_token = source.get_token()}));
    REQUIRE(stream->next());
    REQUIRE(eventually([&] { return site->call(Look{}).running == 1; }));
    if (how == "destroy") stream.reset();
    if (how == "cancel") stream->cancel();
    if (how == "stop_token") source.request_stop();
    if (how == "assign") *stream = site->stream(Produce{0, 0});
    if (how == "cancel" || how == "stop_token") {
        CHECK(failure_of([&] {
                  while (stream->next()) {
                  }
              }) == errc::cancelled);
        CHECK(failure_of([&] { stream->response(); }) == errc::cancelled);
    }
    CHECK(eventually([&] { return site->call(Look{}).running == 0; }));
    CHECK(site->call(Look{}).cancelled == 1);
}

TEST_CASE("an error comes after the items before it", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    auto stream = site->stream(Produce{100, 10, 50, "throw"});
    for (int i = 0; i < 50; ++i) REQUIRE(stream.next());
    try {
        stream.next();
        FAIL("no error");
    } catch (const RemoteError& error) {
        CHECK(error.remote_code() == "tired");
    }
    CHECK_THROWS_AS(stream.response(), RemoteError);
    CHECK(site->call(Work{1}) == 1);
}

TEST_CASE("a worker that dies in the middle of a stream", "[process][live]") {
    const Census census;
    Site site{"automatic"};
    auto stream = site->stream(Produce{100, 10, 50, "exit"});
    std::int64_t items = 0;
    CHECK(failure_of([&] {
              while (stream.next()) ++items;
          }) == errc::worker_exited);
    CHECK(items <= 50);
    CHECK(failure_of([&] { stream.response(); }) == errc::worker_exited);
    auto next = site->stream(Produce{10, 10});
    CHECK(next.response() == 10);
}

TEST_CASE("a stream ends by its deadlines", "[process][live]") {
    const Census census;
    Site site{each_side()};
    SECTION("for the whole") {
        auto stream = site->stream(Produce{2, 10, 1, "wait"}, {.timeout = 100ms});
        REQUIRE(stream.next());
        CHECK(failure_of([&] { stream.next(); }) == errc::timeout);
    }
    SECTION("for the whole, while nothing waits") {
        auto stream = site->stream(Produce{2, 10, 1, "wait"}, {.timeout = 100ms});
        CHECK(eventually([&] { return site->call(Look{}).running == 0; }));
        CHECK(failure_of([&] { stream.response(); }) == errc::timeout);
    }
    SECTION("for the next item") {
        auto stream = site->stream(Produce{2, 10, 1, "wait"}, {.item_timeout = 100ms});
        REQUIRE(stream.next());
        CHECK(failure_of([&] { stream.next(); }) == errc::timeout);
    }
    SECTION("for the next item, of an operation") {
        auto stream = site->stream(Produce{2, 10, 1, "wait"}, {.item_timeout = 100ms});
        REQUIRE(stream.async_next(asio::use_future).get());
        auto next = stream.async_next(asio::use_future);
        CHECK(failure_of([&] { next.get(); }) == errc::timeout);
    }
    CHECK(site->call(Work{1}) == 1);
}

TEST_CASE("an operation on a stream is cancelled alone", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto stream = site->stream(Produce{2, 10, 1, "wait"});
    REQUIRE(stream.next());
    asio::io_context context;
    asio::cancellation_signal signal;
    std::optional<errc> cause;
    stream.async_next(asio::bind_cancellation_slot(
        signal.slot(), asio::bind_executor(context, [&](const std::exception_ptr& error, auto) {
            cause = tether::error_of(error)->cause();
        })));
    context.poll();
    CHECK_FALSE(cause);
    signal.emit(asio::cancellation_type::total);
    context.restart();
    context.run();
    CHECK(cause == errc::cancelled);
    CHECK(eventually([&] { return true; }));
    stream.cancel();
    CHECK(failure_of([&] { stream.response(); }) == errc::cancelled);
}

TEST_CASE("writing is cancelled alone", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto stream = site->stream(Pass{});
    asio::io_context context;
    std::int64_t written = 0;
    std::optional<errc> cause;
    asio::cancellation_signal signal;
    // The stream is not read, so both windows become full. One that only took long is sent all the
    // same.
    while (!cause) {
        REQUIRE(written < 100);
        bool done = false;
        const Piece piece{written, tether::Bytes(100'000)};
        stream.async_write(
            piece, asio::bind_cancellation_slot(
                       signal.slot(), asio::bind_executor(
                                          context, [&](const std::exception_ptr& error, bool sent) {
                                              done = true;
                                              if (error) cause = tether::error_of(error)->cause();
                                              if (sent) ++written;
                                          })));
        context.restart();
        context.run_for(100ms);
        if (done) continue;
        signal.emit(asio::cancellation_type::total);
        context.restart();
        context.run();
    }
    CHECK(cause == errc::cancelled);
    stream.finish();
    std::int64_t read = 0;
    for (const auto& piece : stream) CHECK(piece.number == read++);
    CHECK(read == written);
    stream.response();
}

TEST_CASE("to wait for the response is cancelled alone", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto stream = site->stream(Produce{2, 10, 1, "wait"});
    asio::io_context context;
    asio::cancellation_signal signal;
    std::optional<errc> cause;
    stream.async_response(asio::bind_cancellation_slot(
        signal.slot(), asio::bind_executor(context, [&](const std::exception_ptr& error, auto) {
            cause = tether::error_of(error)->cause();
        })));
    context.poll();
    CHECK_FALSE(cause);
    signal.emit(asio::cancellation_type::terminal);
    context.restart();
    context.run();
    CHECK(cause == errc::cancelled);
    stream.cancel();
    CHECK(failure_of([&] { stream.response(); }) == errc::cancelled);
}

TEST_CASE("the end of its worker ends a stream", "[process][live]") {
    const Census census;
    const std::string how = GENERATE("stop", "async_stop", "kill", "destroy");
    Site site{each_side()};
    if (how == "async_stop" && !site.has_process()) return;
    auto stream = site->stream(Produce{2, 10, 1, "wait"});
    REQUIRE(stream.next());
    std::thread ending{[&] {
        if (how == "stop") site.stop();
        if (how == "async_stop") site.process().async_stop(asio::use_future).get();
        if (how == "kill") site.kill();
        if (how == "destroy") site.end();
    }};
    CHECK(failure_of([&] { stream.next(); }) ==
          (how == "kill" ? errc::worker_killed : errc::stopped));
    ending.join();
}

TEST_CASE("a stream that has not begun goes to the next process", "[process][live]") {
    const Census census;
    Site site{"automatic"};
    auto first = site->stream(Produce{2, 10, 1, "wait"});
    REQUIRE(first.next());
    auto second = site->stream(Produce{3, 10});
    site.process().kill();
    CHECK(second.response() == 3);
    CHECK(site.process().generation() == 2);
}

// --- Streams up

TEST_CASE("a handler takes what is written, in order", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    for (const auto& [count, size] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {0, 0}, {1, 10}, {20'000, 10}, {300, 50'000}, {5, 3 * mebibyte}}) {
        INFO(count << " of " << size);
        auto stream = site->stream(Consume{});
        for (std::int64_t i = 0; i < count; ++i) REQUIRE(stream.write(piece(i, size)));
        stream.finish();
        const auto total = stream.response();
        CHECK(total.items == count);
        CHECK(total.bytes == count * size);
        CHECK(total.in_order);
    }
}

TEST_CASE("a coroutine writes", "[process][live]") {
    const Census census;
    asio::io_context context;
    Site site{each_side(), 1, context.get_executor()};
    std::optional<Total> total;
    const auto run = [&]() -> asio::awaitable<void> {
        auto stream = site->stream(Consume{});
        for (std::int64_t i = 0; i < 500; ++i) {
            const auto item = piece(i, 20'000);
            co_await stream.async_write(item, asio::use_awaitable);
        }
        stream.finish();
        total = co_await stream.async_response(asio::use_awaitable);
    };
    asio::co_spawn(context, run(), asio::detached);
    context.run();
    REQUIRE(total);
    CHECK(total->items == 500);
    CHECK(total->in_order);
}

TEST_CASE("a handler may answer before it has taken all", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto stream = site->stream(Consume{3});
    std::int64_t written = 0;
    while (written < 100'000 && stream.write(piece(written, 10'000))) ++written;
    CHECK(written < 100'000);
    CHECK(stream.response().items == 3);
    CHECK(site->call(Work{1}) == 1);
}

TEST_CASE("a filter: both directions at once, more than fits anywhere", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    const auto size = GENERATE(as<std::int64_t>{}, 100, 100'000, 3 * mebibyte);
    const auto count = 40 * mebibyte / (size + 1'000);
    auto stream = site->stream(Pass{});
    std::thread writer{[&] {
        for (std::int64_t i = 0; i < count; ++i) {
            if (!stream.write(piece(i, size))) break;
        }
        stream.finish();
    }};
    std::int64_t next = 0;
    for (const auto& item : stream) {
        if (item.number == next) ++next;
    }
    writer.join();
    CHECK(next == count);
    stream.response();
}

TEST_CASE("what is written while a stream waits for its process is not lost", "[process][live]") {
    const Census census;
    Site site{"automatic"};
    auto first = site->stream(Produce{2, 10, 1, "wait"});
    REQUIRE(first.next());
    auto second = site->stream(Consume{});  // behind it
    std::thread writer{[&] {
        site.process().kill();
        for (std::int64_t i = 0; i < 1'000; ++i) {
            if (!second.write(piece(i, 10))) return;
        }
        second.finish();
    }};
    writer.join();
    const auto total = second.response();
    CHECK(total.items == 1'000);
    CHECK(total.in_order);
}

TEST_CASE("finish() waits for nothing, and nothing is written afterwards", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto blocker = site->stream(Produce{2, 10, 1, "wait"});
    REQUIRE(blocker.next());
    auto stream = site->stream(Consume{});
    std::int64_t written = 0;
    std::optional<std::future<bool>> waits;
    while (!waits) {  // until the window is full
        auto next = stream.async_write(piece(written, 50'000), asio::use_future);
        if (next.wait_for(50ms) == std::future_status::timeout) waits.emplace(std::move(next));
        ++written;
    }
    stream.finish();
    CHECK_THROWS_AS(stream.write(piece(0, 0)), std::logic_error);
    blocker.cancel();
    CHECK(waits->get());
    CHECK(stream.response().items == written);
}

TEST_CASE("async_response() drops the items that were not taken", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto stream = site->stream(Produce{100, 50'000});
    REQUIRE(stream.next());
    CHECK(stream.async_response(asio::use_future).get() == 100);
}

TEST_CASE("a stream has one operation of a kind at a time", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto stream = site->stream(Produce{2, 10, 1, "wait"});
    REQUIRE(stream.next());
    auto next = stream.async_next(asio::use_future);
    CHECK_THROWS_AS(stream.next(), std::logic_error);
    CHECK_THROWS_AS(stream.async_next(asio::use_future), std::logic_error);
    stream.cancel();
    CHECK(failure_of([&] { next.get(); }) == errc::cancelled);
}

// --- Progress

TEST_CASE("progress comes in order, before the answer", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    std::vector<std::int64_t> seen;
    const auto caller = std::this_thread::get_id();
    bool here = true;
    CHECK(site->call(Work{100, true}, {.on_progress = [&](const Work::Progress& progress) {
                         here = here && std::this_thread::get_id() == caller;
                         seen.push_back(progress.at);
                     }}) == 100);
    CHECK(here);
    CHECK(seen.size() > 1);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
    CHECK(seen.back() == 99);
}

TEST_CASE("progress of an async call comes on its executor, and never after it",
          "[process][live]") {
    const Census census;
    asio::thread_pool pool{3};
    Site site{each_side()};
    std::mutex mutex;
    std::vector<std::int64_t> seen;
    std::atomic<int> inside{0};
    bool alone = true;
    for (int round = 0; round < 20; ++round) {
        seen.clear();
        std::promise<std::size_t> done;
        site->async_call(Work{30, true},
                         {.on_progress =
                              [&](const Work::Progress& progress) {
                                  alone = alone && ++inside == 1;
                                  {
                                      const std::scoped_lock lock{mutex};
                                      seen.push_back(progress.at);
                                  }
                                  --inside;
                              }},
                         asio::bind_executor(pool, [&](const std::exception_ptr&, std::int64_t) {
                             alone = alone && inside == 0;
                             const std::scoped_lock lock{mutex};
                             done.set_value(seen.size());
                         }));
        const auto at_the_end = done.get_future().get();
        const std::scoped_lock lock{mutex};
        REQUIRE(at_the_end == seen.size());
        REQUIRE(seen.back() == 29);
        REQUIRE(std::is_sorted(seen.begin(), seen.end()));
    }
    CHECK(alone);
    pool.join();
}

TEST_CASE("progress that is not taken does not grow, and holds no handler up", "[process][live]") {
    const Census census;
    Site site{each_side()};
    std::int64_t calls = 0;
    std::int64_t last = -1;
    CHECK(site->call(Work{200'000, false, 1'000},
                     {.on_progress = [&](const Work::Progress& progress) {
                         if (++calls == 1) let_pass(100ms);
                         last = progress.at;
                     }}) == 200'000);
    CHECK(calls < 50'000);
    CHECK(last == 199'999);
}

TEST_CASE("progress extends the time of a call", "[process][live]") {
    const Census census;
    Site site{each_side()};
    CHECK(site->call(Work{1'000, true}, {.timeout = within(300ms), .progress_extends = true}) ==
          1'000);
    CHECK(failure_of([&] {
              site->call(Work{100'000, true}, {.timeout = within(300ms),
                                               .progress_extends = true,
                                               .total_timeout = within(600ms)});
          }) == errc::timeout);
    const auto options =
        tether::CallOptions<Work>{.timeout = within(300ms), .progress_extends = true};
    CHECK(site->async_call(Work{1'000, true}, options, asio::use_future).get() == 1'000);
}

TEST_CASE("what on_progress throws ends the call", "[process][live]") {
    const Census census;
    Site site{each_side()};
    CHECK_THROWS_AS(
        site->call(
            Work{100'000, true},
            {.on_progress = [](const Work::Progress&) { throw std::out_of_range("enough"); }}),
        std::out_of_range);
    CHECK(site->call(Work{1}) == 1);
}

TEST_CASE("a progress has a limit of its own", "[process][live]") {
    const Census census;
    Site site{each_side()};
    CHECK_THROWS_AS(site->call(Work{1, false, 20'000}), RemoteError);
    CHECK(site->call(Work{1, false, 15'000}) == 1);
}

// --- Questions

TEST_CASE("a handler asks, the caller's thread answers", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    const auto caller = std::this_thread::get_id();
    site->provide<Guess>([&](const Guess& guess) {
        return guess.text + (std::this_thread::get_id() == caller ? " here" : " elsewhere");
    });
    CHECK(site->call(Inquire{"a", 3}) == std::vector<std::string>{"a here", "a here", "a here"});
    site->provide<Confirm>([](const Confirm&) {});
    CHECK(site->call(Inquire{"confirm"}) == std::vector<std::string>{"confirmed"});
}

TEST_CASE("a question of an async call is answered on its executor", "[process][live]") {
    const Census census;
    asio::io_context context;
    Site site{each_side(), 1, context.get_executor()};
    site->provide<Guess>([&](const Guess& guess) {
        return guess.text + (context.get_executor().running_in_this_thread() ? " there" : "");
    });
    auto told = site->async_call(Inquire{"a", 2}, asio::use_future);
    context.run();
    CHECK(told.get() == std::vector<std::string>{"a there", "a there"});
}

TEST_CASE("a question is answered on an executor of its own, or by a coroutine",
          "[process][live]") {
    const Census census;
    asio::thread_pool pool{1};
    Site site{each_side()};
    site->provide<Guess>(pool.get_executor(), [&](const Guess& guess) {
        return guess.text + (pool.get_executor().running_in_this_thread() ? " pool" : "");
    });
    CHECK(site->call(Inquire{"a"}) == std::vector<std::string>{"a pool"});
    site->provide<Guess>(pool.get_executor(),
                         [](const Guess& guess) -> asio::awaitable<std::string> {
                             if (guess.text == "throw") throw tether::HandlerError("no", "never");
                             co_return guess.text + " awaited";
                         });
    CHECK(site->call(Inquire{"b"}) == std::vector<std::string>{"b awaited"});
    CHECK_THROWS_WITH(site->call(Inquire{"throw"}), Catch::Contains("never"));
    pool.join();
}

TEST_CASE("a question that goes wrong is one clear error", "[process][live]") {
    const Census census;
    Site site{each_side()};
    CHECK_THROWS_WITH(site->call(Inquire{"a"}), Catch::Contains("provides no answer"));
    site->provide<Guess>(
        [](const Guess&) -> std::string { throw tether::HandlerError("lost", "no idea"); });
    CHECK_THROWS_WITH(site->call(Inquire{"a"}), Catch::Contains("no idea"));
    asio::io_context never_run;
    site->provide<Guess>(never_run.get_executor(), [](const Guess&) { return std::string{}; });
    CHECK_THROWS_WITH(site->call(Inquire{"a", 1, 50}), Catch::Contains("no answer within"));
    CHECK(failure_of([&] { site->call(Inquire{"a"}, {.timeout = 100ms}); }) == errc::timeout);
    CHECK(site->call(Work{1}) == 1);
}

TEST_CASE("an answer that is too large fails its question alone", "[process][live]") {
    const Census census;
    auto options = options_for(each_transport());
    options.max_message_bytes = 64 * 1024;
    LiveWorker worker{options};
    worker.provide<Guess>([](const Guess& guess) -> std::string {
        if (guess.text == "throw") throw std::runtime_error(std::string(100'000, 't'));
        return std::string(guess.text == "fits" ? 60'000 : 100'000, 'a');
    });
    CHECK(worker.call(Inquire{"fits"}).front().size() == 60'000);
    CHECK_THROWS_WITH(worker.call(Inquire{"large"}), Catch::Contains("the answer has 1000"));
    CHECK_THROWS_WITH(worker.call(Inquire{"throw"}), Catch::Contains("ttt"));
    CHECK(worker.call(Work{1}) == 1);
    CHECK(worker.generation() == 1);
}

TEST_CASE("an answer may call the same worker, if a handler is left", "[process][live]") {
    const Census census;
    SECTION("one handler") {
        Site site{each_side()};
        site->provide<Guess>([&](const Guess&) { return std::to_string(site->call(Work{5})); });
        CHECK_THROWS_WITH(site->call(Inquire{"a"}), Catch::Contains("has no other for this call"));
        CHECK(site->call(Work{1}) == 1);
    }
    SECTION("two handlers") {
        Site site{each_side(), 2};
        site->provide<Guess>([&](const Guess& guess) {
            if (guess.text == "again") return site->call(Inquire{"a"}).front();
            return std::to_string(site->call(Work{5}));
        });
        CHECK(site->call(Inquire{"a"}) == std::vector<std::string>{"5"});
        CHECK_THROWS_AS(site->call(Inquire{"again"}), RemoteError);
        CHECK(site->call(Inquire{"a"}) == std::vector<std::string>{"5"});
    }
}

// --- Notifications

struct Heard {
    void operator()(const Noticed& noticed) {
        const std::scoped_lock lock{mutex};
        if (noticed.number == next % total) ++next;
    }
    [[nodiscard]] std::int64_t count() {
        const std::scoped_lock lock{mutex};
        return next;
    }
    std::mutex mutex{};
    std::int64_t total;
    std::int64_t next = 0;
};

TEST_CASE("notifications come in order", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    const bool by_thread = GENERATE(false, true);
    const auto size = GENERATE(as<std::int64_t>{}, 10, 100'000);
    Heard heard{.total = size == 10 ? 20'000 : 200};
    const auto subscription = site->on<Noticed>([&](const Noticed& noticed) { heard(noticed); });
    site->call(Announce{heard.total, size, by_thread});
    CHECK(eventually([&] { return heard.count() == heard.total; }));
}

TEST_CASE("what is not subscribed to is not sent", "[process][live]") {
    const Census census;
    Site site{each_side()};
    site->call(Announce{100'000, 1'000});
    int heard = 0;
    {
        const auto subscription = site->on<Noticed>([&](const Noticed&) { ++heard; });
    }
    site->call(Announce{1'000, 1'000});
    CHECK(heard == 0);
}

TEST_CASE("a subscription ends where it is, and nothing comes afterwards", "[process][live]") {
    const Census census;
    asio::thread_pool pool{2};
    Site site{each_side()};
    std::atomic<int> heard{0};
    SECTION("inside its function") {
        tether::Subscription subscription;
        subscription = site->on<Noticed>(pool.get_executor(), [&](const Noticed&) {
            ++heard;
            subscription.reset();
        });
        site->call(Announce{100, 10});
        site.end();
        pool.join();
        CHECK(heard == 1);
    }
    SECTION("on another thread") {
        for (int round = 0; round < 20; ++round) {
            auto alive = std::make_shared<std::atomic<bool>>(true);
            bool right = true;
            auto subscription = site->on<Noticed>(
                pool.get_executor(), [&right, alive](const Noticed&) { right = right && *alive; });
            auto announced = site->async_call(Announce{1'000, 10}, asio::use_future);
            let_pass(std::chrono::milliseconds{round % 3});
            subscription.reset();
            *alive = false;
            announced.get();
            REQUIRE(right);
        }
    }
    pool.join();
}

TEST_CASE("a subscription ends while much is on the way to it", "[process][live]") {
    const Census census;
    asio::thread_pool pool{1};
    Site site{each_side()};
    std::promise<void> first;
    std::once_flag once;
    auto subscription = site->on<Noticed>(pool.get_executor(), [&](const Noticed&) {
        std::call_once(once, [&] { first.set_value(); });
    });
    auto announced = site->async_call(Announce{200, 100'000}, asio::use_future);
    first.get_future().get();
    subscription.reset();
    announced.get();
    CHECK(site->call(Work{1}) == 1);
    pool.join();
}

TEST_CASE("a subscription holds for the next process, too", "[process][live]") {
    const Census census;
    Site site{each_side()};
    Heard heard{.total = 100};
    const auto subscription = site->on<Noticed>([&](const Noticed& noticed) { heard(noticed); });
    site->call(Announce{100, 10});
    site.kill();
    site->call(Announce{100, 10});
    CHECK(eventually([&] { return heard.count() == 200; }));
}

TEST_CASE("a subscription outlives its worker", "[process][live]") {
    const Census census;
    Site site{each_side()};
    auto subscription = site->on<Noticed>([](const Noticed&) {});
    site.end();
    subscription.reset();
}

TEST_CASE("a request without an answer is handled in its turn", "[process][live]") {
    const Census census;
    Site site{each_kind()};
    std::vector<std::int64_t> sent;
    for (std::int64_t i = 0; i < 1'000; ++i) {
        site->notify(Nudge{i});
        sent.push_back(i);
    }
    site->notify(Nudge{0, true});
    CHECK(site->call(Look{}).nudges == sent);
}

}  // namespace
}  // namespace tether_test::live_test
