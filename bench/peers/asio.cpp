// Asio as one would write it: an io_context on a thread of its own, a std::future for each call.
// A message is its length and its bytes; a typed call is a JSON text; answers come in order.

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <optional>

#include "peer.hpp"

namespace {

class Connection {
public:
    Connection(asio::io_context& context, int socket, std::function<void(std::string)> receive)
        : socket_(context, asio::local::stream_protocol{}, socket), receive_(std::move(receive)) {
        read();
    }

    void send(std::string bytes) {
        out_.push_back({static_cast<std::uint32_t>(bytes.size()), std::move(bytes)});
        if (out_.size() == 1) write();
    }
    void close() { socket_.close(); }

private:
    struct Message {
        std::uint32_t size = 0;
        std::string bytes{};
    };

    void write() {
        const std::array parts{asio::buffer(&out_.front().size, sizeof(std::uint32_t)),
                               asio::buffer(out_.front().bytes)};
        asio::async_write(socket_, parts, [this](asio::error_code error, std::size_t) {
            if (error) return;
            out_.pop_front();
            if (!out_.empty()) write();
        });
    }
    void read() {
        const auto head = asio::buffer(&in_.size, sizeof in_.size);
        asio::async_read(socket_, head, [this](asio::error_code error, std::size_t) {
            if (!error) read_bytes();
        });
    }
    void read_bytes() {
        in_.bytes.resize(in_.size);
        asio::async_read(socket_, asio::buffer(in_.bytes),
                         [this](asio::error_code error, std::size_t) {
                             if (error) return;
                             receive_(std::exchange(in_.bytes, {}));
                             read();
                         });
    }

    asio::local::stream_protocol::socket socket_;
    std::function<void(std::string)> receive_;
    Message in_{};
    std::deque<Message> out_{};
};

struct Peer {
    Peer(std::size_t, std::size_t) {}
    ~Peer() {
        asio::post(context, [this] { connection.close(); });
    }

    std::future<std::string> call(std::string bytes) {
        std::promise<std::string> promise;
        auto answer = promise.get_future();
        asio::post(context, [this, b = std::move(bytes), p = std::move(promise)]() mutable {
            promises.push_back(std::move(p));
            connection.send(std::move(b));
        });
        return answer;
    }
    void settle(std::string answer) {
        promises.front().set_value(std::move(answer));
        promises.pop_front();
    }

    [[nodiscard]] int pid() const { return child.pid(); }
    void echo(std::string_view bytes) { peers::check_echo(bytes, call(std::string{bytes}).get()); }
    void compile() { peers::check_answer_text(call(peers::request_text()).get()); }
    void pipeline(std::size_t depth, std::size_t count) {
        std::deque<std::future<std::string>> under_way;
        for (std::size_t i = 0; i < count; ++i) {
            if (under_way.size() == depth) {
                under_way.front().get();
                under_way.pop_front();
            }
            under_way.push_back(call(std::string(64, 'x')));
        }
        for (auto& answer : under_way) answer.get();
    }

    peers::Child child{};
    std::deque<std::promise<std::string>> promises{};  // for the thread alone
    asio::io_context context{1};
    Connection connection{context, child.take_socket(),
                          [this](std::string answer) { settle(std::move(answer)); }};
    std::jthread thread{[this] { context.run(); }};
};

void be_child(const std::vector<std::string>&) {
    asio::io_context context{1};
    std::optional<Connection> connection;
    connection.emplace(context, peers::childs_socket, [&](std::string request) {
        connection->send(peers::answer_to(std::move(request)));
    });
    context.run();
}

}  // namespace

int main(int argc, char** argv) { return peers::run<Peer>(argc, argv, be_child); }
