// expect: the handler needs a public default constructor
#include <tether/serve.hpp>

struct Ping {
    static constexpr std::string_view name = "ping";
    using Response = int;
};

struct PingProtocol {
    static constexpr std::string_view name = "test.ping";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Ping>;
};

class Ponger final : public tether::Handler<PingProtocol> {
public:
    explicit Ponger(int answer) : answer_(answer) {}
#ifdef TETHER_COMPILE_FAIL_FIX
    Ponger() = default;
#endif

private:
    int handle(const Ping&, tether::CallContext<Ping>&) override { return answer_; }

    int answer_ = 1;
};

int main(int argc, char** argv) { return tether::serve_if_worker<Ponger>(argc, argv).value_or(0); }
