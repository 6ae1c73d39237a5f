// A program that is nothing but a worker.

#include <tether/serve.hpp>

#include <cstdint>
#include <string>
#include <string_view>

struct Greet {
    static constexpr std::string_view name = "greet";
    using Response = std::string;
    std::string whom{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Greet, whom)

struct GreetProtocol {
    static constexpr std::string_view name = "example.greet";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Greet>;
};

class Greeter final : public tether::Handler<GreetProtocol> {
    std::string handle(const Greet& request, tether::CallContext<Greet>&) override {
        return "Hello, " + request.whom + "!";
    }
};

int main() { return tether::serve<Greeter>(); }
