// expect: each type in a protocol.s Requests needs .static constexpr std::string_view name., .using
// Response
#include <tether/worker.hpp>

struct Ping {
    using Response = int;
#ifdef TETHER_COMPILE_FAIL_FIX
    static constexpr std::string_view name = "ping";
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

int main() { tether::Worker<PingProtocol> worker; }
