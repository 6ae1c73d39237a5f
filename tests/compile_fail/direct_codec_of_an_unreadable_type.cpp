// expect: DirectCodec cannot read this type: list its members in TETHER_DEFINE_MESSAGE
#include <tether/direct_codec.hpp>
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = Ping;
    int size = 0;
};

void to_json(nlohmann::json& json, const Ping& ping) { json = ping.size; }
#ifdef TETHER_COMPILE_FAIL_FIX
void from_json(const nlohmann::json& json, Ping& ping) { json.get_to(ping.size); }
#endif

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
    using Codec = tether::DirectCodec;
};

void ask(tether::Worker<PingProtocol>& worker) { static_cast<void>(worker.call(Ping{})); }
