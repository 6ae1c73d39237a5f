// What examples/hello does, by hand: messages of nlohmann/json over a local socket of Asio's, with
// a deadline, once blocking and once as a future. What a program pays to compile without Tether.

#include <asio/io_context.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

struct Greet {
    std::string whom{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Greet, whom)

using Socket = asio::local::stream_protocol::socket;
using Bytes = std::vector<std::uint8_t>;

// Bytes behind their size.
struct Packet {
    std::array<std::uint32_t, 1> size{};
    Bytes bytes{};
};

class Client : public std::enable_shared_from_this<Client> {
public:
    explicit Client(asio::io_context& context) : socket_(context), deadline_(context) {}

    Socket& socket() { return socket_; }

    std::future<std::string> call(const Greet& request, std::chrono::seconds timeout) {
        request_.bytes = nlohmann::json::to_msgpack(nlohmann::json(request));
        request_.size[0] = static_cast<std::uint32_t>(request_.bytes.size());
        deadline_.expires_after(timeout);
        deadline_.async_wait([self = shared_from_this()](asio::error_code error) {
            if (!error) self->socket_.cancel();
        });
        asio::async_write(socket_,
                          std::array{asio::buffer(request_.size), asio::buffer(request_.bytes)},
                          [self = shared_from_this()](asio::error_code error, std::size_t) {
                              self->read(error);
                          });
        return result_.get_future();
    }

private:
    void read(asio::error_code error) {
        if (error) return fail(error);
        asio::async_read(socket_, asio::buffer(answer_.size),
                         [self = shared_from_this()](asio::error_code failure, std::size_t) {
                             self->read_rest(failure);
                         });
    }

    void read_rest(asio::error_code error) {
        if (error) return fail(error);
        answer_.bytes.resize(answer_.size[0]);
        asio::async_read(socket_, asio::buffer(answer_.bytes),
                         [self = shared_from_this()](asio::error_code failure, std::size_t) {
                             self->finish(failure);
                         });
    }

    void finish(asio::error_code error) {
        if (error) return fail(error);
        deadline_.cancel();
        try {
            const auto document = nlohmann::json::from_msgpack(answer_.bytes);
            result_.set_value(document.get<std::string>());
        } catch (...) {
            result_.set_exception(std::current_exception());
        }
    }

    void fail(asio::error_code error) {
        result_.set_exception(std::make_exception_ptr(asio::system_error(error)));
    }

    Socket socket_;
    asio::steady_timer deadline_;
    Packet request_{};
    Packet answer_{};
    std::promise<std::string> result_{};
};

void serve(Socket socket, const std::function<std::string(const Greet&)>& handler) {
    for (Packet packet;;) {
        asio::error_code error;
        asio::read(socket, asio::buffer(packet.size), error);
        if (error) return;
        packet.bytes.resize(packet.size[0]);
        asio::read(socket, asio::buffer(packet.bytes));
        const auto request = nlohmann::json::from_msgpack(packet.bytes).get<Greet>();
        packet.bytes = nlohmann::json::to_msgpack(nlohmann::json(handler(request)));
        packet.size[0] = static_cast<std::uint32_t>(packet.bytes.size());
        asio::write(socket, std::array{asio::buffer(packet.size), asio::buffer(packet.bytes)});
    }
}

int main() {
    asio::io_context context;
    auto client = std::make_shared<Client>(context);
    Socket server{context};
    asio::local::connect_pair(client->socket(), server);
    std::thread worker{[&] {
        serve(std::move(server), [](const Greet& request) { return "Hello, " + request.whom; });
    }};
    auto answer = client->call(Greet{"world"}, std::chrono::seconds{5});
    context.run();
    std::cout << answer.get() << '\n';
    auto later = asio::post(context, asio::use_future([] { return 1; }));
    context.restart();
    context.run();
    std::cout << later.get() << '\n';
    client->socket().close();
    worker.join();
}
