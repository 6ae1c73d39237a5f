// expect: has_progress
#include <tether/handler.hpp>

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

class Pinger final : public tether::Handler<PingProtocol> {
    int handle(const Ping&, tether::CallContext<Ping>& call) override {
        call.progress(50);
        return 0;
    }
};
