// expect: sice.*TETHER_DEFINE_MESSAGE
// lines: 45
#include <tether/direct_codec.hpp>
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
    int weight = 0;
    int size = 0;
};
#ifdef TETHER_COMPILE_FAIL_FIX
TETHER_DEFINE_MESSAGE(Ping, weight, size)
#else
TETHER_DEFINE_MESSAGE(Ping, weight, sice)
#endif

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
    using Codec = tether::DirectCodec;
};

void ask(tether::Worker<PingProtocol>& worker) { static_cast<void>(worker.call(Ping{})); }
