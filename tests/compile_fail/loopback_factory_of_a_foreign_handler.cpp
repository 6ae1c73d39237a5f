// expect: the handler serves another protocol
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

struct OtherProtocol {
    static constexpr std::string_view name = "test.other";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

#ifdef TETHER_COMPILE_FAIL_FIX
using Served = PingProtocol;
#else
using Served = OtherProtocol;
#endif

class Ponger final : public tether::Handler<Served> {
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
};

int main() {
    tether::LoopbackWorker<PingProtocol> worker{[] { return std::make_unique<Ponger>(); }};
}
