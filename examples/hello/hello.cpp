#include <tether/tether.hpp>

#include <asio/use_future.hpp>

#include <iostream>

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

class Greeter final : public tether::Handler<GreetProtocol> {  // lives in the worker process
    std::string handle(const Greet& request, tether::CallContext<Greet>& call) override {
        call.log(tether::Severity::info, "greeting " + request.whom);
        if (request.whom.empty()) throw tether::HandlerError("no_name", "whom shall I greet?");
        return "Hello, " + request.whom + "!";
    }
};

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<Greeter>(argc, argv)) return *exit_code;

    tether::Worker<GreetProtocol> worker;  // this executable, started again
    std::cout << worker.call(Greet{"world"}) << '\n';
    auto later = worker.async_call(Greet{"future"}, asio::use_future);
    std::cout << later.get() << '\n';
    try {
        worker.call(Greet{}, {.timeout = std::chrono::seconds{5}});
    } catch (const tether::RemoteError& error) {
        std::cout << "refused: " << error.message() << '\n';
    }
}  // nothing to stop, nothing left behind
