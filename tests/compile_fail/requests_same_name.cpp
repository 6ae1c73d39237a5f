// expect: two requests of a protocol have the same name
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct Pong {
#ifdef TETHER_COMPILE_FAIL_FIX
    static constexpr std::string_view name = "pong";
#else
    static constexpr std::string_view name = "ping";
#endif
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping, Pong>;
};

int main() { tether::Worker<PingProtocol> worker; }
