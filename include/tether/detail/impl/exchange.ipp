#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/frame_reader.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL void Outcome::take(const IncomingMessage& message) {
    is_error_answer = message.type == FrameType::error;
    if (message.storage != nullptr) {
        large_payload = std::move(*message.storage);
    } else {
        payload.assign(message.payload);
    }
    blobs.resize(message.blobs.size());
    std::move(message.blobs.begin(), message.blobs.end(), blobs.begin());
}

TETHER_DECL void Outcome::check(std::string_view request, const std::string& worker) const {
    if (error) throw CallError{*error};
    if (!is_error_answer) return;
    auto answer = ErrorAnswer::decode(bytes());
    const auto prefix = describe_call(request, worker) + ": ";
    if (answer.cause != errc::handler) throw CallError(answer.cause, prefix + answer.text);
    std::string text = prefix + answer.causes.front().message;
    for (std::size_t i = 1; i < answer.causes.size(); ++i) {
        text += "; caused by: " + answer.causes[i].message;
    }
    throw RemoteError(text, std::move(answer.causes));
}

class ExchangePool {
public:
    // Leaked on purpose: calls may be made during static destruction.
    static ExchangePool& instance() {
        static ExchangePool& pool = *new ExchangePool;
        return pool;
    }

    ExchangeLease take() {
        // Tried only: in a forked copy the thread that would unlock it does not exist.
        if (const std::unique_lock lock{mutex_, std::try_to_lock}; lock && !kept_.empty()) {
            ExchangeLease lease{kept_.back().release()};
            kept_.pop_back();
            return lease;
        }
        return ExchangeLease{new Exchange};
    }

    void give_back(Exchange* returned) noexcept {
        std::unique_ptr<Exchange> exchange{returned};
        try {
            exchange->reset();
        } catch (...) {  // no memory: it is not kept
            return;
        }
        const std::unique_lock lock{mutex_, std::try_to_lock};
        if (lock && kept_.size() < most_kept) kept_.push_back(std::move(exchange));
    }

private:
    static constexpr std::size_t most_kept = 64;

    ExchangePool() { kept_.reserve(most_kept); }

    std::mutex mutex_;
    std::vector<std::unique_ptr<Exchange>> kept_;
};

TETHER_DECL void GiveBackExchange::operator()(Exchange* exchange) const noexcept {
    ExchangePool::instance().give_back(exchange);
}

TETHER_DECL ExchangeLease take_exchange() { return ExchangePool::instance().take(); }

}  // namespace detail
TETHER_NAMESPACE_END
