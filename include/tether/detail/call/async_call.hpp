// Why: a call that completes on an executor. It may be settled on any thread, cancelled from
// another, sent again after a crash, and dropped with the user's context; each completes it at most
// once, and never inside the initiating function.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/background/runtime.hpp>
#include <tether/detail/background/turn.hpp>
#include <tether/detail/base/thrown.hpp>
#include <tether/detail/call/call.hpp>
#include <tether/detail/call/pending_list.hpp>
#include <tether/detail/call/work_hold.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/execution/context.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>
#include <asio/system_executor.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class AsyncCall;
class Session;

inline std::string describe_call(std::string_view request, const std::string& worker) {
    return "call \"" + std::string{request} + "\" to worker \"" + worker + "\"";
}

// The exception that is being handled, as an error of a call.
inline CallError current_call_error(const std::string& where) {
    try {
        throw;
    } catch (const CallError& error) {
        return error;
    } catch (...) {
        return {errc::start_failed, where + ": " + describe_current()};
    }
}

// What a settled call returns or throws; `where()` says which call it is.
template <class P, class R, class Where>
typename R::Response take_response(Outcome& outcome, const Where& where) {
    outcome.check(where);
    if constexpr (!std::is_void_v<typename R::Response>) {
        try {
            return decode_payload<CodecOf<P>, typename R::Response>(outcome.bytes(), outcome.blobs);
        } catch (ForcedUnwind&) {
            throw;
        } catch (...) {
            throw CallError(errc::codec,
                            where() + ": the response could not be decoded: " + describe_current());
        }
    }
}

struct CallLimits {
    Duration timeout{};
    std::uint64_t max_message_bytes{};
};

// Who carries async calls out: a Supervisor with its sessions, or a LoopbackWorker.
class CallCarrier {
public:
    virtual ~CallCarrier() = default;
    [[nodiscard]] virtual const std::string& name() const noexcept = 0;
    // Starts it, or starts it over. Settles it on failure; never throws.
    virtual void launch(std::shared_ptr<AsyncCall> call) noexcept = 0;
    virtual void cancel(AsyncCall& call, bool only_unsent) = 0;
};

