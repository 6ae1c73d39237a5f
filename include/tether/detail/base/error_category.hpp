// Why: an error may equal several conditions: its errc, a std::errc, and outcome_unknown. A
// category of its own decides each by one comparison.
#pragma once

#include <tether/config.hpp>
#include <tether/errc.hpp>

#include <array>
#include <cstddef>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The low byte of a code is the errc; this bit is set where the outcome is unknown.
inline constexpr int outcome_unknown_bit = 0x100;

constexpr errc cause_of(int code) noexcept { return static_cast<errc>(code & 0xff); }

inline std::string_view describe(errc cause) noexcept {
    switch (cause) {
        case errc::timeout:
            return "the call timed out";
        case errc::cancelled:
            return "the call was cancelled";
        case errc::start_failed:
            return "the worker could not be started";
        case errc::start_timeout:
            return "the worker was not ready in time";
        case errc::protocol_mismatch:
            return "the worker speaks another protocol";
        case errc::hook_missing:
            return "the program does not call tether::serve_if_worker";
        case errc::worker_exited:
            return "the worker exited";
        case errc::worker_killed:
            return "the worker was killed";
        case errc::worker_stuck:
            return "the worker was stuck";
        case errc::outcome_unknown:
            return "the outcome is unknown";
        case errc::restart_budget_spent:
            return "the worker crashed too often";
        case errc::framing:
            return "the connection ended early, or carried what is no message";
        case errc::message_too_large:
            return "the message is too large";
        case errc::codec:
            return "a message could not be encoded or decoded";
        case errc::handler:
            return "the handler raised an error";
        case errc::queue_full:
            return "the queue is full";
        case errc::would_deadlock:
            return "the call would block the thread that answers it";
        case errc::stopped:
            return "the worker was stopped";
        case errc::forked:
            return "the worker belongs to the process this one was forked from";
    }
    return "unknown error";
}

class Category final : public std::error_category {
public:
    const char* name() const noexcept override { return "tether"; }

    std::string message(int value) const override {
        std::string text{describe(cause_of(value))};
        if ((value & outcome_unknown_bit) != 0) text += " (it may have taken effect)";
        return text;
    }

    std::error_condition default_error_condition(int value) const noexcept override {
        switch (cause_of(value)) {
            case errc::timeout:
            case errc::start_timeout:
                return std::errc::timed_out;
            case errc::cancelled:
                return std::errc::operation_canceled;
            case errc::message_too_large:
                return std::errc::message_size;
            case errc::framing:
                return std::errc::protocol_error;
            case errc::would_deadlock:
                return std::errc::resource_deadlock_would_occur;
            case errc::queue_full:
                return std::errc::resource_unavailable_try_again;
            default:
                return {value & 0xff, *this};
        }
    }

    bool equivalent(int value, const std::error_condition& condition) const noexcept override {
        if (condition.category() != *this) return default_error_condition(value) == condition;
        if (condition.value() == (value & 0xff)) return true;
        return condition.value() == static_cast<int>(errc::outcome_unknown) &&
               (value & outcome_unknown_bit) != 0;
    }
};

// Never destroyed, because codes may outlive static destruction. Not allocated, because there may
// be no memory.
TETHER_SHARED_STATE inline const std::error_category& category() noexcept {
    alignas(Category) static std::array<std::byte, sizeof(Category)> storage;
    static const Category& instance = *new (storage.data()) Category;
    return instance;
}

}  // namespace detail
TETHER_NAMESPACE_END
