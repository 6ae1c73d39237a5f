// Which ports of this machine accept connections?
//
//     ports FIRST LAST
//
// The worker tries them all at once, on one thread: an AsyncHandler waits for the network, and
// gives its thread away meanwhile. What it finds comes as a stream, as soon as it is known.

#include <tether/async_handler.hpp>
#include <tether/tether.hpp>

#include <asio/awaitable.hpp>
#include <asio/error.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <future>
#include <iostream>
#include <string_view>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;

struct Probe {
    static constexpr std::string_view name = "probe";
    using Response = bool;
    std::uint16_t port{};
};
TETHER_DEFINE_MESSAGE(Probe, port)

struct Scan {
    static constexpr std::string_view name = "scan";
    using Item = std::uint16_t;      // a port that accepts connections
    using Response = std::uint32_t;  // how many were tried
    std::uint16_t first{};
    std::uint16_t last{};
};
TETHER_DEFINE_MESSAGE(Scan, first, last)

struct PortsProtocol {
    static constexpr std::string_view name = "example.ports";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Probe, Scan>;
    using Codec = tether::DirectCodec;
};

class Prober final : public tether::AsyncHandler<PortsProtocol> {
    asio::awaitable<bool> handle(const Probe& request, tether::AsyncCallContext<Probe>&) override {
        co_return co_await accepts(request.port);
    }

    asio::awaitable<std::uint32_t> handle(const Scan& request,
                                          tether::AsyncCallContext<Scan>& call) override {
        std::uint32_t tried = 0;
        for (std::uint32_t port = request.first; port <= request.last; ++port, ++tried) {
            const auto number = static_cast<std::uint16_t>(port);
            if (co_await accepts(number)) co_await call.async_send(number);
        }
        co_return tried;
    }

    static asio::awaitable<bool> accepts(std::uint16_t port) {
        asio::ip::tcp::socket socket{co_await asio::this_coro::executor};
        const asio::ip::tcp::endpoint endpoint{asio::ip::address_v4::loopback(), port};
        try {
            co_await socket.async_connect(endpoint, asio::use_awaitable);
        } catch (const std::system_error& error) {
            if (error.code() == asio::error::operation_aborted) throw;  // the call is over
            co_return false;
        }
        co_return true;
    }
};

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<Prober>(argc, argv)) return *exit_code;
    if (argc != 3) {
        std::cerr << "usage: ports FIRST LAST\n";
        return 2;
    }
    const auto first = static_cast<std::uint16_t>(std::atoi(argv[1]));
    const auto last = static_cast<std::uint16_t>(std::atoi(argv[2]));
    try {
        tether::Worker<PortsProtocol> worker{{.name = "prober", .calls_in_work = 256}};

        // Each in a call of its own: 256 wait for the network at the same time.
        std::vector<std::future<bool>> answers;
        for (std::uint32_t port = first; port <= last; ++port) {
            const Probe probe{static_cast<std::uint16_t>(port)};
            answers.push_back(worker.async_call(probe, {.timeout = 30s}, asio::use_future));
        }
        std::uint32_t open = 0;
        for (auto& answer : answers) open += answer.get() ? 1U : 0U;
        std::cout << open << " of " << answers.size() << " ports accept connections\n";

        // The same as one stream.
        auto stream = worker.stream(Scan{first, last}, {.timeout = 30s});
        for (const auto port : stream) std::cout << port << '\n';
        std::cout << stream.response() << " tried\n";
    } catch (const std::exception& error) {
        std::cerr << "ports: " << error.what() << '\n';
        return 1;
    }
}
