// Tether: one call for each element of a range, side by side.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/mapping.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/options.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/bind_executor.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <variant>

TETHER_NAMESPACE_BEGIN

/// How a `map` goes. An aggregate; name the members you set.
template <class R>
struct MapOptions {
    /// The responses in the order of their requests. False: as they come.
    bool in_order = true;

    /// Requests that were sent or wait, and responses that the loop has not taken, together. 0:
    /// twice as many as the pool has handlers, or fewer, where its queue takes no more. It bounds
    /// the memory, and how far the range is read ahead.
    std::size_t in_flight = 0;

    /// Of each call. A stop token ends the loop with `errc::cancelled`.
    CallOptions<R> call{};
};

/// The responses of a `map`, to be looped over once. It holds the calls: its destructor cancels
/// those that are not done, and waits for nothing. `std::monostate` stands for a response that is
/// `void`. One thread uses it.
template <class P, class Range>
class MapResults {
    using R = detail::RequestOf<Range>;
    using Value = typename detail::Mapped<R>::Value;

public:
    /// As in a range-for.
    class Iterator {
    public:
        // NOLINTNEXTLINE(readability-identifier-naming): as the standard library has it
        using iterator_concept = std::input_iterator_tag;
        using difference_type = std::ptrdiff_t;
        using value_type = Value;

        explicit Iterator(MapResults& results) : results_(&results), value_(results.next()) {}

        /// Valid until the next step.
        [[nodiscard]] value_type& operator*() const noexcept { return *value_; }
        [[nodiscard]] value_type* operator->() const noexcept { return &*value_; }
        Iterator& operator++() {
            value_ = results_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const Iterator& iterator, std::default_sentinel_t) noexcept {
            return !iterator.value_;
        }

    private:
        MapResults* results_;
        mutable std::optional<value_type> value_;
    };

    /// Made by Tether.
    MapResults(std::shared_ptr<detail::CallCarrier> carrier, Range&& requests,
               MapOptions<R> options)
        : carrier_(std::move(carrier)),
          requests_(std::forward<Range>(requests)),
          options_(std::move(options)) {
        auto& token = options_.call.stop_token;
        if (token.stop_possible()) on_stop_.emplace(token, RequestStop{mapping_->stop});
        token = mapping_->stop.get_token();
    }
    MapResults(const MapResults&) = delete;
    MapResults& operator=(const MapResults&) = delete;
    ~MapResults() {
        if (!carrier_->forked()) mapping_->stop.request_stop();
    }

    /// Makes the first calls, and waits for a response.
    Iterator begin() { return Iterator{*this}; }
    /// The end of the loop.
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

    /// The next response; nothing after the last. Throws the first error, which cancels the rest;
    /// then there are no more. On Tether's background thread `errc::would_deadlock`.
    std::optional<Value> next() {
        carrier_->check_may_block();
        make_calls();
        std::unique_lock lock{mapping_->mutex};
        auto& calls = mapping_->calls;
        if (calls.empty()) return std::nullopt;
        auto done = calls.end();
        mapping_->changed.wait(lock, [&] {
            done = find_done();
            return done != calls.end();
        });
        const auto call = std::move(*done);
        calls.erase(done);
        if (call->error) {
            calls.clear();
            lock.unlock();
            over_ = true;
            mapping_->stop.request_stop();
            std::rethrow_exception(call->error);
        }
        return std::move(call->value);
    }

private:
    using Position = decltype(std::begin(std::declval<Range&>()));

    auto find_done() {
        auto& calls = mapping_->calls;
        if (options_.in_order) return calls.front()->done() ? calls.begin() : calls.end();
        const auto is_done = [](const auto& call) { return call->done(); };
        return std::find_if(calls.begin(), calls.end(), is_done);
    }

    [[nodiscard]] std::size_t in_flight() const {
        const std::scoped_lock lock{mapping_->mutex};
        return mapping_->calls.size();
    }

    void make_calls() {
        if (over_) return;
        if (!position_) position_.emplace(std::begin(requests_));
        for (auto count = in_flight(); count < options_.in_flight; ++count) {
            if (*position_ == std::end(requests_)) {
                over_ = true;
                return;
            }
            make_call(**position_);
            ++*position_;
        }
    }

    void make_call(R request) {
        auto call = std::make_shared<detail::Mapped<R>>();
        {
            const std::scoped_lock lock{mapping_->mutex};
            mapping_->calls.push_back(call);
        }
        try {
            detail::initiate_call<P>(
                carrier_, executor_, std::move(request), options_.call,
                asio::bind_executor(executor_, detail::MapHandler<R>{mapping_, std::move(call)}));
        } catch (...) {
            const std::scoped_lock lock{mapping_->mutex};
            mapping_->calls.pop_back();
            throw;
        }
    }

    struct RequestStop {
        std::stop_source stop;
        void operator()() { stop.request_stop(); }
    };

    const std::shared_ptr<detail::CallCarrier> carrier_;
    const asio::any_io_executor executor_ = detail::started_background_executor();
    Range requests_;  // a reference to an lvalue
    MapOptions<R> options_;
    std::optional<Position> position_{};
    bool over_ = false;  // no more requests
    const std::shared_ptr<detail::Mapping<R>> mapping_ = std::make_shared<detail::Mapping<R>>();
    std::optional<std::stop_callback<RequestStop>> on_stop_{};
};

TETHER_NAMESPACE_END
