// Why: a payload comes from another process, which may be broken. nlohmann's readers and its DOM
// recurse for each level of nesting, so 30 KB of opening brackets overflow the stack of the thread
// that decodes them. This builds the DOM from the reader's events, and refuses deep nesting.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/codec/nesting.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class DomReader final : public nlohmann::json_sax<nlohmann::json> {
    using Json = nlohmann::json;

public:
    [[nodiscard]] Json take() { return std::move(root_); }

    bool null() override { return add(nullptr); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override { return add(value); }
    bool number_float(number_float_t value, const string_t&) override { return add(value); }
    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t& value) override { return add(std::move(value)); }
    // By their types: Json::object() and Json::array() take long to compile.
    bool start_object(std::size_t) override { return open(Json::value_t::object); }
    bool start_array(std::size_t) override { return open(Json::value_t::array); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& name) override {
        member_ = &(*open_.back())[std::move(name)];
        return true;
    }

    bool parse_error(std::size_t, const std::string&,
                     const nlohmann::detail::exception& error) override {
        throw std::runtime_error(error.what());
    }

private:
    Json& place(Json value) {
        if (open_.empty()) return root_ = std::move(value);
        auto& parent = *open_.back();
        if (parent.is_array()) {
            parent.push_back(std::move(value));
            return parent.back();
        }
        return *member_ = std::move(value);
    }

    bool add(Json value) {
        place(std::move(value));
        return true;
    }

    bool open(Json container) {
        if (open_.size() == deepest_nesting) throw_too_deep();
        open_.push_back(&place(std::move(container)));
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    Json root_;
    std::vector<Json*> open_;  // the incomplete containers, outermost first
    Json* member_ = nullptr;   // where the next value of the innermost object goes
};

// A CBOR string of unknown length consists of strings of known length (RFC 8949, section 3.2.3).
// The reader accepts nested ones as well, and recurses for each without an event.
inline void check_cbor_strings(std::string_view in) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(in[at]); };
    int chunks_of = -1;  // the major type of the string of unknown length that is open
    for (std::size_t at = 0; at < in.size();) {
        const int major = byte(at) >> 5;
        const int info = byte(at) & 31;
        ++at;
        const bool unknown_length = info == 31 && (major == 2 || major == 3);
        if (chunks_of != -1 && (major != chunks_of || unknown_length)) {
            if (major != 7 || info != 31) {
                throw std::runtime_error("a CBOR string of unknown length holds no string");
            }
            chunks_of = -1;
        }
        if (unknown_length) chunks_of = major;
        if (info > 27) continue;  // no argument
        std::uint64_t argument = static_cast<std::uint64_t>(info);
        if (info >= 24) {
            const std::size_t size = std::size_t{1} << (info - 24);
            if (in.size() - at < size) return;  // the reader says so
            argument = 0;
            for (std::size_t i = 0; i < size; ++i) argument = argument << 8 | byte(at + i);
            at += size;
        }
        if (major != 2 && major != 3) continue;
        if (argument > in.size() - at) return;
        at += static_cast<std::size_t>(argument);
    }
}

inline nlohmann::json read_dom(std::string_view in, nlohmann::json::input_format_t format) {
    if (format == nlohmann::json::input_format_t::cbor) check_cbor_strings(in);
    DomReader reader;
    nlohmann::json::sax_parse(in.begin(), in.end(), &reader, format);
    return reader.take();
}

}  // namespace detail
TETHER_NAMESPACE_END
