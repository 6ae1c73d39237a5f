// Why: an error must reach the caller whatever the protocol's codec can or cannot express, so its
// payload has a fixed binary form.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/binary.hpp>
#include <tether/error.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The payload of an error frame. `causes` is filled only for errc::handler, and then not empty.
struct ErrorAnswer {
    errc cause = errc::handler;
    std::string text{};
    std::vector<RemoteCause> causes{};

    static constexpr std::uint32_t most_causes = 64;  // more is malformed

    // Cuts its texts so that it takes at most `limit` bytes, for any sane limit.
    void shorten(std::uint64_t limit) {
        std::uint64_t size = 12 + text.size();
        for (const auto& one : causes) size += 8 + one.code.size() + one.message.size();
        if (size <= limit) return;
        const auto each = static_cast<std::size_t>(limit / (4 * (causes.size() + 1)));
        const auto cut = [each](std::string& value) {
            if (value.size() > each) value.resize(each);
        };
        cut(text);
        for (auto& one : causes) {
            cut(one.code);
            cut(one.message);
        }
    }

    void append_to(std::string& bytes) const {
        BinaryWriter out{bytes};
        out.number(static_cast<std::uint32_t>(cause)).text(text);
        out.number(static_cast<std::uint32_t>(causes.size()));
        for (const auto& one : causes) out.text(one.code).text(one.message);
    }

    static ErrorAnswer decode(std::string_view bytes) {
        // A handler's error, without the memory to describe it.
        if (bytes.empty()) return {errc::handler, {}, {{"bad_alloc", "out of memory"}}};
        BinaryReader in{bytes};
        ErrorAnswer result;
        result.cause = static_cast<errc>(in.number<std::uint32_t>());
        result.text = in.text();
        const auto count = in.number<std::uint32_t>();
        for (auto left = std::min(count, most_causes); left != 0 && in.ok(); --left) {
            auto& cause = result.causes.emplace_back();
            cause.code = in.text();
            cause.message = in.text();
        }
        const bool known = result.cause == errc::handler || result.cause == errc::codec ||
                           result.cause == errc::message_too_large ||
                           result.cause == errc::cancelled || result.cause == errc::timeout ||
                           result.cause == errc::stopped;
        const bool sane = in.at_end() && known;
        if (!sane || (result.cause == errc::handler && result.causes.empty())) {
            return {errc::codec, "the worker answered with a malformed error", {}};
        }
        return result;
    }
};

}  // namespace detail
TETHER_NAMESPACE_END
