// expect: the timeout of a request type must be a std::chrono duration
#include <tether/worker.hpp>

using namespace std::chrono_literals;

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
#ifdef TETHER_COMPILE_FAIL_FIX
    static constexpr auto timeout = 2.5s;
#else
    static constexpr auto timeout = 2.5;
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

int main() {
    tether::Worker<PingProtocol> worker;
    worker.call(Ping{});
}
