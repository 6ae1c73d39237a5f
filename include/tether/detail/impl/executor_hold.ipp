#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/executor_hold.hpp>
#include <tether/detail/call/pending_list.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>

#include <memory>
#include <mutex>
#include <optional>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL std::shared_ptr<ExecutorHold> ExecutorHold::make(
    const asio::any_io_executor& executor) {
    std::shared_ptr<ExecutorHold> hold{new ExecutorHold};
    hold->executor_ = executor;
    hold->list_ = PendingList::of(asio::query(executor, asio::execution::context));
    hold->list_->add(hold);
    return hold;
}

TETHER_DECL ExecutorHold::~ExecutorHold() {
    if (list_ != nullptr) list_->remove(this);
}

TETHER_DECL void ExecutorHold::take() {
    const std::scoped_lock lock{mutex_};
    if (executor_ && !work_) {
        work_ = asio::prefer(*executor_, asio::execution::outstanding_work.tracked);
    }
}

TETHER_DECL void ExecutorHold::release() noexcept {
    const std::scoped_lock lock{mutex_};
    work_.reset();
}

TETHER_DECL void ExecutorHold::drop() noexcept {
    const std::scoped_lock lock{mutex_};
    work_.reset();
    executor_.reset();
}

}  // namespace detail
TETHER_NAMESPACE_END
