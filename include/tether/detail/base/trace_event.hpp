// Why: what happens in two processes is understood only on one time line. Chrome's trace format is
// what Perfetto and others show. Here is the text of one event, without I/O.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/printable.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// As a JSON string. Any bytes become valid UTF-8; a long text is cut.
inline std::string json_string(std::string_view text) {
    constexpr std::size_t most = 1000;
    const auto shown = printable(std::string{text.substr(0, most)});
    std::string out{'"'};
    for (const char c : shown) {
        if (c == '"' || c == '\\') out += '\\';
        if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else {
            out += c;
        }
    }
    if (text.size() > most) out += "...";
    return out += '"';
}

// Microseconds with three decimals.
inline std::string in_microseconds(Duration time) {
    const auto nanoseconds = std::max<std::int64_t>(0, time.count());
    const auto rest = std::to_string(nanoseconds % 1000);
    return std::to_string(nanoseconds / 1000) + '.' + std::string(3 - rest.size(), '0') + rest;
}

// The phases that Tether uses.
enum class TracePhase : char {
    span = 'X',         // begin and length, written when it is over
    begin = 'B',        // of a span on this thread; seen although the process dies in it
    end = 'E',          // of the last one
    async_begin = 'b',  // of a span that may overlap others; the two have the same id
    async_end = 'e',    //
    instant = 'i',      //
    description = 'M',  // the name of a process or a thread
};

class TraceEvent {
public:
    TraceEvent(TracePhase phase, std::string_view category, std::string_view name,
               TimePoint when = Clock::now())
        : when_(when) {
        text_ = std::string{R"({"ph":")"} + static_cast<char>(phase) + R"(","cat":)" +
                json_string(category) + R"(,"name":)" + json_string(name) + R"(,"ts":)" +
                in_microseconds(when.time_since_epoch());
        if (phase == TracePhase::instant) text_ += R"(,"s":"t")";
    }

    // Of a span.
    TraceEvent&& until(TimePoint end) && {
        text_ += R"(,"dur":)" + in_microseconds(end - when_);
        return std::move(*this);
    }
    // Of a span that may overlap others: the call `number` of the worker `pid`.
    TraceEvent&& of_call(std::int64_t pid, std::uint64_t number) && {
        constexpr std::string_view digits = "0123456789abcdef";
        std::string id;
        for (auto rest = (static_cast<std::uint64_t>(pid) << 40) ^ number; rest != 0; rest >>= 4) {
            id.insert(id.begin(), digits[rest & 0xf]);
        }
        text_ += R"(,"id":"0x)" + id + '"';
        return std::move(*this);
    }
    // It is shown there, rather than in the process that tells it.
    TraceEvent&& in_process(std::int64_t pid) && {
        process_ = pid;
        return std::move(*this);
    }
    TraceEvent&& with(std::string_view key, std::string_view value) && {
        return std::move(*this).with_json(key, json_string(value));
    }
    TraceEvent&& with(std::string_view key, std::integral auto value) && {
        return std::move(*this).with_json(key, std::to_string(value));
    }

    // On one line. `process` and `thread` are those that tell it.
    [[nodiscard]] std::string text(std::int64_t process, std::int64_t thread) const {
        return text_ + R"(,"pid":)" + std::to_string(process_ != 0 ? process_ : process) +
               R"(,"tid":)" + std::to_string(process_ != 0 ? process_ : thread) +
               (arguments_.empty() ? "" : R"(,"args":{)" + arguments_ + '}') + '}';
    }

private:
    TraceEvent&& with_json(std::string_view key, const std::string& value) && {
        if (!arguments_.empty()) arguments_ += ',';
        arguments_ += json_string(key) + ':' + value;
        return std::move(*this);
    }

    TimePoint when_;
    std::string text_;
    std::string arguments_;
    std::int64_t process_ = 0;  // 0: the one that tells it
};

}  // namespace detail
TETHER_NAMESPACE_END
