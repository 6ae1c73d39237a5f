// expect: (use of deleted function|call to (implicitly-)?deleted|implicitly.deleted).*Worker
#include <tether/worker.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

int main() {
    tether::Worker<PingProtocol> worker;
#ifdef TETHER_COMPILE_FAIL_FIX
    auto other = std::move(worker);
#else
    auto other = worker;
#endif
}
