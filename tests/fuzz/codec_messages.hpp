#pragma once

// The message that codec_fuzz decodes, and make_corpus encodes.

#include <tether/bytes.hpp>
#include <tether/codec.hpp>
#include <tether/direct_codec.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tether_fuzz {

struct Note {
    std::string text{};
    std::optional<std::int64_t> line{};  // absent or null when empty: as users write it by hand
};
inline void to_json(nlohmann::json& json, const Note& note) {
    json = {{"text", note.text}};
    if (note.line) json["line"] = *note.line;
}
inline void from_json(const nlohmann::json& json, Note& note) {
    json.at("text").get_to(note.text);
    if (const auto found = json.find("line"); found != json.end() && !found->is_null()) {
        note.line = found->get<std::int64_t>();
    }
}

struct Section {
    Note note{};
    tether::Bytes image{};
};
TETHER_DEFINE_MESSAGE(Section, note, image)

struct Document {
    bool draft{};
    std::uint32_t pages{};
    double scale{};
    std::string title{};
    std::vector<std::string> tags{};
    std::map<std::string, int> index{};
    std::vector<Section> sections{};
    tether::Bytes cover{};
};
TETHER_DEFINE_MESSAGE(Document, draft, pages, scale, title, tags, index, sections, cover)

}  // namespace tether_fuzz
