#pragma once

#include <tether/tether.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

/// Takes words, and sends each back in another language.
struct Translate {
    static constexpr std::string_view name = "translate";
    using Upload = std::string;
    using Item = std::string;
    using Progress = std::int64_t;  ///< how many words so far
    using Response = std::int64_t;  ///< how many words in all
};

/// Sent without an answer.
struct Forget {
    static constexpr std::string_view name = "forget";
    using Response = void;
    std::string word{};
};

/// What the worker asks about a word that it does not know.
struct Meaning {
    static constexpr std::string_view name = "meaning";
    using Response = std::string;
    std::string word{};
};

/// What it tells then.
struct Learned {
    static constexpr std::string_view name = "learned";
    std::string word{};
    std::string meaning{};
};

/// What translator.py serves.
struct TranslateProtocol {
    static constexpr std::string_view name = "example.translate";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Translate, Forget>;
    using Callbacks = tether::Messages<Meaning>;
    using Notifications = tether::Messages<Learned>;
    using Codec = tether::JsonCodec;
};

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Forget, word)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Meaning, word)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Learned, word, meaning)
