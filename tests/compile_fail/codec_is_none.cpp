// expect: the protocol.s Codec does not meet tether::Codec
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct NoCodec {
    static constexpr std::string_view name = "none";
    template <class T>
    static void encode(const T&, std::string&) {}
#ifdef TETHER_COMPILE_FAIL_FIX
    template <class T>
    static T decode(std::string_view) {
        return {};
    }
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
    using Codec = NoCodec;
};

int main() { tether::Worker<PingProtocol> worker; }
