// The messages of examples/hello converted by nlohmann/json, both ways, as a worker does it.

#include <nlohmann/json.hpp>

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

struct Greet {
    std::string whom{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Greet, whom)

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        const std::vector<std::uint8_t> bytes(line.begin(), line.end());
        const auto request = nlohmann::json::from_msgpack(bytes).get<Greet>();
        const auto answer = nlohmann::json::to_msgpack(nlohmann::json("Hello, " + request.whom));
        std::cout.write(reinterpret_cast<const char*>(answer.data()),
                        static_cast<std::streamsize>(answer.size()));
    }
}
