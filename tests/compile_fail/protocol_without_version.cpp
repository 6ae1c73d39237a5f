// expect: a protocol needs .static constexpr std::uint32_t version.
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
#ifdef TETHER_COMPILE_FAIL_FIX
    static constexpr std::uint32_t version = 1;
#endif
    using Requests = tether::Messages<Ping>;
};

int main() { tether::Worker<PingProtocol> worker; }
