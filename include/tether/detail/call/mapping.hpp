// Why: the calls of a map complete on the background thread and may outlive its loop, which takes
// their responses.
#pragma once

#include <tether/config.hpp>

#include <condition_variable>
#include <deque>
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
namespace detail {

template <class Range>
using RequestOf = std::remove_cvref_t<decltype(*std::begin(std::declval<Range&>()))>;

// What one call has come to.
template <class R>
struct Mapped {
    using Value = std::conditional_t<std::is_void_v<typename R::Response>, std::monostate,
                                     typename R::Response>;
    std::optional<Value> value{};
    std::exception_ptr error{};
    [[nodiscard]] bool done() const noexcept { return value || error; }
};

// Shared with the calls, which may outlive the loop.
template <class R>
struct Mapping {
    std::mutex mutex{};
    std::condition_variable changed{};
    std::deque<std::shared_ptr<Mapped<R>>> calls{};
    std::stop_source stop{};
};

// Completes one call.
template <class R>
struct MapHandler {
    std::shared_ptr<Mapping<R>> mapping;
    std::shared_ptr<Mapped<R>> call;

    void operator()(std::exception_ptr error) const requires std::is_void_v<typename R::Response> {
        finish(std::move(error), std::monostate{});
    }
    template <class Response>
    void operator()(std::exception_ptr error, Response response) const
        requires(!std::is_void_v<typename R::Response>) {
        finish(std::move(error), std::move(response));
    }

private:
    template <class Value>
    void finish(std::exception_ptr error, Value value) const {
        {
            const std::scoped_lock lock{mapping->mutex};
            if (error) {
                call->error = std::move(error);
            } else {
                call->value.emplace(std::move(value));
            }
        }
        mapping->changed.notify_one();
    }
};

}  // namespace detail
TETHER_NAMESPACE_END
