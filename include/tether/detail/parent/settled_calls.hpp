// Why: to complete an async call runs code of the user's: an executor, an allocator, destructors.
// That code may block on a mutex whose holder waits for this very connection. So calls are settled
// under the connection's lock, and completed after it was released.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/news.hpp>

#include <memory>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Async calls in the order in which they were settled; each keeps itself alive. Allocates nothing.
class SettledCalls {
public:
    SettledCalls() = default;
    SettledCalls(const SettledCalls&) = delete;
    SettledCalls& operator=(const SettledCalls&) = delete;

    void swap(SettledCalls& other) noexcept {
        std::swap(first_, other.first_);
        std::swap(last_, other.last_);
        news_.swap(other.news_);
    }

    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr && news_ == nullptr; }

    // Something has come that settles no call.
    void add_news(std::shared_ptr<NewsListener> listener) {
        if (listener->announced.load()) return;
        if (news_ == nullptr) news_ = std::make_unique<News>();
        news_->reserve(news_->size() + 1);  // first: once announced, it must be told
        if (!listener->announced.exchange(true)) news_->push_back(std::move(listener));
    }

    void add(Call& call) noexcept {
        call.next_settled = nullptr;
        (first_ == nullptr ? first_ : last_->next_settled) = &call;
        last_ = &call;
    }

    // Under no lock. A call that is completed may be gone.
    void complete() noexcept {
        if (news_ != nullptr) [[unlikely]]
            tell();
        while (first_ != nullptr) {
            auto* const call = std::exchange(first_, first_->next_settled);
            static_cast<void>(call->on_settled());
        }
    }

private:
    using News = std::vector<std::shared_ptr<NewsListener>>;

    [[gnu::noinline]] void tell() noexcept {
        const auto news = std::move(news_);
        for (auto& listener : *news) {
            listener->announced = false;
            listener->on_news();
        }
    }

    Call* first_ = nullptr;
    Call* last_ = nullptr;
    std::unique_ptr<News> news_;  // rare
};

}  // namespace detail
TETHER_NAMESPACE_END
