// Why: a handler runs in a worker process or in a LoopbackWorker, and must not see the difference.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/duration.hpp>
#include <tether/logging.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// How a value of a type that only typed code knows becomes bytes, and comes back.
using EncodeValue = void (*)(const void* value, std::string& out, std::vector<const Bytes*>& blobs);
using DecodeValue = void (*)(void* result, std::string_view payload, std::span<Bytes> blobs);

// A value, for one call.
struct OutgoingValue {
    const void* value;
    EncodeValue encode;
};
// Where a value goes.
struct IncomingValue {
    void* result;
    DecodeValue decode;
};

// A notification or a question of a protocol. They are found by their types, because a handler's
// context knows only its own request.
struct SideType {
    const std::type_info* type;
    std::string_view name;
    std::uint16_t index;
    EncodeValue encode;
    DecodeValue decode_response;  // of a question
};

// What the calls of one request may send beside their answer.
struct SideTypes {
    EncodeValue progress = nullptr;
    EncodeValue item = nullptr;
    DecodeValue upload = nullptr;
    std::span<const SideType> questions{};
    std::span<const SideType> notifications{};
};

inline constexpr SideTypes no_side_types{};

// What a worker can say at any time. Thread-safe.
class Outlet {
public:
    virtual void notify(std::uint16_t index, const OutgoingValue& value) = 0;

protected:
    ~Outlet() = default;
};

// What a running call can ask of its surroundings: a worker process, or a LoopbackWorker.
class CallControl {
public:
    virtual std::uint64_t id() const noexcept = 0;
    virtual bool stop_requested() const noexcept = 0;
    virtual std::stop_token stop_token() = 0;
    virtual std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept = 0;
    virtual void log(Severity severity, std::string_view text) = 0;

    virtual void progress(const OutgoingValue& value) = 0;
    virtual void send_item(const OutgoingValue& value) = 0;
    // False: there is none, and none will come.
    virtual bool next_item(const IncomingValue& value) = 0;
    virtual void ask(const SideType& type, const void* question, Duration timeout,
                     void* response) = 0;
    virtual void notify(std::uint16_t index, const OutgoingValue& value) = 0;

protected:
    ~CallControl() = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
