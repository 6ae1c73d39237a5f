// Why: a call that completes on an executor. It may be settled on any thread, cancelled from
// another, sent again after a crash, and dropped with the user's context; each completes it at most
// once, and never inside the initiating function. All but the handler's type and the response's is
// compiled once.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/turn.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/pending_list.hpp>
#include <tether/detail/call/response.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/system_executor.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class AsyncCall;
class CallConnection;

// The exception that is being handled, as an error of a call.
TETHER_DECL CallError current_call_error(const std::string& where);

// An executor, kept busy until this is reset or destroyed, except that of the background thread,
// which never runs out of work.
class BusyExecutor {
public:
    // `busy` false: it is not kept busy after all.
    TETHER_DECL BusyExecutor(const asio::any_io_executor& executor, bool busy);
    // The same executor, which this one keeps busy.
    [[nodiscard]] BusyExecutor share() const { return {executor_, is_background_, {}}; }

    [[nodiscard]] const asio::any_io_executor& get() const noexcept { return executor_; }
    [[nodiscard]] bool is_background() const noexcept { return is_background_; }
    TETHER_DECL void reset() noexcept;

private:
    BusyExecutor(const asio::any_io_executor& executor, bool is_background,
                 asio::any_io_executor work)
        : executor_(executor), is_background_(is_background), work_(std::move(work)) {}

    asio::any_io_executor executor_;
    const bool is_background_;
    asio::any_io_executor work_;  // empty where it is not needed
};

// What must be destroyed together with the user's contexts: a handler and where it runs. Its memory
// is the handler's associated allocator's, which wants it back before the handler is called: the
// call itself may live a moment longer.
class Completion {
public:
    // `busy`: it keeps both executors so.
    Completion(const asio::any_io_executor& worker_executor,
               const asio::any_io_executor& handler_executor, bool busy)
        : own(worker_executor, busy),
          executor(handler_executor == worker_executor ? own.share()
                                                       : BusyExecutor{handler_executor, busy}) {}
    Completion(const Completion&) = delete;
    Completion& operator=(const Completion&) = delete;

    // Destroys this and gives its memory back.
    virtual void free() noexcept = 0;

    BusyExecutor own;       // the worker's
    BusyExecutor executor;  // what the completion is posted to

protected:
    ~Completion() = default;
};
struct FreeCompletion {
    void operator()(Completion* completion) const noexcept { completion->free(); }
};
using CompletionPointer = std::unique_ptr<Completion, FreeCompletion>;

