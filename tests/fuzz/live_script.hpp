#pragma once

// The script language of the fuzz targets for live calls: what each byte of their input makes of
// the messages that one side sends.

#include <tether/detail/wire/stored_message.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/support.hpp"

namespace tether_fuzz {

/// Makes messages of the given types, mostly as they should be, about calls with small numbers.
class LiveScript {
    using FrameHeader = tether::detail::FrameHeader;
    using FrameType = tether::detail::FrameType;
    using SideNumbers = tether::detail::SideNumbers;

public:
    LiveScript(ByteSource& in, std::span<const FrameType> types) : in_(in), types_(types) {}

    /// The bytes of one step: a message, the beginning of one, or more of it.
    std::string step() {
        switch (in_.byte() % 8) {
            case 0:
                return begin();
            case 1:
                return go_on(FrameType::data);
            case 2:
                return go_on(FrameType::abort);
            case 3:  // anything
                return tether_test::frame(static_cast<FrameType>(in_.byte() % 17), in_.byte() % 5,
                                          any_number(), in_.text(in_.byte() % 64), in_.byte() % 4);
            default:
                return whole();
        }
    }

private:
    struct Opening {
        FrameType type{};
        std::uint16_t index = 0;
        std::uint64_t number = 0;
        std::uint64_t call = 0;
    };

    Opening opening() {
        Opening made;
        made.type = types_[in_.byte() % types_.size()];
        const auto about = in_.byte();
        made.index = about / 8 % 8 == 7 ? 1 : 0;
        made.call = about % 8;
        made.number = is_side_message(made.type) ? ++last_number_ : 1 + std::uint64_t{about} / 64;
        return made;
    }
    std::string whole() {
        const auto made = opening();
        tether_test::Message message{made.type, made.index, made.number,
                                     made.type == FrameType::window ? window() : text()};
        message.timeouts = tether::detail::of_call(made.call);
        const auto more = in_.byte();
        message.blobs.resize(more >= 240 ? std::size_t{8} * (more - 239) : more % 3);
        message.one_way = made.type == FrameType::request && more % 16 == 15;
        return tether_test::encoded(message);
    }
    std::string begin() {
        const auto made = opening();
        open_.push_back(made.number);
        const auto size = in_.hostile_number();
        return tether_test::frame(made.type, FrameHeader::more, made.number,
                                  tether_test::head(size, {}, tether::detail::of_call(made.call)),
                                  made.index);
    }
    std::string go_on(FrameType type) {
        const auto choice = in_.byte();
        if (open_.empty()) return {};
        const auto at = choice % open_.size();
        const auto number = open_[at];
        if (type == FrameType::abort) {
            open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(at));
            return tether_test::frame(type, 0, number, {});
        }
        const auto more = choice >= 128 ? FrameHeader::more : std::uint8_t{0};
        return tether_test::frame(type, more, number, '1' + text());
    }
    std::uint64_t any_number() {
        const auto number = 1 + std::uint64_t{in_.byte()} % 8;
        return number % 2 == 0 ? number | SideNumbers::bit : number;
    }
    std::string window() {
        std::string bytes;
        tether::detail::append_window(bytes, in_.hostile_number());
        return bytes;
    }
    std::string text() {
        const auto size = in_.byte();
        // A number in JSON; large ones by repetition, since the input shall stay short.
        return std::string(size >= 192 ? std::size_t{1024} * (size - 191) : size % 4, '1');
    }

    ByteSource& in_;
    std::span<const FrameType> types_;
    std::uint64_t last_number_ = SideNumbers::bit;
    std::vector<std::uint64_t> open_{};
};

}  // namespace tether_fuzz
