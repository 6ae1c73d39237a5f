#pragma once

// A worker whose handlers wait without a thread, with what only such handlers do.

#include <tether/async_handler.hpp>
#include <tether/tether.hpp>

#include <asio/awaitable.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/co_spawn.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace tether_test {

/// Waits for this many milliseconds on a timer of Asio's, or until it is cancelled.
struct Nap {
    static constexpr std::string_view name = "nap";
    using Response = std::int64_t;
    std::int64_t ms{};
};
TETHER_DEFINE_MESSAGE(Nap, ms)

/// Computes for so long, and asks whether it should stop.
struct Toil {
    static constexpr std::string_view name = "toil";
    using Response = void;
    std::int64_t ms{};
};
TETHER_DEFINE_MESSAGE(Toil, ms)

struct Naps {
    std::int64_t now{};
    std::int64_t most{};       // at once
    std::int64_t cancelled{};  // by the end of their calls
    std::int64_t threads{};    // that have run handlers
};
TETHER_DEFINE_MESSAGE(Naps, now, most, cancelled, threads)

struct CountNaps {
    static constexpr std::string_view name = "count naps";
    using Response = Naps;
};

struct Wish {  // a question
    static constexpr std::string_view name = "wish";
    using Response = std::int64_t;
    std::int64_t number{};
};
TETHER_DEFINE_MESSAGE(Wish, number)

/// Asks so many questions, all at the same time; the sum of the answers.
struct AskAll {
    static constexpr std::string_view name = "ask all";
    using Response = std::int64_t;
    std::int64_t questions{};
    std::int64_t timeout_ms{};  // 0: none
};
TETHER_DEFINE_MESSAGE(AskAll, questions, timeout_ms)

/// Sends two items at the same time, which is one too many.
struct Crowd {
    static constexpr std::string_view name = "crowd";
    using Item = std::string;
    using Response = std::string;  // what one of them was told
};

/// Sends an item that is too large, and says what that throws.
struct TooLarge {
    static constexpr std::string_view name = "too large";
    using Item = std::string;
    using Response = std::string;
    std::int64_t bytes{};
};
TETHER_DEFINE_MESSAGE(TooLarge, bytes)

/// Computes on, never asks, and answers.
struct Plod {
    static constexpr std::string_view name = "plod";
    using Response = std::int64_t;
    struct Progress {  // once, at its beginning
        std::int64_t at{};
    };
    std::int64_t ms{};
};
TETHER_DEFINE_MESSAGE(Plod, ms)
TETHER_DEFINE_MESSAGE(Plod::Progress, at)

/// Waits on, whatever it is told.
struct Ignore {
    static constexpr std::string_view name = "ignore";
    using Response = void;
    std::int64_t ms{};
};
TETHER_DEFINE_MESSAGE(Ignore, ms)

/// Waits for the parent when it has been told to stop.
struct Late {
    static constexpr std::string_view name = "late";
    using Upload = std::string;
    using Response = void;
    struct Progress {
        std::int64_t at{};
    };
};
TETHER_DEFINE_MESSAGE(Late::Progress, at)

/// Throws std::bad_alloc.
struct Exhaust {
    static constexpr std::string_view name = "exhaust";
    using Response = void;
};

struct Fail {
    static constexpr std::string_view name = "fail";
    using Response = void;
    bool before_waiting{};
};
TETHER_DEFINE_MESSAGE(Fail, before_waiting)

struct AsyncProtocol {
    static constexpr std::string_view name = "tether.test.async";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Nap, Toil, CountNaps, AskAll, Crowd, TooLarge, Plod, Ignore,
                                      Late, Exhaust, Fail>;
    using Callbacks = tether::Messages<Wish>;
    using Codec = tether::MessagePackCodec;
};

/// The same requests, without anything live.
struct Doze {
    static constexpr std::string_view name = "doze";
    using Response = std::int64_t;
    std::int64_t ms{};
};
TETHER_DEFINE_MESSAGE(Doze, ms)

struct PlainAsyncProtocol {
    static constexpr std::string_view name = "tether.test.async.plain";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Doze>;
};

inline asio::awaitable<void> wait_for(std::int64_t ms) {
    asio::steady_timer timer{co_await asio::this_coro::executor, std::chrono::milliseconds{ms}};
    co_await timer.async_wait(asio::use_awaitable);
}

class PlainAsyncHandler final : public tether::AsyncHandler<PlainAsyncProtocol> {
    asio::awaitable<std::int64_t> handle(const Doze& request,
                                         tether::AsyncCallContext<Doze>&) override {
        co_await wait_for(request.ms);
        co_return request.ms;
    }
};

