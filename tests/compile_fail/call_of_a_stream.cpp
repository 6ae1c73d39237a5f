// expect: a request with an Item or an Upload is a stream: use worker.stream\(request\)
#include <tether/worker.hpp>

struct List {
    static constexpr std::string_view name = "list";
    using Response = int;
#ifndef TETHER_COMPILE_FAIL_FIX
    using Item = int;
#endif
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<List>;
};

int list(tether::Worker<PingProtocol>& worker) { return worker.call(List{}); }
