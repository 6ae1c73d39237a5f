// LIMIT as a peer: blocking system calls over a Unix socket pair, without framing.

#include "../limit.hpp"

#include "peer.hpp"

namespace {

struct Peer {
    Peer(std::size_t request, std::size_t answer)
        : child({std::to_string(request), std::to_string(answer)}),
          caller(child.take_socket(), request, answer) {}

    [[nodiscard]] int pid() const { return child.pid(); }
    void echo(std::string_view bytes) { caller.call(bytes); }
    void compile() { caller.call(); }
    void pipeline(std::size_t depth, std::size_t count) { caller.pipeline(depth, count); }

    peers::Child child;
    bench::LimitCaller caller;
};

void be_child(const std::vector<std::string>& sizes) {
    bench::serve_limit(peers::childs_socket, std::stoul(sizes.at(0)), std::stoul(sizes.at(1)),
                       peers::look);
}

}  // namespace

int main(int argc, char** argv) { return peers::run<Peer>(argc, argv, be_child); }
