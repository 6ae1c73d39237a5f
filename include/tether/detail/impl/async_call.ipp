#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/background/turn.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/observed_call.hpp>
#include <tether/detail/call/pending_list.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>

#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

TETHER_DECL CallError current_call_error(const std::string& where) {
    try {
        throw;
    } catch (const CallError& error) {
        return error;
    } catch (...) {
        return {errc::start_failed, where + ": " + describe_current()};
    }
}

// Only the executor itself: a strand over it, say, has rules of its own. Compared as a whole,
// because target() does not check the type.
TETHER_DECL BusyExecutor::BusyExecutor(const asio::any_io_executor& executor, bool busy)
    : executor_(executor), is_background_(executor == Runtime::instance().executor()) {
    if (busy && !is_background_) {
        work_ = asio::prefer(executor, asio::execution::outstanding_work.tracked);
    }
}

TETHER_DECL void BusyExecutor::reset() noexcept { work_ = nullptr; }

// --- AsyncCall

TETHER_DECL AsyncCall::AsyncCall(std::shared_ptr<CallCarrier> carrier, CompletionPointer completion)
    : carrier_(std::move(carrier)),
      completion_(std::move(completion)),
      completes_in_background_(completion_->executor.is_background()) {}

TETHER_DECL AsyncCall::~AsyncCall() { delist(); }

TETHER_DECL bool AsyncCall::enlist() {
    for (const auto* executor : {&completion_->own, &completion_->executor}) {
        if (executor->is_background()) continue;  // that context is never destroyed
        const auto list = PendingList::of(asio::query(executor->get(), asio::execution::context));
        if (list == lists_[0]) continue;
        (lists_[0] == nullptr ? lists_[0] : lists_[1]) = list;
        if (!list->add(shared_from_this())) return false;
    }
    return true;
}

TETHER_DECL void AsyncCall::delist() noexcept {
    for (auto& list : lists_) {
        if (list != nullptr) list->remove(this);
    }
}

TETHER_DECL void AsyncCall::set_ticket(Ticket ticket) {
    const std::scoped_lock lock{ticket_mutex_};
    if (ticket.launch > ticket_.launch) ticket_ = std::move(ticket);
}

TETHER_DECL AsyncCall::Ticket AsyncCall::ticket() {
    const std::scoped_lock lock{ticket_mutex_};
    return ticket_;
}

TETHER_DECL void AsyncCall::cancel_by(std::stop_token token) {
    set_cancellable();
    stop_callback_.emplace(std::move(token), CancelThis{weak_from_this()});
}

TETHER_DECL void AsyncCall::cancel(bool only_unsent) {
    if (!only_unsent) cancel_requested = true;
    withdraw(only_unsent);
}

TETHER_DECL void AsyncCall::drop() noexcept {
    if (const auto dropped = take_completion(); dropped != nullptr) {
        delist();
        cancel(false);
    }
}

// --- Its completion

TETHER_DECL Waiter AsyncCall::on_settled() noexcept {
    complete();
    return nullptr;
}

TETHER_DECL void AsyncCall::fail(CallError error) noexcept {
    outcome.error = std::move(error);
    settled = true;
    on_failed();
    complete();
}

TETHER_DECL void AsyncCall::complete() noexcept {
    auto self = self_ != nullptr ? std::exchange(self_, nullptr) : shared_from_this();
    observe_settled(*this);
    carrier_->on_settled(*this);
    auto& runtime = Runtime::instance();
    // At exit nothing is completed: user code may rely on what is gone already.
    if (runtime.exiting()) return runtime.keep_for_ever(std::move(self));
    if (outcome.goes_on(sent_again_)) {
        relaunch(self);
    } else if (outcome.logged != nullptr) {
        complete_after_output(self);
    } else {
        post_completion(self);
    }
}

TETHER_DECL void AsyncCall::complete_after_output(std::shared_ptr<AsyncCall>& self) noexcept {
    try {
        outcome.logged->pass_on_output([self]() mutable { self->post_completion(self); });
    } catch (...) {
        post_completion(self);
    }
}

TETHER_DECL void AsyncCall::relaunch(std::shared_ptr<AsyncCall>& self) noexcept {
    try {
        // Not here: a launch may start a process.
        Runtime::instance().post([self, target = carrier_] { target->launch(self); });
    } catch (...) {
        post_completion(self);
    }
}

// In a turn of the background thread it waits until that has let go of its locks: the thread that
// is woken may want one of them at once. Takes `self`, or leaves it alone.
TETHER_DECL void AsyncCall::post_completion(std::shared_ptr<AsyncCall>& self) noexcept {
    try {
        auto* const turn = Runtime::instance().turn();
        if (turn != nullptr && turn->after_act(self)) return;
    } catch (...) {  // no memory: at once, then
    }
    post(self);
}

