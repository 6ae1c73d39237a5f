// expect: has_(items|upload)
#include <tether/worker.hpp>

struct List {
    static constexpr std::string_view name = "list";
    using Response = int;
#ifdef TETHER_COMPILE_FAIL_FIX
    using Item = int;
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<List>;
};

void list(tether::Worker<PingProtocol>& worker) { auto stream = worker.stream(List{}); }
