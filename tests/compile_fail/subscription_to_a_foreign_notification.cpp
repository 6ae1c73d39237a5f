// expect: this type is not in the Notifications of the worker.s protocol
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct Changed {
    static constexpr std::string_view name = "changed";
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
#ifdef TETHER_COMPILE_FAIL_FIX
    using Notifications = tether::Messages<Changed>;
#endif
};

void listen(tether::Worker<PingProtocol>& worker) {
    const auto subscription = worker.on<Changed>([](const Changed&) {});
}
