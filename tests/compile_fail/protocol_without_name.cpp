// expect: a protocol needs .static constexpr std::string_view name.
#include <tether/worker.hpp>

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

int main() { tether::Worker<PingProtocol> worker; }
