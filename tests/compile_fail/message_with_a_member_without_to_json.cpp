// expect: a member listed in TETHER_DEFINE_MESSAGE has a type without a to_json
#include <tether/direct_codec.hpp>
#include <tether/worker.hpp>

struct Inner {
    int size = 0;
};
#ifdef TETHER_COMPILE_FAIL_FIX
TETHER_DEFINE_MESSAGE(Inner, size)
#endif

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
    std::vector<Inner> inner{};
};
TETHER_DEFINE_MESSAGE(Ping, inner)

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

void ask(tether::Worker<PingProtocol>& worker) { static_cast<void>(worker.call(Ping{})); }
