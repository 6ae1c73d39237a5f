#pragma once

// What LiveHandler does, by coroutines: a caller must not see the difference. Messages have names
// of their own: GCC 12 destroys an aggregate twice that is made within a co_await expression.

#include <tether/async_handler.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "process/live_protocol.hpp"

namespace tether_test {

class AsyncLiveHandler final : public tether::AsyncHandler<LiveProtocol> {
    static asio::awaitable<void> pause() {
        asio::steady_timer timer{co_await asio::this_coro::executor, std::chrono::milliseconds{1}};
        co_await timer.async_wait(asio::use_awaitable);
    }

    asio::awaitable<std::int64_t> handle(const Produce& request,
                                         tether::AsyncCallContext<Produce>& call) override {
        const Running running{running_};
        try {
            for (std::int64_t i = 0; i < request.count; ++i) {
                if (i == request.end_at) co_await end(request.end);
                const Piece piece{i, tether::Bytes(static_cast<std::size_t>(request.size))};
                co_await call.async_send(piece);
                call.progress({i});
                ++produced_;
            }
        } catch (const tether::CallCancelled&) {
            ++cancelled_;
            throw;
        }
        co_return request.count;
    }

    static asio::awaitable<void> end(const std::string& how) {
        if (how == "throw") throw tether::HandlerError("tired", "no more of this");
        if (how == "exit") std::_Exit(3);
        while (how == "wait") co_await pause();
    }

    asio::awaitable<Total> handle(const Consume& request,
                                  tether::AsyncCallContext<Consume>& call) override {
        const Running running{running_};
        Total total;
        while (total.items != request.most) {
            const auto piece = co_await call.async_next();
            if (!piece) break;
            total.in_order = total.in_order && piece->number == total.items;
            ++total.items;
            total.bytes += static_cast<std::int64_t>(piece->blob.size());
        }
        co_return total;
    }

    asio::awaitable<void> handle(const Pass&, tether::AsyncCallContext<Pass>& call) override {
        const Running running{running_};
        while (const auto piece = co_await call.async_next()) co_await call.async_send(*piece);
    }

    asio::awaitable<std::int64_t> handle(const Work& request,
                                         tether::AsyncCallContext<Work>& call) override {
        for (std::int64_t i = 0; i < request.count && !call.stop_requested(); ++i) {
            call.progress({i, std::string(static_cast<std::size_t>(request.filler), 'x')});
            if (request.slow) co_await pause();
        }
        co_return request.count;
    }

    asio::awaitable<std::vector<std::string>> handle(
        const Inquire& request, tether::AsyncCallContext<Inquire>& call) override {
        std::vector<std::string> told;
        tether::AskOptions options;
        if (request.timeout_ms != 0)
            options.timeout = std::chrono::milliseconds{request.timeout_ms};
        for (std::int64_t i = 0; i < request.times; ++i) {
            if (request.text == "confirm") {
                co_await call.async_ask(Confirm{}, options);
                told.emplace_back("confirmed");
            } else {
                const Guess guess{request.text};
                told.push_back(co_await call.async_ask(guess, options));
            }
        }
        co_return told;
    }

    asio::awaitable<void> handle(const Announce& request,
                                 tether::AsyncCallContext<Announce>& call) override {
        const auto say = [&](auto&& notify) {
            for (std::int64_t i = 0; i < request.count; ++i) {
                notify(Noticed{i, std::string(static_cast<std::size_t>(request.size), 'n')});
            }
        };
        if (request.by_thread) {
            std::thread{[&] { say([&](const Noticed& noticed) { notify(noticed); }); }}.join();
        } else {
            say([&](const Noticed& noticed) { call.notify(noticed); });
        }
        co_return;
    }

    asio::awaitable<void> handle(const Nudge& request, tether::AsyncCallContext<Nudge>&) override {
        if (request.fails) throw tether::HandlerError("nudge", "this one fails");
        const std::scoped_lock lock{mutex_};
        nudges_.push_back(request.number);
        co_return;
    }

    asio::awaitable<Doings> handle(const Look&, tether::AsyncCallContext<Look>&) override {
        const std::scoped_lock lock{mutex_};
        co_return Doings{produced_, running_, cancelled_, nudges_};
    }

    asio::awaitable<void> handle(const Die&, tether::AsyncCallContext<Die>&) override {
        std::_Exit(4);
        co_return;
    }

    std::atomic<std::int64_t> produced_{0};
    std::atomic<std::int64_t> running_{0};
    std::atomic<std::int64_t> cancelled_{0};
    std::mutex mutex_;
    std::vector<std::int64_t> nudges_;
};

}  // namespace tether_test
