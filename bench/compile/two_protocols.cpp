// examples/hello with a second protocol, its worker and a call of each kind in the same file.

#include "../../examples/hello/hello.cpp"

struct Add {
    static constexpr std::string_view name = "add";
    using Response = int;
    int left{};
    int right{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Add, left, right)

struct AddProtocol {
    static constexpr std::string_view name = "example.add";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Add>;
};

class Adder final : public tether::Handler<AddProtocol> {
    int handle(const Add& request, tether::CallContext<Add>&) override {
        return request.left + request.right;
    }
};

int add(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<Adder>(argc, argv)) return *exit_code;
    tether::Worker<AddProtocol> worker;
    const int now = worker.call(Add{1, 2});
    auto later = worker.async_call(Add{now, 3}, asio::use_future);
    return later.get();
}
