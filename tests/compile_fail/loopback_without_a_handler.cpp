// expect: name the handler, as in LoopbackWorker<Protocol, Handler>, or give a function that makes
// one
#include <tether/loopback_worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

class Ponger final : public tether::Handler<PingProtocol> {
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
};

int main() {
#ifdef TETHER_COMPILE_FAIL_FIX
    tether::LoopbackWorker<PingProtocol> worker{[] { return std::make_unique<Ponger>(); }};
#else
    tether::LoopbackWorker<PingProtocol> worker;
#endif
}
