// Why: ref() holds a user's context; when that is destroyed first, the hold must go with it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/pending_list.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/execution/context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/query.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class ExecutorHold final : public Droppable, public std::enable_shared_from_this<ExecutorHold> {
public:
    static std::shared_ptr<ExecutorHold> make(const asio::any_io_executor& executor) {
        std::shared_ptr<ExecutorHold> hold{new ExecutorHold};
        hold->executor_ = executor;
        asio::execution_context& context = asio::query(executor, asio::execution::context);
        hold->list_ = PendingService::list_of(context);
        hold->list_->add(hold);
        return hold;
    }
    ExecutorHold(const ExecutorHold&) = delete;
    ExecutorHold& operator=(const ExecutorHold&) = delete;
    ~ExecutorHold() override {
        if (list_ != nullptr) list_->remove(this);
    }

    void take() {
        const std::scoped_lock lock{mutex_};
        if (executor_ && !work_) work_.emplace(*executor_);
    }

    void release() noexcept {
        const std::scoped_lock lock{mutex_};
        work_.reset();
    }

    void drop() noexcept override {
        const std::scoped_lock lock{mutex_};
        work_.reset();
        executor_.reset();
    }

private:
    ExecutorHold() = default;

    std::shared_ptr<PendingList> list_;
    std::mutex mutex_;
    std::optional<asio::any_io_executor> executor_;
    std::optional<asio::executor_work_guard<asio::any_io_executor>> work_;
};

}  // namespace detail
TETHER_NAMESPACE_END
