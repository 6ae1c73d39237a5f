// expect: a function that makes a handler must return a std::unique_ptr to it
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

#ifdef TETHER_COMPILE_FAIL_FIX
std::unique_ptr<Ponger> make() { return std::make_unique<Ponger>(); }
#else
Ponger* make() { return new Ponger; }
#endif

int main() { tether::LoopbackWorker<PingProtocol> worker{make}; }
