// expect: the handler does not override handle\(\) for every request of its protocol
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
#ifdef TETHER_COMPILE_FAIL_FIX
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
#endif
};

int main() { tether::LoopbackWorker<PingProtocol, Ponger> worker; }
