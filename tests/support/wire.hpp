#pragma once

// Messages as plain values, and the two directions between them and a stream of bytes.

#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/frame.hpp>
#include <tether/detail/wire/frame_reader.hpp>
#include <tether/detail/wire/outgoing_message.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tether_test {

struct Message {
    tether::detail::FrameType type = tether::detail::FrameType::request;
    std::uint16_t index = 0;
    std::uint64_t number = 1;
    std::string payload{};
    std::vector<std::string> blobs{};
    tether::detail::Timeouts timeouts{};
    bool logged = false;
    bool one_way = false;

    friend bool operator==(const Message&, const Message&) = default;
};

inline Message copy_of(const tether::detail::IncomingMessage& message) {
    Message copy{message.type, message.index,    message.number, std::string{message.payload},
                 {},           message.timeouts, message.logged, message.one_way};
    for (const auto& blob : message.blobs) copy.blobs.emplace_back(blob.view());
    return copy;
}

/// A message on its way out together with the blobs that it points to.
struct Parcel {
    explicit Parcel(const Message& source) {
        using tether::detail::FrameHeader;
        outgoing.payload() += source.payload;
        blobs.reserve(source.blobs.size());
        for (const auto& blob : source.blobs) {
            outgoing.blobs().push_back(&blobs.emplace_back(std::string_view{blob}));
        }
        outgoing.seal();
        outgoing.open(source.type, source.index, source.number, source.timeouts,
                      static_cast<std::uint8_t>((source.logged ? FrameHeader::logged : 0) |
                                                (source.one_way ? FrameHeader::one_way : 0)));
    }
    Parcel(const Parcel&) = delete;
    Parcel& operator=(const Parcel&) = delete;

    std::vector<tether::Bytes> blobs{};
    tether::detail::OutgoingMessage outgoing{};
};

/// All bytes of a message, as Tether sends them.
inline std::string encoded(const Message& message) {
    Parcel parcel{message};
    std::string bytes;
    while (!parcel.outgoing.done()) {
        const auto frame = parcel.outgoing.rest_of_frame();
        bytes += frame;
        parcel.outgoing.consume(frame.size());
    }
    return bytes;
}

/// The control record that cancels a request.
inline std::string cancel_record(std::uint64_t number) {
    const auto record = tether::detail::record_about(number, tether::detail::ControlType::cancel);
    return {record.data(), record.size()};
}

/// One frame as its parts say, sane or not.
inline std::string frame(tether::detail::FrameType type, std::uint8_t flags, std::uint64_t number,
                         std::string_view body, std::uint16_t index = 0) {
    std::string bytes(tether::detail::FrameHeader::size, '\0');
    tether::detail::FrameHeader{static_cast<std::uint32_t>(body.size()), type, flags, index, number}
        .store(bytes.data());
    return bytes.append(body);
}

/// What stands at the beginning of the body of the frame that opens a message.
inline std::string head(std::uint64_t payload_size, const std::vector<std::uint64_t>& blob_sizes,
                        tether::detail::Timeouts timeouts = {}) {
    using tether::detail::MessageHead;
    std::string bytes(MessageHead::size + 8 * blob_sizes.size(), '\0');
    MessageHead{payload_size, timeouts, static_cast<std::uint32_t>(blob_sizes.size())}.store(
        bytes.data());
    for (std::size_t i = 0; i < blob_sizes.size(); ++i) {
        tether::detail::store_le(bytes.data() + MessageHead::size + 8 * i, blob_sizes[i]);
    }
    return bytes;
}

/// A reader that is fed from strings, and what it delivered.
class Receiver {
public:
    static constexpr std::uint64_t default_limit = std::uint64_t{64} << 20;

    explicit Receiver(std::uint64_t max_message_bytes = default_limit)
        : reader_(max_message_bytes) {}

    /// Gives `bytes` to the reader, at most `read_size` of them at a time. Throws what it throws.
    void feed(std::string_view bytes, std::size_t read_size = std::size_t(-1)) {
        while (!bytes.empty()) {
            const auto part = bytes.substr(0, read_size);
            bytes.remove_prefix(receive(part));
            while (const auto message = reader_.next()) messages.push_back(copy_of(*message));
        }
    }

    [[nodiscard]] tether::detail::FrameReader& reader() noexcept { return reader_; }

    std::vector<Message> messages{};
    std::size_t reads = 0;           // as many system calls would be needed
    std::size_t direct_bytes = 0;    // received in place
    std::size_t buffered_bytes = 0;  // received into the reader's buffer

private:
    std::size_t receive(std::string_view part) {
        const auto space = reader_.space();
        std::size_t taken = 0;
        for (std::size_t i = 0; i < space.size(); ++i) {
            const auto size = std::min(space[i].size, part.size() - taken);
            if (size != 0) std::memcpy(space[i].data, part.data() + taken, size);
            (i == 0 ? direct_bytes : buffered_bytes) += size;
            taken += size;
        }
        reader_.received(taken);
        ++reads;
        return taken;
    }

    tether::detail::FrameReader reader_;
};

}  // namespace tether_test
