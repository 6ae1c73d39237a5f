// Any bytes into the control channel, into a worker's last words, and into an error.
//
// Holds: nothing crashes or throws; the control channel's records and whether it is broken do not
// depend on where its bytes are cut, and are those that a plain loop over the whole stream finds;
// last words and errors that decode say the same after they are encoded again; a shortened error
// keeps to its limit.
//
// Input: a byte that selects, then what is decoded; for the control channel u16 seed of the cuts
// first.

#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/error_answer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "fuzz/support.hpp"

namespace {

using namespace tether::detail;
using tether_fuzz::require;

/// The records as they stood in the stream, then a '!' when it is broken.
template <class NextSize>
std::string read_records(std::string_view bytes, NextSize next_size) {
    ControlReader reader;
    std::string records;
    while (!bytes.empty() && !reader.broken()) {
        require(reader.space_size() != 0, "there is room for more");
        const auto size = std::min({next_size(), reader.space_size(), bytes.size()});
        bytes.copy(reader.space(), size);
        bytes.remove_prefix(size);
        reader.received(size);
        while (const auto record = reader.next()) {
            records += control_record(record->type, record->content);
        }
    }
    return reader.broken() ? records + '!' : records;
}

std::string records_of(std::string_view bytes) {
    std::size_t at = 0;
    while (bytes.size() - at >= 5) {  // a record has at least a type
        const auto size = load_le<std::uint32_t>(bytes.data() + at);
        if (size == 0 || size > ControlReader::capacity - 4) {
            return std::string{bytes.substr(0, at)} + '!';
        }
        if (bytes.size() - at < 4 + std::size_t{size}) break;
        at += 4 + std::size_t{size};
    }
    return std::string{bytes.substr(0, at)};
}

void control(std::string_view bytes, unsigned seed) {
    std::minstd_rand random{seed + 1};
    const auto any = [&] { return 1 + random() % (std::size_t{1} << random() % 14); };
    const auto expected = records_of(bytes);
    require(read_records(bytes, any) == expected, "records do not depend on the cuts");
    require(read_records(bytes, [] { return std::size_t(-1); }) == expected, "records are cut out");
}

void last_words(std::string_view bytes) {
    const auto decoded = StartFailure::decode(bytes);
    const auto again = StartFailure::decode(decoded.encode());
    require(again.cause == decoded.cause && again.text == decoded.text, "last words are kept");
}

void error_answer(std::string_view bytes) {
    auto decoded = ErrorAnswer::decode(bytes);
    require(decoded.cause != tether::errc::handler || !decoded.causes.empty(),
            "a handler's error has a cause");
    std::string once;
    decoded.append_to(once);
    std::string twice;
    ErrorAnswer::decode(once).append_to(twice);
    require(once == twice, "an error is kept");
    // The smallest limit that can be set, and as many causes as a worker sends.
    constexpr std::uint64_t limit = 4096;
    if (decoded.causes.size() > 16) decoded.causes.resize(16);
    decoded.shorten(limit);
    once.clear();
    decoded.append_to(once);
    require(once.size() <= limit, "a shortened error keeps to the limit");
    require(ErrorAnswer::decode(once).cause == decoded.cause, "a shortened error decodes");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    tether_fuzz::ByteSource in{data, size};
    const auto which = in.byte() % 3;
    if (which == 0) {
        const auto seed = in.number<std::uint16_t>();
        control(in.rest(), seed);
    }
    if (which == 1) last_words(in.rest());
    if (which == 2) error_answer(in.rest());
    return 0;
}
