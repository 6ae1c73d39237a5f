// expect: marked .?override|only virtual member functions can be marked|invalid
// covariant|conflicting return type|different return type
#include <tether/serve.hpp>

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
#else
    int handle(Ping&, tether::CallContext<Ping>&) override { return 1; }
#endif
};

int main(int argc, char** argv) { return tether::serve_if_worker<Ponger>(argc, argv).value_or(0); }
