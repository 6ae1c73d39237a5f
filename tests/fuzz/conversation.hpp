#pragma once

// The script language of frames_fuzz: what each byte of its input makes of a stream of frames.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/support.hpp"

namespace tether_fuzz {

/// Writes a stream as the script says, and keeps what must come out of it.
class Conversation {
    using FrameHeader = tether::detail::FrameHeader;
    using FrameType = tether::detail::FrameType;
    using SideNumbers = tether::detail::SideNumbers;
    using Message = tether_test::Message;

public:
    explicit Conversation(ByteSource& in) : in_(in) {}

    void step() {
        switch (in_.byte() % 8) {
            case 0:
            case 1:
                return whole();
            case 2:
            case 3:
                return begin();
            case 4:
            case 5:
                return go_on();
            case 6:
                return abort();
            default:
                return hostile();
        }
    }

    std::string bytes{};
    std::vector<Message> expected{};
    bool sane = true;
    [[nodiscard]] bool idle() const { return open_.empty(); }

private:
    struct Open {
        Message message{};
        std::string left{};
    };

    Message message() {
        Message made;
        constexpr int types = 12;  // all but data and abort
        const auto type = 1 + in_.byte() % types;
        made.type = static_cast<FrameType>(type < 6 ? type : type + 2);
        made.index = in_.number<std::uint16_t>();
        made.number = ++last_number_;
        if (is_side_message(made.type)) made.number |= SideNumbers::bit;
        made.timeouts = {in_.byte(), in_.byte()};
        made.payload = text();
        for (auto left = in_.byte() % 4; left != 0; --left) made.blobs.push_back(text());
        return made;
    }
    std::string text() {
        const auto size = in_.byte();
        // Large ones by repetition: the input shall stay short.
        if (size >= 224) return std::string(std::size_t{1024} * (size - 223) / 2, 'x');
        return std::string{in_.text(size % 32)};
    }
    void arrives(const Message& message) {
        if (sane) expected.push_back(message);
    }

    void whole() {
        const auto made = message();
        bytes += tether_test::encoded(made);
        arrives(made);
    }
    void begin() {
        auto made = message();
        std::string content = made.payload;
        std::vector<std::uint64_t> sizes;
        for (const auto& blob : made.blobs) {
            sizes.push_back(blob.size());
            content += blob;
        }
        if (content.empty()) return;
        const auto here = in_.byte() % content.size();
        bytes += tether_test::frame(
            made.type, FrameHeader::more, made.number,
            tether_test::head(made.payload.size(), sizes, made.timeouts) + content.substr(0, here),
            made.index);
        const auto number = made.number;
        open_[number] = {std::move(made), content.substr(here)};
    }
    auto pick() { return std::next(open_.begin(), in_.byte() % static_cast<int>(open_.size())); }
    void go_on() {
        if (open_.empty()) return;
        const auto at = pick();
        auto& [message, left] = at->second;
        const auto part = left.substr(0, 1 + std::size_t{in_.byte()} * 16);
        left.erase(0, part.size());
        bytes += tether_test::frame(FrameType::data, left.empty() ? 0 : FrameHeader::more,
                                    message.number, part);
        if (!left.empty()) return;
        arrives(message);
        open_.erase(at);
    }
    void abort() {
        if (open_.empty()) return;
        const auto at = pick();
        bytes += tether_test::frame(FrameType::abort, 0, at->first, {});
        open_.erase(at);
    }
    void hostile() {
        sane = false;
        std::string body;
        const auto kind = in_.byte();
        if ((kind & 1) != 0) {
            std::vector<std::uint64_t> sizes(in_.byte() % 8);
            for (auto& size : sizes) size = in_.hostile_number();
            body = tether_test::head(in_.hostile_number(), sizes);
            if ((kind & 2) != 0) overwrite(body, 16);  // the number of blobs
        }
        body += in_.text(in_.byte() % 64);
        const auto number = 1 + in_.byte() % (last_number_ + 2);
        auto made = tether_test::frame(static_cast<FrameType>(in_.byte() % 17), in_.byte() % 5,
                                       (kind & 8) != 0 ? number | SideNumbers::bit : number, body);
        if ((kind & 4) != 0) overwrite(made, 0);  // the size of the body
        bytes += made;
    }
    void overwrite(std::string& target, std::size_t at) {
        const auto number = static_cast<std::uint32_t>(in_.hostile_number());
        tether::detail::store_le(target.data() + at, number);
    }

    ByteSource& in_;
    std::map<std::uint64_t, Open> open_{};
    std::uint64_t last_number_ = 0;
};

}  // namespace tether_fuzz