class Waiting final : public tether::AsyncHandler<AsyncProtocol> {
    asio::awaitable<std::int64_t> handle(const Nap& request,
                                         tether::AsyncCallContext<Nap>&) override {
        note_thread();
        note_nap(+1);
        bool cancelled = false;
        try {
            co_await wait_for(request.ms);
        } catch (const std::system_error&) {
            cancelled = true;
        }
        note_thread();
        note_nap(-1);
        const std::scoped_lock lock{mutex_};
        naps_.cancelled += cancelled ? 1 : 0;
        co_return request.ms;
    }

    asio::awaitable<void> handle(const Toil& request,
                                 tether::AsyncCallContext<Toil>& call) override {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds{request.ms};
        while (!call.stop_requested() && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        co_return;
    }

    asio::awaitable<Naps> handle(const CountNaps&, tether::AsyncCallContext<CountNaps>&) override {
        const std::scoped_lock lock{mutex_};
        auto naps = naps_;
        naps.threads = static_cast<std::int64_t>(threads_.size());
        co_return naps;
    }

    asio::awaitable<std::int64_t> handle(const AskAll& request,
                                         tether::AsyncCallContext<AskAll>& call) override {
        struct Asked {
            std::int64_t left = 0;
            std::int64_t sum = 0;
            std::exception_ptr failure{};
        };
        tether::AskOptions options;
        if (request.timeout_ms != 0)
            options.timeout = std::chrono::milliseconds{request.timeout_ms};
        const auto executor = co_await asio::this_coro::executor;
        Asked asked{request.questions};
        asio::steady_timer all{executor, asio::steady_timer::time_point::max()};
        for (std::int64_t i = 0; i < request.questions; ++i) {
            const Wish wish{i};
            asio::co_spawn(executor, call.async_ask(wish, options),
                           [&](const std::exception_ptr& failure, std::int64_t answer) {
                               if (failure != nullptr) asked.failure = failure;
                               asked.sum += answer;
                               if (--asked.left == 0) all.cancel();
                           });
        }
        while (asked.left != 0) {
            try {
                co_await all.async_wait(asio::use_awaitable);
            } catch (const std::system_error&) {  // that is what it waits for
            }
        }
        if (asked.failure != nullptr) std::rethrow_exception(asked.failure);
        co_return asked.sum;
    }

    asio::awaitable<std::string> handle(const Crowd&,
                                        tether::AsyncCallContext<Crowd>& call) override {
        const std::string item = "item";
        std::string told;
        bool other_is_over = false;
        const auto executor = co_await asio::this_coro::executor;
        asio::co_spawn(executor, call.async_send(item), [&](const std::exception_ptr& failure) {
            other_is_over = true;
            if (failure != nullptr) told = text_of(failure);
        });
        try {
            co_await call.async_send(item);
        } catch (...) {
            told = text_of(std::current_exception());
        }
        while (!other_is_over) co_await wait_for(1);
        co_return told;
    }

    asio::awaitable<std::string> handle(const TooLarge& request,
                                        tether::AsyncCallContext<TooLarge>& call) override {
        const std::string item(static_cast<std::size_t>(request.bytes), 'x');
        try {
            co_await call.async_send(item);
        } catch (const std::length_error& error) {
            co_return error.what();
        }
        co_return "nothing";
    }

    asio::awaitable<std::int64_t> handle(const Plod& request,
                                         tether::AsyncCallContext<Plod>& call) override {
        call.progress({0});
        std::this_thread::sleep_for(std::chrono::milliseconds{request.ms});
        co_return request.ms;
    }

    asio::awaitable<void> handle(const Ignore& request,
                                 tether::AsyncCallContext<Ignore>&) override {
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        co_await wait_for(request.ms);
    }

    asio::awaitable<void> handle(const Late&, tether::AsyncCallContext<Late>& call) override {
        note_nap(+1);
        while (!call.stop_requested()) {
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        call.progress({1});
        static_cast<void>(co_await call.async_next());
    }

    asio::awaitable<void> handle(const Exhaust&, tether::AsyncCallContext<Exhaust>&) override {
        co_await wait_for(1);
        throw std::bad_alloc{};
    }

    asio::awaitable<void> handle(const Fail& request, tether::AsyncCallContext<Fail>&) override {
        if (!request.before_waiting) co_await wait_for(1);
        throw tether::HandlerError("tired", "no more of this");
    }

    static std::string text_of(const std::exception_ptr& failure) {
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            return error.what();
        }
    }

    void note_nap(std::int64_t more) {
        const std::scoped_lock lock{mutex_};
        naps_.now += more;
        naps_.most = std::max(naps_.most, naps_.now);
    }

    void note_thread() {
        const std::scoped_lock lock{mutex_};
        threads_.insert(std::this_thread::get_id());
    }

    std::mutex mutex_;
    Naps naps_;
    std::set<std::thread::id> threads_;
};

}  // namespace tether_test
