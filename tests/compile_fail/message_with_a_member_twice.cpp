// expect: TETHER_DEFINE_MESSAGE lists a member twice
#include <tether/direct_codec.hpp>
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
    int size = 0;
    int weight = 0;
};
#ifdef TETHER_COMPILE_FAIL_FIX
TETHER_DEFINE_MESSAGE(Ping, size, weight)
#else
TETHER_DEFINE_MESSAGE(Ping, size, weight, size)
#endif

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
    using Codec = tether::DirectCodec;
};

void ask(tether::Worker<PingProtocol>& worker) { static_cast<void>(worker.call(Ping{})); }
