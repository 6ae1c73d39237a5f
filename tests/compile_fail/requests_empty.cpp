// expect: a protocol.s Requests are empty: its worker would serve nothing
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
#ifdef TETHER_COMPILE_FAIL_FIX
    using Requests = tether::Messages<Ping>;
#else
    using Requests = tether::Messages<>;
#endif
};

int main() { tether::Worker<PingProtocol> worker; }