class AsyncCall : public Call,
                  public Droppable,
                  public Deferred,
                  public std::enable_shared_from_this<AsyncCall> {
public:
    TETHER_DECL ~AsyncCall() override;

    [[nodiscard]] bool is_async() const noexcept final { return true; }
    [[nodiscard]] std::shared_ptr<Call> keep_alive() final { return shared_from_this(); }

    // After construction, when shared_from_this works. False: the context is gone.
    TETHER_DECL bool enlist();

    // It stays alive until it is settled.
    void hold(std::shared_ptr<AsyncCall> self) noexcept { self_ = std::move(self); }

    [[nodiscard]] TETHER_DECL Waiter on_settled() noexcept final;

    // It could not be sent.
    TETHER_DECL void fail(CallError error) noexcept;

    // From the cancellation slot or a stop token, on any thread.
    TETHER_DECL void cancel(bool only_unsent);
    // Has its feed see to what has come, on the executor of its completion.
    TETHER_DECL void post_news();
    // An operation that was registered, and completed by this.
    void succeed() noexcept {
        settled = true;
        static_cast<void>(on_settled());
    }

    // Some thread may call cancel(). Fixed before it is launched.
    [[nodiscard]] bool may_be_cancelled() const noexcept { return cancellable_ || droppable(); }

    // The context of its completion is going.
    TETHER_DECL void drop() noexcept final;

    // Deferred: in a turn of the background thread, once that has let go of its locks.
    TETHER_DECL void run(std::shared_ptr<Deferred> deferred) final;

    // Where it was sent, so that a cancellation finds it: the number is valid in that session only.
    struct Ticket {
        std::uint64_t launch = 0;
        std::uint64_t number = 0;
        std::shared_ptr<CallConnection> connection{};
    };
    TETHER_DECL void set_ticket(Ticket ticket);
    [[nodiscard]] TETHER_DECL Ticket ticket();
    // It was sent, and `ticket()` says where to.
    virtual void on_sent() {
        if (feed != nullptr && feed->has_interrupts(feed->lock())) post_news();
    }

    std::atomic<bool> cancel_requested{false};

    // How often it was submitted, to whatever worker: the ticket of the last one counts.
    std::uint64_t launches = 0;

    // In a pool, whose lock guards it: its number there while it waits for a worker or has one.
    std::uint64_t place = 0;

protected:
    TETHER_DECL AsyncCall(std::shared_ptr<CallCarrier> carrier, CompletionPointer completion);

    [[nodiscard]] const std::string& worker() const noexcept { return carrier_->name(); }
    [[nodiscard]] bool forked() const noexcept { return carrier_->forked(); }
    [[nodiscard]] Completion& completion() noexcept { return *completion_; }

    // Before it is launched: from now on the caller may cancel it.
    TETHER_DECL void cancel_by(std::stop_token token);
    void set_cancellable() noexcept { cancellable_ = true; }

private:
    // It could not be sent.
    virtual void on_failed() noexcept {}
    // Null: nothing comes before it.
    [[nodiscard]] virtual CallFeed::Turn* turn() noexcept {
        return feed == nullptr ? nullptr : feed->turn();
    }
    // What it waits for is to be given up.
    virtual void withdraw(bool only_unsent) { carrier_->cancel(*this, only_unsent); }

    // On the executor of the completion: calls the handler, which may destroy the worker.
    virtual void call_handler(std::shared_ptr<AsyncCall> self, CompletionPointer completion) = 0;

    struct Invocation {
        std::shared_ptr<AsyncCall> call;
        TETHER_DECL void operator()();
    };

    struct SeeToNews {
        std::shared_ptr<AsyncCall> call;
        TETHER_DECL void operator()();
    };

    struct CancelThis {
        std::weak_ptr<AsyncCall> call;
        void operator()() const {
            if (const auto self = call.lock()) self->cancel(false);
        }
    };

    // Its contexts may be destroyed, which takes the completion away on any thread.
    [[nodiscard]] bool droppable() const noexcept { return lists_[0] != nullptr; }

    TETHER_DECL void complete() noexcept;
    TETHER_DECL void complete_after_output(std::shared_ptr<AsyncCall>& self) noexcept;
    TETHER_DECL void relaunch(std::shared_ptr<AsyncCall>& self) noexcept;
    TETHER_DECL void post_completion(std::shared_ptr<AsyncCall>& self) noexcept;
    TETHER_DECL void post(const std::shared_ptr<AsyncCall>& self) noexcept;
    TETHER_DECL static void invoke(std::shared_ptr<AsyncCall> self);
    TETHER_DECL bool has_news_turn(const std::shared_ptr<AsyncCall>& self);
    TETHER_DECL std::unique_lock<std::mutex> lock_completion();
    TETHER_DECL CompletionPointer take_completion();
    TETHER_DECL void delist() noexcept;

    std::shared_ptr<CallCarrier> carrier_;
    std::shared_ptr<AsyncCall> self_;
    std::mutex ticket_mutex_;
    Ticket ticket_;
    bool sent_again_ = false;

    std::mutex completion_mutex_;  // guards completion_, where it is droppable
    CompletionPointer completion_;
    const bool completes_in_background_;
    std::shared_ptr<PendingList> lists_[2];
    bool cancellable_ = false;
    std::optional<std::stop_callback<CancelThis>> stop_callback_;
};

// --- Of one type of handler

template <class Executor>
inline constexpr bool is_system_executor = false;
template <class Blocking, class Relationship, class Allocator>
inline constexpr bool
    is_system_executor<asio::basic_system_executor<Blocking, Relationship, Allocator>> = true;

template <class Handler>
class HandlerCompletion final : public Completion {
    using Executor = asio::associated_executor_t<Handler, asio::any_io_executor>;
    // Executors that run things where they are asked to belong to no context of the user's
    // (use_future's, for one). Asking them for a context, or posting to them, would start Asio's
    // system thread pool.
    static constexpr bool has_context =
        !is_system_executor<Executor> &&
        std::is_convertible_v<const Executor&, asio::any_io_executor>;

    using Allocator = typename std::allocator_traits<
        asio::associated_allocator_t<Handler>>::template rebind_alloc<HandlerCompletion>;
    using Traits = std::allocator_traits<Allocator>;

public:
    static CompletionPointer make(Handler handler, const asio::any_io_executor& executor,
                                  bool busy = true) {
        Allocator allocator{asio::get_associated_allocator(handler)};
        auto handler_executor = executor_of(handler, executor);
        auto* memory = Traits::allocate(allocator, 1);
        try {
            Traits::construct(allocator, memory, std::move(handler), allocator, executor,
                              handler_executor, busy);
        } catch (...) {
            Traits::deallocate(allocator, memory, 1);
            throw;
        }
        return CompletionPointer{memory};
    }

