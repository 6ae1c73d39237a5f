// expect: this type is not in the Callbacks of the worker.s protocol
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct Overwrite {
    static constexpr std::string_view name = "overwrite";
    using Response = bool;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
#ifdef TETHER_COMPILE_FAIL_FIX
    using Callbacks = tether::Messages<Overwrite>;
#endif
};

void answer(tether::Worker<PingProtocol>& worker) {
    worker.provide<Overwrite>([](const Overwrite&) { return true; });
}