class AsyncCall : public Call,
                  public Droppable,
                  public Deferred,
                  public std::enable_shared_from_this<AsyncCall> {
public:
    explicit AsyncCall(std::shared_ptr<CallCarrier> carrier) : carrier_(std::move(carrier)) {}

    [[nodiscard]] bool is_async() const noexcept final { return true; }
    [[nodiscard]] std::shared_ptr<Call> keep_alive() final { return shared_from_this(); }

    // It stays alive until it is settled.
    void hold(std::shared_ptr<AsyncCall> self) noexcept { self_ = std::move(self); }

    [[nodiscard]] Waiter on_settled() noexcept final {
        complete();
        return nullptr;
    }

    // It could not be sent.
    void fail(CallError error) noexcept {
        outcome.error = std::move(error);
        settled = true;
        complete();
    }

    // From the cancellation slot or a stop token, on any thread.
    void cancel(bool only_unsent) {
        if (!only_unsent) cancel_requested = true;
        carrier_->cancel(*this, only_unsent);
    }

    // Where it was sent, so that a cancellation finds it: the number is valid in that session only.
    struct Ticket {
        std::uint64_t generation = 0;
        std::uint64_t number = 0;
        std::shared_ptr<Session> session{};
    };
    void set_ticket(Ticket ticket) {
        const std::scoped_lock lock{ticket_mutex_};
        if (ticket.generation > ticket_.generation) ticket_ = std::move(ticket);
    }
    [[nodiscard]] Ticket ticket() {
        const std::scoped_lock lock{ticket_mutex_};
        return ticket_;
    }

    std::atomic<bool> cancel_requested{false};

    // Somebody may call cancel(), on any thread. Fixed before it is launched.
    [[nodiscard]] virtual bool may_be_cancelled() const noexcept = 0;

protected:
    [[nodiscard]] const std::shared_ptr<CallCarrier>& carrier() const noexcept { return carrier_; }
    // May take `self`, which keeps this alive.
    virtual void post_completion(std::shared_ptr<AsyncCall>& self) noexcept = 0;

private:
    void complete() noexcept {
        auto self = self_ != nullptr ? std::exchange(self_, nullptr) : shared_from_this();
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

    void complete_after_output(std::shared_ptr<AsyncCall>& self) noexcept {
        try {
            outcome.logged->pass_on_output([self]() mutable { self->post_completion(self); });
        } catch (...) {
            post_completion(self);
        }
    }

    void relaunch(std::shared_ptr<AsyncCall>& self) noexcept {
        try {
            // Not here: a lock is held, and a launch may start a process.
            Runtime::instance().post([self, target = carrier()] { target->launch(self); });
        } catch (...) {
            post_completion(self);
        }
    }

    std::shared_ptr<CallCarrier> carrier_;
    std::shared_ptr<AsyncCall> self_;
    std::mutex ticket_mutex_;
    Ticket ticket_;
    bool sent_again_ = false;
};

inline bool is_total(asio::cancellation_type type) noexcept {
    using Type = asio::cancellation_type;
    return (type & (Type::terminal | Type::partial)) == Type::none;
}

// Executors that run things where they are asked to and belong to no context of the user's. Asking
// them for a context, or posting to them, would start Asio's system thread pool.
template <class Executor>
inline constexpr bool runs_inline = false;
template <class Blocking, class Relationship, class Allocator>
inline constexpr bool runs_inline<asio::basic_system_executor<Blocking, Relationship, Allocator>> =
    true;
template <class T, class Blocking>  // asio::use_future's; there is no public name to match
inline constexpr bool runs_inline<asio::detail::promise_executor<T, Blocking>> = true;

// Whether it is that of the background thread, which never runs out of work. Only the executor
// itself: a strand over it, say, has rules of its own.
template <class Executor>
bool is_tethers(const Executor& executor) {
    if constexpr (std::is_same_v<Executor, asio::any_io_executor>) {
        const auto* own = executor.template target<asio::io_context::executor_type>();
        return own != nullptr && *own == Runtime::instance().context().get_executor();
    } else {
        return false;
    }
}

// `R` is kept inside, since its blobs are sent from where they are.
template <class P, class R, class Handler>
class TypedAsyncCall final : public AsyncCall {
    using Response = typename R::Response;
    using HandlerExecutor = asio::associated_executor_t<Handler, asio::any_io_executor>;

public:
    TypedAsyncCall(std::shared_ptr<CallCarrier> carrier, const asio::any_io_executor& executor,
                   R request, Handler handler)
        : AsyncCall(std::move(carrier)),
          request_(std::move(request)),
          completion_(allocate_completion(std::move(handler), executor)) {}

    TypedAsyncCall(const TypedAsyncCall&) = delete;
    TypedAsyncCall& operator=(const TypedAsyncCall&) = delete;
    ~TypedAsyncCall() override { delist(); }

    [[nodiscard]] const R& request() const noexcept { return request_; }

    // After construction, when shared_from_this works. False: the context is gone.
    bool enlist() {
        const auto* const own = &Runtime::instance().context();  // it is never destroyed
        for (auto* context : {context_of(completion_->work.get_executor()),
                              context_of(completion_->handler_work.get_executor())}) {
            if (context == nullptr || context == own) continue;
            const auto list = PendingService::list_of(*context);
            if (list == lists_[0]) continue;
            (lists_[0] == nullptr ? lists_[0] : lists_[1]) = list;
            if (!list->add(shared_from_this())) return false;
        }
        return true;
    }

    // Before it is launched: from now on the caller may cancel it.
    void connect_cancellation(std::stop_token token) {
        auto slot = asio::get_associated_cancellation_slot(completion_->handler);
        if (slot.is_connected()) {
            cancellable_ = true;
            slot.assign([weak = weak_from_this()](asio::cancellation_type type) {
                if (const auto self = weak.lock()) self->cancel(is_total(type));
            });
        }
        if (token.stop_possible()) {
            cancellable_ = true;
            stop_callback_.emplace(std::move(token), [weak = weak_from_this()] {
                if (const auto self = weak.lock()) self->cancel(false);
            });
        }
    }

    [[nodiscard]] bool may_be_cancelled() const noexcept override {
        return cancellable_ || droppable();
    }

    void drop() noexcept override {
        if (const auto dropped = take_completion(); dropped != nullptr) {
            delist();
            cancel(false);
        }
    }

private:
    // What must be destroyed together with the user's context.
    struct Completion {
        Completion(Handler the_handler, const asio::any_io_executor& executor,
                   const HandlerExecutor& handler_executor)
            : handler(std::move(the_handler)),
              work(executor, !is_tethers(executor)),
              handler_work(handler_executor, !is_tethers(handler_executor)) {}

        Handler handler;
        WorkHold<asio::any_io_executor> work;
        WorkHold<HandlerExecutor> handler_work;
    };

    // It has memory of its own, from the associated allocator, which wants it back before the
    // handler is called: who settles or cancels the call may hold the call itself a moment longer.
    using CompletionAllocator = typename std::allocator_traits<
        asio::associated_allocator_t<Handler>>::template rebind_alloc<Completion>;
    struct FreeCompletion {
        void operator()(Completion* completion) noexcept {
            std::allocator_traits<CompletionAllocator>::destroy(allocator, completion);
            std::allocator_traits<CompletionAllocator>::deallocate(allocator, completion, 1);
        }
        CompletionAllocator allocator;
    };
    using CompletionPointer = std::unique_ptr<Completion, FreeCompletion>;

    static CompletionPointer allocate_completion(Handler handler,
                                                 const asio::any_io_executor& executor) {
        using Traits = std::allocator_traits<CompletionAllocator>;
        CompletionAllocator allocator{asio::get_associated_allocator(handler)};
        const HandlerExecutor handler_executor{asio::get_associated_executor(handler, executor)};
        auto* memory = Traits::allocate(allocator, 1);
        try {
            Traits::construct(allocator, memory, std::move(handler), executor, handler_executor);
        } catch (...) {
            Traits::deallocate(allocator, memory, 1);
            throw;
        }
        return CompletionPointer{memory, FreeCompletion{allocator}};
    }

    // Its contexts may be destroyed, which takes the completion away on any thread.
    [[nodiscard]] bool droppable() const noexcept { return lists_[0] != nullptr; }

    [[nodiscard]] std::unique_lock<std::mutex> lock_completion() {
        return droppable() ? std::unique_lock{mutex_} : std::unique_lock<std::mutex>{};
    }

    CompletionPointer take_completion() {
        const auto lock = lock_completion();
        return std::move(completion_);
    }

    // What is posted to the handler's executor.
    struct Invocation {
        using allocator_type = asio::associated_allocator_t<Handler>;
        std::shared_ptr<TypedAsyncCall> call;
        allocator_type allocator;
        [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator; }
        void operator()() { TypedAsyncCall::invoke(std::move(call)); }
    };

    // The context that an executor belongs to, if there is one to run things on.
    template <class Executor>
    static asio::execution_context* context_of(const Executor& executor) {
        if constexpr (runs_inline<Executor> ||
                      !asio::can_query<const Executor&, asio::execution::context_t>::value) {
            return nullptr;
        } else {
            return &asio::query(executor, asio::execution::context);
        }
    }

    void delist() noexcept {
        for (auto& list : lists_) {
            if (list != nullptr) list->remove(this);
        }
    }

    // In a turn of the background thread it waits until that has let go of its locks: whoever is
    // woken may want one of them at once.
    void post_completion(std::shared_ptr<AsyncCall>& self) noexcept override {
        try {
            auto* const turn = Runtime::instance().turn();
            if (turn != nullptr && turn->after_act(self)) return;
        } catch (...) {  // no memory: at once, then
        }
        post(std::static_pointer_cast<TypedAsyncCall>(self));
    }

    void run(std::shared_ptr<Deferred> deferred) override {
        auto self = std::static_pointer_cast<TypedAsyncCall>(std::move(deferred));
        auto& runtime = Runtime::instance();
        if (runtime.exiting()) return runtime.keep_for_ever(std::move(self));
        if (!runs_on_background_thread()) return post(self);
        if constexpr (runs_inline<HandlerExecutor>) {
            dispatch(std::move(self));
        } else {
            invoke(std::move(self));
        }
    }

    [[nodiscard]] bool runs_on_background_thread() {
        const auto lock = lock_completion();
        if (completion_ == nullptr) return true;  // it was dropped, and nothing will run
        if constexpr (runs_inline<HandlerExecutor>) {
            return is_tethers(completion_->work.get_executor());
        } else {
            return is_tethers(completion_->handler_work.get_executor());
        }
    }

    static void dispatch(std::shared_ptr<TypedAsyncCall> self) {
        auto lock = self->lock_completion();
        if (self->completion_ == nullptr) return;
        auto executor = self->completion_->handler_work.get_executor();
        auto allocator = asio::get_associated_allocator(self->completion_->handler);
        lock = {};
        asio::dispatch(executor, Invocation{std::move(self), std::move(allocator)});
    }

    // Once it is posted, the completion may be gone.
    void post(const std::shared_ptr<TypedAsyncCall>& self) noexcept {
        const auto lock = lock_completion();
        if (completion_ == nullptr) return;
        try {
            auto executor = completion_->handler_work.get_executor();
            auto allocator = asio::get_associated_allocator(completion_->handler);
            Invocation invocation{self, std::move(allocator)};
            const auto* const context = context_of(executor);
            if (context != nullptr) {
                asio::post(executor, std::move(invocation));
                return Runtime::see_to(context);
            }
            // It may run things where it is asked to (use_future's does): not here, under a lock.
            const auto own_executor = completion_->work.get_executor();
            asio::post(own_executor, [executor, invocation = std::move(invocation)]() mutable {
                asio::dispatch(executor, std::move(invocation));
            });
            Runtime::see_to(context_of(own_executor));
        } catch (...) {
            // No memory, or the executor takes no more work: there is nobody to tell. Nor is the
            // handler destroyed here, under locks: it may own the worker.
            completion_->work.reset();
            completion_->handler_work.reset();
            static_cast<void>(completion_.release());
        }
    }

    // On the handler's executor.
    static void invoke(std::shared_ptr<TypedAsyncCall> self) {
        auto completion = self->take_completion();
        if (completion == nullptr) return;
        self->delist();
        self->stop_callback_.reset();
        asio::get_associated_cancellation_slot(completion->handler).clear();
        auto handler = std::move(completion->handler);
        auto error = self->outcome.failure();
        if constexpr (std::is_void_v<Response>) {
            try {
                if (!error) self->take();
            } catch (...) {
                error = std::current_exception();
            }
            self.reset();
            completion.reset();
            std::move(handler)(std::move(error));
        } else {
            Response response{};
            try {
                if (!error) response = self->take();
            } catch (...) {
                error = std::current_exception();
            }
            self.reset();
            completion.reset();
            std::move(handler)(std::move(error), std::move(response));
        }
    }

    Response take() {
        return take_response<P, R>(outcome,
                                   [&] { return describe_call(R::name, carrier()->name()); });
    }

    R request_;
    std::mutex mutex_;  // completion_, where it is droppable
    CompletionPointer completion_;
    std::shared_ptr<PendingList> lists_[2];
    bool cancellable_ = false;
    std::optional<std::stop_callback<std::function<void()>>> stop_callback_;
};

}  // namespace detail
TETHER_NAMESPACE_END
