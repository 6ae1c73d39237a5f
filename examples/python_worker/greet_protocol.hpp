#pragma once

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct Greet {
    static constexpr std::string_view name = "greet";
    using Response = std::string;
    std::string whom{};
};

/// Spells a word, with a pause after each letter.
struct Spell {
    static constexpr std::string_view name = "spell";
    using Response = std::vector<std::string>;
    std::string word{};
    int pause_ms{};
};

/// What worker.py serves. JSON, since that is in Python's standard library.
struct GreetProtocol {
    static constexpr std::string_view name = "example.greet";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Greet, Spell>;
    using Codec = tether::JsonCodec;
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Greet, whom)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Spell, word, pause_ms)
