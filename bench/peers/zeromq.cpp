// ZeroMQ: a pair of sockets over ipc. A typed call is a JSON text in a message.

#include <zmq.hpp>

#include "peer.hpp"

namespace {

std::string receive(zmq::socket_t& socket) {
    zmq::message_t message;
    peers::check(socket.recv(message).has_value(), "recv");
    return message.to_string();
}

struct Peer {
    Peer(std::size_t, std::size_t) {
        socket.set(zmq::sockopt::linger, 0);
        child.wait_until_ready();
        socket.connect(url);
    }

    [[nodiscard]] int pid() const { return child.pid(); }
    void send(std::string_view bytes) { socket.send(zmq::buffer(bytes), zmq::send_flags::none); }
    void echo(std::string_view bytes) {
        send(bytes);
        peers::check_echo(bytes, receive(socket));
    }
    void compile() {
        send(peers::request_text());
        peers::check_answer_text(receive(socket));
    }
    void pipeline(std::size_t depth, std::size_t count) {
        const std::string bytes(64, 'x');
        for (std::size_t i = 0; i < depth; ++i) send(bytes);
        for (std::size_t i = 0; i < count; ++i) {
            receive(socket);
            if (i + depth < count) send(bytes);
        }
    }

    const std::string url = "ipc://@" + peers::new_address();
    peers::Child child{{url}};
    zmq::context_t context{1};
    zmq::socket_t socket{context, zmq::socket_type::pair};
};

void be_child(const std::vector<std::string>& arguments) {
    zmq::context_t context{1};
    zmq::socket_t socket{context, zmq::socket_type::pair};
    socket.bind(arguments.at(0));
    peers::say_ready();
    for (;;) {
        const auto answer = peers::answer_to(receive(socket));
        socket.send(zmq::buffer(answer), zmq::send_flags::none);
    }
}

}  // namespace

int main(int argc, char** argv) { return peers::run<Peer>(argc, argv, be_child); }
