// expect: each type in a protocol.s Requests needs .*and a default constructor
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
#ifdef TETHER_COMPILE_FAIL_FIX
    Ping() = default;
#endif
    explicit Ping(int) {}
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

int main() { tether::Worker<PingProtocol> worker; }
