// Why: ref() holds a user's context; when that is destroyed first, the hold must go with it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/pending_list.hpp>

#include <asio/any_io_executor.hpp>

#include <memory>
#include <mutex>
#include <optional>

TETHER_NAMESPACE_BEGIN
namespace detail {

class ExecutorHold final : public Droppable, public std::enable_shared_from_this<ExecutorHold> {
public:
    TETHER_DECL static std::shared_ptr<ExecutorHold> make(const asio::any_io_executor& executor);
    ExecutorHold(const ExecutorHold&) = delete;
    ExecutorHold& operator=(const ExecutorHold&) = delete;
    TETHER_DECL ~ExecutorHold() override;

    TETHER_DECL void take();
    TETHER_DECL void release() noexcept;
    TETHER_DECL void drop() noexcept override;

private:
    ExecutorHold() = default;

    std::shared_ptr<PendingList> list_;
    std::mutex mutex_;
    std::optional<asio::any_io_executor> executor_;
    std::optional<asio::any_io_executor> work_;
};

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/executor_hold.ipp>
#endif
