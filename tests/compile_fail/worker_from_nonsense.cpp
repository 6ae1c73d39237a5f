// expect: (no matching function|no matching constructor).*Worker
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

int main() {
#ifdef TETHER_COMPILE_FAIL_FIX
    tether::Worker<PingProtocol> worker{tether::WorkerOptions{}};
#else
    tether::Worker<PingProtocol> worker{"/bin/true"};
#endif
}
