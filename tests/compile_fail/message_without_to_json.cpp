// expect: this message type has no to_json
// lines: 45
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
    int size = 0;
};

void from_json(const nlohmann::json& json, Ping& ping) { json.get_to(ping.size); }
#ifdef TETHER_COMPILE_FAIL_FIX
void to_json(nlohmann::json& json, const Ping& ping) { json = ping.size; }
#endif

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

void ask(tether::Worker<PingProtocol>& worker) { static_cast<void>(worker.call(Ping{})); }
