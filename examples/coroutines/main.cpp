// Calls that coroutines await: one after the other, side by side, the first of two, with a timeout,
// with an error as a value, and cancelled from outside.
#include <tether/tether.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>
#include <thread>
#include <utility>

namespace {

using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;
using asio::use_awaitable;
using asio::experimental::as_tuple;

struct Doze {
    static constexpr std::string_view name = "doze";
    using Response = std::string;
    int milliseconds{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Doze, milliseconds)

struct DozeProtocol {
    static constexpr std::string_view name = "example.doze";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Doze>;
};

class Dozer final : public tether::Handler<DozeProtocol> {
    std::string handle(const Doze& request, tether::CallContext<Doze>& call) override {
        if (request.milliseconds < 0)
            throw tether::HandlerError("negative", "cannot doze backwards");
        const auto end = std::chrono::steady_clock::now() + request.milliseconds * 1ms;
        while (std::chrono::steady_clock::now() < end) {
            if (call.stop_requested()) return {};  // no caller waits any more
            std::this_thread::sleep_for(1ms);
        }
        return "dozed " + std::to_string(request.milliseconds) + " ms";
    }
};

using Worker = tether::Worker<DozeProtocol>;

// GCC 12 destroys an aggregate twice that is made inside a co_await expression. So requests,
// options and combined operations have names here. Other compilers need none of it.

asio::awaitable<void> one_after_the_other(Worker& worker) {
    for (const Doze request : {Doze{1}, Doze{2}}) {
        const auto answer = co_await worker.async_call(request, use_awaitable);
        std::cout << "in turn: " << answer << '\n';
    }
}

asio::awaitable<void> side_by_side(Worker& worker) {
    const Doze one{3};
    const Doze other{4};
    auto both = worker.async_call(one, use_awaitable) && worker.async_call(other, use_awaitable);
    const auto [first, second] = co_await std::move(both);
    std::cout << "both: " << first << ", " << second << '\n';
}

// The call that loses is cancelled: its handler's stop_requested() becomes true.
asio::awaitable<void> the_first_of_two(Worker& worker) {
    const Doze short_nap{5};
    const Doze long_nap{60'000};
    auto either =
        worker.async_call(long_nap, use_awaitable) || worker.async_call(short_nap, use_awaitable);
    const auto answer = co_await std::move(either);
    std::cout << "first: number " << answer.index() << ", " << std::get<1>(answer) << '\n';
}

asio::awaitable<void> with_a_timeout(Worker& worker) {
    const Doze request{60'000};
    const tether::CallOptions<Doze> options{.timeout = 50ms};
    try {
        co_await worker.async_call(request, options, use_awaitable);
    } catch (const tether::CallError& error) {
        std::cout << "too late: " << (error.code() == tether::errc::timeout) << '\n';
    }
}

// Without an exception on this side: as_tuple makes the error a value.
asio::awaitable<void> with_an_error_as_a_value(Worker& worker) {
    const Doze request{-1};
    auto operation = worker.async_call(request, as_tuple(use_awaitable));
    const auto [failure, answer] = co_await std::move(operation);
    if (const auto* error = tether::error_of(failure)) {
        std::cout << "refused: " << (error->code() == tether::errc::handler) << '\n';
    } else {
        std::cout << answer << '\n';
    }
}

// A cancelled coroutine cancels the call that it awaits.
asio::awaitable<void> until_cancelled(Worker& worker) {
    const Doze request{60'000};
    auto operation = worker.async_call(request, as_tuple(use_awaitable));
    const auto [failure, answer] = co_await std::move(operation);
    const auto* error = tether::error_of(failure);
    std::cout << "cancelled: " << (error != nullptr && error->code() == tether::errc::cancelled)
              << '\n';
}

asio::awaitable<void> run(Worker& worker) {
    co_await one_after_the_other(worker);
    co_await side_by_side(worker);
    co_await the_first_of_two(worker);
    co_await with_a_timeout(worker);
    co_await with_an_error_as_a_value(worker);
}

}  // namespace

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<Dozer>(argc, argv)) return *exit_code;

    std::cout << std::boolalpha;
    asio::io_context io;
    Worker worker{io, {.name = "dozer", .concurrency = 2}};

    int exit_code = 0;
    asio::co_spawn(io, run(worker), [&](std::exception_ptr failure) {
        if (failure == nullptr) return;
        const auto* error = tether::error_of(failure);
        std::cerr << (error != nullptr ? error->what() : "failed") << '\n';
        exit_code = 1;
    });
    io.run();  // returns when no call is pending

    asio::cancellation_signal cancel;
    asio::steady_timer timer{io, 50ms};
    timer.async_wait([&](std::error_code) { cancel.emit(asio::cancellation_type::terminal); });
    asio::co_spawn(io, until_cancelled(worker),
                   asio::bind_cancellation_slot(cancel.slot(), [](std::exception_ptr) {}));
    io.restart();
    io.run();
    return exit_code;
}
