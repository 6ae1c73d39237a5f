// expect: on_progress
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
#ifdef TETHER_COMPILE_FAIL_FIX
    using Progress = int;
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

int ping(tether::Worker<PingProtocol>& worker) {
    return worker.call(Ping{}, {.on_progress = [](int) {}});
}
