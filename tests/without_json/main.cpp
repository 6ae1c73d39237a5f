// A program with DirectCodec, functions that make its handlers, and nothing of nlohmann/json.
#define TETHER_WITHOUT_JSON

#include <tether/tether.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#if defined(INCLUDE_NLOHMANN_JSON_HPP_)
#error "nlohmann/json was included"
#endif

namespace {

enum class Kind { small, large };

struct Part {
    Kind kind{};
    std::optional<double> weight{};
};
TETHER_DEFINE_MESSAGE(Part, kind, weight)

struct Weigh {
    static constexpr std::string_view name = "weigh";
    using Response = double;
    std::vector<Part> parts{};
    tether::Bytes blob{};
};
TETHER_DEFINE_MESSAGE(Weigh, parts, blob)

struct Protocol {
    static constexpr std::string_view name = "tether.test.without_json";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Weigh>;
    using Codec = tether::DirectCodec;
};

class Scales final : public tether::Handler<Protocol> {
public:
    explicit Scales(double weight_of_others) : weight_of_others_(weight_of_others) {}

private:
    double handle(const Weigh& request, tether::CallContext<Weigh>&) override {
        double sum = static_cast<double>(request.blob.size());
        for (const auto& part : request.parts) sum += part.weight.value_or(weight_of_others_);
        return sum;
    }

    double weight_of_others_;
};

}  // namespace

int main(int argc, char** argv) {
    const double weight = 100;
    const auto make = [&] { return std::make_unique<Scales>(weight); };
    if (const auto exit_code = tether::serve_if_worker(argc, argv, make)) return *exit_code;
    tether::Worker<Protocol> worker;
    tether::LoopbackWorker<Protocol> loopback{make};
    const Weigh request{{{Kind::small, 0.5}, {Kind::large, std::nullopt}}, tether::Bytes{7}};
    return worker.call(request) == 107.5 && loopback.call(request) == 107.5 ? 0 : 1;
}
