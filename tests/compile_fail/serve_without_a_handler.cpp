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
    return argc + (argv == nullptr) + tether::serve<Ponger>();
#else
    return argc + (argv == nullptr) + tether::serve<>();
#endif
}
