// expect: a handler must derive publicly from tether::Handler<Protocol>
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

#ifdef TETHER_COMPILE_FAIL_FIX
class Ponger final : public tether::Handler<PingProtocol> {
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
};
#else
class Ponger {};
#endif

int main() {
    tether::LoopbackWorker<PingProtocol> worker{[] { return std::make_unique<Ponger>(); }};
}
