// Why: asio::executor_work_guard does not take every executor that Asio itself takes: not a strand
// over an any_io_executor, for one (1.22).
#pragma once

#include <tether/config.hpp>

#include <asio/execution/executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/prefer.hpp>

#include <optional>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Something that counts as work as long as it lives.
template <class Executor>
auto track_work(const Executor& executor) {
    if constexpr (asio::execution::is_executor<Executor>::value) {
        return asio::prefer(executor, asio::execution::outstanding_work.tracked);
    } else {
        return asio::executor_work_guard<Executor>{executor};
    }
}

// Keeps the context of an executor busy until it is reset or destroyed; or does not, where that is
// not `needed`.
template <class Executor>
class WorkHold {
public:
    explicit WorkHold(const Executor& executor, bool needed = true) : executor_(executor) {
        if (needed) work_.emplace(track_work(executor));
    }

    [[nodiscard]] const Executor& get_executor() const noexcept { return executor_; }
    void reset() noexcept { work_.reset(); }

private:
    Executor executor_;
    std::optional<decltype(track_work(std::declval<const Executor&>()))> work_;
};

}  // namespace detail
TETHER_NAMESPACE_END
