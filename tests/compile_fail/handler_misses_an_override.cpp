// expect: the handler does not override handle\(\) for every request of its protocol.*Pong
// lines: 45
#include <tether/serve.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct Pong {
    static constexpr std::string_view name = "pong";
    using Response = void;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping, Pong>;
};

class Ponger final : public tether::Handler<PingProtocol> {
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
#ifdef TETHER_COMPILE_FAIL_FIX
    void handle(const Pong&, tether::CallContext<Pong>&) override {}
#endif
};

int main(int argc, char** argv) { return tether::serve_if_worker<Ponger>(argc, argv).value_or(0); }
