// expect: name at least one handler
#include <tether/serve.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

class Ponger final : public tether::Handler<PingProtocol> {
    int handle(const Ping&, tether::CallContext<Ping>&) override { return 1; }
};

int main(int argc, char** argv) {
#ifdef TETHER_COMPILE_FAIL_FIX
    return tether::serve_if_worker<Ponger>(argc, argv).value_or(0);
#else
    return tether::serve_if_worker<>(argc, argv).value_or(0);
#endif
}
