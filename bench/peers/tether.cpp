// Tether as a peer. TETHER_BENCH_SPIN in the environment sets `spin`.

#include <tether/tether.hpp>

#include <cstdlib>

#include "../chain.hpp"
#include "../messages.hpp"
#include "peer.hpp"

namespace {

using namespace std::chrono_literals;
using bench::Echo;

class Handler final : public tether::Handler<bench::Protocol> {
    tether::Bytes handle(const Echo& request, tether::CallContext<Echo>&) override {
        peers::look(request.bytes.view());
        return request.bytes;
    }
    bench::Compiled handle(const bench::Compile&, tether::CallContext<bench::Compile>&) override {
        return bench::compiled();
    }
};

struct Peer {
    Peer(std::size_t, std::size_t) {}

    static tether::WorkerOptions options() {
        tether::WorkerOptions result;
        result.orphan_grace = 0s;
        if (std::getenv("TETHER_BENCH_SPIN") != nullptr) result.spin = 30us;
        return result;
    }

    [[nodiscard]] int pid() const { return static_cast<int>(worker.pid()); }
    void echo(std::string_view bytes) {
        peers::check_echo(bytes, worker.call(Echo{tether::Bytes{bytes}}).view());
    }
    void compile() { peers::check_compiled(worker.call(bench::Compile{}).diagnostics.size()); }
    void pipeline(std::size_t depth, std::size_t count) {
        bench::Chain{worker, Echo{tether::Bytes{std::string_view{std::string(64, 'x')}}}, count}
            .run(depth);
    }

    tether::Worker<bench::Protocol> worker{options()};
};

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = tether::serve_if_worker<Handler>(argc, argv)) return *code;
    return peers::run<Peer>(argc, argv, [](const std::vector<std::string>&) {});
}