    HandlerCompletion(Handler the_handler, const Allocator& allocator,
                      const asio::any_io_executor& worker_executor,
                      const asio::any_io_executor& handler_executor, bool busy)
        : Completion(worker_executor, handler_executor, busy),
          handler(std::move(the_handler)),
          allocator_(allocator) {}

    void free() noexcept override {
        auto allocator = std::move(allocator_);
        Traits::destroy(allocator, this);
        Traits::deallocate(allocator, this, 1);
    }

    // On the executor of this completion: goes on to the handler's own where that is another.
    template <class Function>
    static void run(const Handler& handler, Function function) {
        if constexpr (has_context) {
            function();
        } else {
            const auto executor = asio::get_associated_executor(handler);
            asio::dispatch(executor, std::move(function));
        }
    }

    Handler handler;

private:
    static asio::any_io_executor executor_of(const Handler& handler,
                                             const asio::any_io_executor& executor) {
        if constexpr (has_context) {
            return asio::get_associated_executor(handler, executor);
        } else {
            return executor;
        }
    }

    Allocator allocator_;
};

inline bool is_total(asio::cancellation_type type) noexcept {
    using Type = asio::cancellation_type;
    return (type & (Type::terminal | Type::partial)) == Type::none;
}

// A call of whatever kind, with its handler, which takes an exception and a `Result`.
template <class Base, class Result, class Handler>
class HandledCall : public Base {
    using Typed = HandlerCompletion<Handler>;

protected:
    using Base::Base;

    // Before it is launched: from now on the caller may cancel it.
    void connect_slot() {
        auto slot =
            asio::get_associated_cancellation_slot(static_cast<Typed&>(this->completion()).handler);
        if (!slot.is_connected()) return;
        this->set_cancellable();
        slot.assign([weak = this->weak_from_this()](asio::cancellation_type type) {
            if (const auto self = weak.lock()) self->cancel(is_total(type));
        });
    }

private:
    // Where there is no error.
    virtual Result take_result() = 0;

    void call_handler(std::shared_ptr<AsyncCall> self, CompletionPointer completion) final {
        auto& typed = static_cast<Typed&>(*completion);
        Typed::run(typed.handler,
                   [self = std::move(self), completion = std::move(completion)]() mutable {
                       auto& call = static_cast<HandledCall&>(*self);
                       call.call_handler_here(std::move(self), std::move(completion));
                   });
    }

    void call_handler_here(std::shared_ptr<AsyncCall> self, CompletionPointer completion) {
        auto& typed = static_cast<Typed&>(*completion);
        asio::get_associated_cancellation_slot(typed.handler).clear();
        auto handler = std::move(typed.handler);
        auto error = this->outcome.failure();
        if constexpr (std::is_void_v<Result>) {
            try {
                if (!error) take_result();
            } catch (...) {
                error = std::current_exception();
            }
            self.reset();
            completion.reset();
            std::move(handler)(std::move(error));
        } else {
            Result result{};
            try {
                if (!error) result = take_result();
            } catch (...) {
                error = std::current_exception();
            }
            self.reset();
            completion.reset();
            std::move(handler)(std::move(error), std::move(result));
        }
    }
};

// `R` is kept inside, since its blobs are sent from where they are.
template <class P, class R, class Handler>
class TypedAsyncCall final : public HandledCall<AsyncCall, typename R::Response, Handler> {
    using Base = HandledCall<AsyncCall, typename R::Response, Handler>;

public:
    TypedAsyncCall(std::shared_ptr<CallCarrier> carrier, const asio::any_io_executor& executor,
                   R request, Handler handler)
        : Base(std::move(carrier), HandlerCompletion<Handler>::make(std::move(handler), executor)),
          request_(std::move(request)) {}

    [[nodiscard]] const R& request() const noexcept { return request_; }

    // Before it is launched: from now on the caller may cancel it.
    void connect_cancellation(std::stop_token token) {
        this->connect_slot();
        if (token.stop_possible()) this->cancel_by(std::move(token));
    }

private:
    typename R::Response take_result() override {
        return take_response<P, R>(this->outcome, this->worker());
    }

    R request_;
};

}  // namespace detail
TETHER_NAMESPACE_END

#if !defined(TETHER_SEPARATE_COMPILATION)
#include <tether/detail/impl/async_call.ipp>
#endif
