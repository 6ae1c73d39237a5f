// expect: this type is not in the Requests of the worker.s protocol
#include <tether/loopback_worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct Foreign {
    static constexpr std::string_view name = "foreign";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

#ifdef TETHER_COMPILE_FAIL_FIX
using Asked = Ping;
#else
using Asked = Foreign;
#endif

class Ponger final : public tether::Handler<PingProtocol> {
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
};

void ask(tether::LoopbackWorker<PingProtocol, Ponger>& worker) {
    worker.async_call(Asked{}, {}, [](std::exception_ptr, int) {});
}