TETHER_DECL void AsyncCall::run(std::shared_ptr<Deferred> deferred) {
    auto self = std::static_pointer_cast<AsyncCall>(std::move(deferred));
    auto& runtime = Runtime::instance();
    if (runtime.exiting()) return runtime.keep_for_ever(std::move(self));
    if (!completes_in_background_) return post(self);
    invoke(std::move(self));
}

// Once it is posted, the completion may be gone.
TETHER_DECL void AsyncCall::post(const std::shared_ptr<AsyncCall>& self) noexcept {
    const auto lock = lock_completion();
    if (completion_ == nullptr) return;
    try {
        const auto executor = completion_->executor.get();
        const auto* const context = &asio::query(executor, asio::execution::context);
        asio::post(executor, Invocation{self});
        Runtime::see_to(context);
    } catch (...) {
        // No memory, or the executor takes no more work: there is nothing to be told. Nor is the
        // handler destroyed here, under locks: it may own the worker.
        completion_->own.reset();
        completion_->executor.reset();
        static_cast<void>(completion_.release());
    }
}

// --- What comes before

TETHER_DECL void AsyncCall::post_news() {
    if (auto* const turn = this->turn()) {
        const std::scoped_lock one_at_a_time{turn->mutex};
        if (std::exchange(turn->posted, true)) return;
    }
    const auto lock = lock_completion();
    if (completion_ == nullptr) return;
    try {
        const auto executor = completion_->executor.get();
        const auto* const context = &asio::query(executor, asio::execution::context);
        asio::post(executor, SeeToNews{shared_from_this()});
        Runtime::see_to(context);
    } catch (...) {  // no memory, or the executor takes no more work: with the next, or the answer
        if (auto* const turn = this->turn()) {
            const std::scoped_lock one_at_a_time{turn->mutex};
            turn->posted = false;
        }
    }
}

TETHER_DECL void AsyncCall::SeeToNews::operator()() {
    struct Busy {
        Busy(AsyncCall& the_call, CallFeed::Turn& the_turn) : call(the_call), turn(the_turn) {}
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;
        ~Busy() {
            std::shared_ptr<AsyncCall> completion;
            {
                const std::scoped_lock lock{turn.mutex};
                turn.busy = false;
                completion.swap(turn.completion);
            }
            if (completion != nullptr) call.post(completion);
        }
        AsyncCall& call;
        CallFeed::Turn& turn;
    };
    auto& turn = *call->turn();
    for (;;) {
        {
            const std::scoped_lock lock{turn.mutex};
            turn.posted = false;
            if (turn.over) return;
            turn.again = turn.busy;
            if (turn.busy) return;
            turn.busy = true;
        }
        {
            const Busy busy{*call, turn};
            try {
                call->feed->see_to_news(*call);
            } catch (...) {  // the user's: it leaves run(), and the rest is seen to afterwards
                call->post_news();
                throw;
            }
        }
        const std::scoped_lock lock{turn.mutex};
        if (!turn.again) return;
    }
}

// False: a thread is inside the user's functions. It completes this call.
TETHER_DECL bool AsyncCall::has_news_turn(const std::shared_ptr<AsyncCall>& self) {
    auto* const turn = this->turn();
    if (turn == nullptr) return true;
    {
        const std::scoped_lock lock{turn->mutex};
        if (turn->busy) {
            turn->completion = self;
            return false;
        }
        if (std::exchange(turn->over, true)) return true;
    }
    try {
        feed->see_to_last_news();
    } catch (...) {  // the user's: the completion comes all the same
        post(self);
        throw;
    }
    return true;
}

TETHER_DECL void AsyncCall::Invocation::operator()() { AsyncCall::invoke(std::move(call)); }

TETHER_DECL void AsyncCall::invoke(std::shared_ptr<AsyncCall> self) {
    if (self->feed != nullptr && !self->has_news_turn(self)) return;
    auto completion = self->take_completion();
    if (completion == nullptr) return;  // it was dropped
    self->delist();
    self->stop_callback_.reset();
    auto& call = *self;
    call.call_handler(std::move(self), std::move(completion));
}

TETHER_DECL std::unique_lock<std::mutex> AsyncCall::lock_completion() {
    return droppable() ? std::unique_lock{completion_mutex_} : std::unique_lock<std::mutex>{};
}

TETHER_DECL CompletionPointer AsyncCall::take_completion() {
    const auto lock = lock_completion();
    return std::move(completion_);
}

}  // namespace detail
TETHER_NAMESPACE_END
