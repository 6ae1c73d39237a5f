// expect: a request with an Item or an Upload is a stream: use worker.stream\(request\)
#include <tether/worker.hpp>

struct List {
    static constexpr std::string_view name = "list";
    using Response = int;
#ifndef TETHER_COMPILE_FAIL_FIX
    using Upload = int;
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<List>;
};

void list(tether::Worker<PingProtocol>& worker) {
    worker.async_call(List{}, [](std::exception_ptr, int) {});
}
