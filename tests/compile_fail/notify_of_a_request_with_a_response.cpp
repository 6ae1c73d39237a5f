// expect: only a request whose Response is void can be sent by notify\(\)
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
#ifdef TETHER_COMPILE_FAIL_FIX
    using Response = void;
#else
    using Response = int;
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

void tell(tether::Worker<PingProtocol>& worker) { worker.notify(Ping{}); }
