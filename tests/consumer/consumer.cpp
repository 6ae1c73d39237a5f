#include <tether/tether.hpp>

#include <string>
#include <string_view>

struct Echo {
    static constexpr std::string_view name = "echo";
    using Response = std::string;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Echo, text)

struct EchoProtocol {
    static constexpr std::string_view name = "consumer.echo";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Echo>;
};

class EchoHandler final : public tether::Handler<EchoProtocol> {
    std::string handle(const Echo& request, tether::CallContext<Echo>&) override {
        return request.text;
    }
};

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<EchoHandler>(argc, argv)) return *exit_code;

    tether::Worker<EchoProtocol> worker;
    return worker.call(Echo{"hello"}) == "hello" ? 0 : 1;
}
