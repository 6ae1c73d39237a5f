// expect: a protocol needs .using Requests = tether::Messages<...>.
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
#endif
};

int main() { tether::Worker<PingProtocol> worker; }
