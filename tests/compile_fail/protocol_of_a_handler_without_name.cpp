// expect: a protocol needs .static constexpr std::string_view name.
#include <tether/serve.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
#ifdef TETHER_COMPILE_FAIL_FIX
    static constexpr std::string_view name = "test.ping";
#endif
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

class Ponger final : public tether::Handler<PingProtocol> {
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
};

int main() { return tether::serve<Ponger>(); }
