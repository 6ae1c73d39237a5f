#pragma once

#include <tether/tether.hpp>

#include <string>
#include <string_view>

namespace odr {

struct Shout {
    static constexpr std::string_view name = "shout";
    using Response = std::string;
    std::string text{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Shout, text)

struct ShoutProtocol {
    static constexpr std::string_view name = "tether.odr";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Shout>;
};

class Shouter final : public tether::Handler<ShoutProtocol> {
    std::string handle(const Shout& request, tether::CallContext<Shout>&) override {
        return request.text + "!";
    }
};

/// Calls a worker, from the other translation unit.
std::string shout_from_elsewhere(const std::string& text);

}  // namespace odr
