// expect: what answers a question must take `const Question&` and return its Response
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
    using Callbacks = tether::Messages<Overwrite>;
};

void answer(tether::Worker<PingProtocol>& worker) {
#ifdef TETHER_COMPILE_FAIL_FIX
    worker.provide<Overwrite>([](const Overwrite&) { return true; });
#else
    worker.provide<Overwrite>([](const Overwrite&) {});
#endif
}
