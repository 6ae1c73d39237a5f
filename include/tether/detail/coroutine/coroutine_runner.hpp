// Why: what a worker knows of its handlers is the index of a request and its bytes. This is where
// that becomes a coroutine on the handler's own context, and where the end of its call reaches it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/protocol/codec_failures.hpp>
#include <tether/detail/protocol/coroutines.hpp>
#include <tether/detail/protocol/side_types.hpp>
#include <tether/protocol.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN

template <class Request>
class AsyncCallContext;

namespace detail {

template <class Request>
class AwaitsToHandle {
public:
    virtual asio::awaitable<typename Request::Response> handle(const Request& request,
                                                               AsyncCallContext<Request>& call) = 0;

protected:
    ~AwaitsToHandle() = default;
};

template <class List>
class AwaitsToHandleAll;

template <class... Requests>
class AwaitsToHandleAll<Messages<Requests...>> : public AwaitsToHandle<Requests>... {
protected:
    ~AwaitsToHandleAll() = default;
};

// A call on its own strand, so that its handler and its cancellation never meet.
class SpawnedCall : public std::enable_shared_from_this<SpawnedCall> {
public:
    using Strand = asio::strand<asio::io_context::executor_type>;

    SpawnedCall(asio::io_context& context, std::shared_ptr<CoroutineRun> the_run)
        : strand_(asio::make_strand(context)), run_(std::move(the_run)) {}
    SpawnedCall(const SpawnedCall&) = delete;
    SpawnedCall& operator=(const SpawnedCall&) = delete;

    [[nodiscard]] const Strand& strand() const noexcept { return strand_; }
    [[nodiscard]] CoroutineRun& run() noexcept { return *run_; }

    // On the strand: `handler` is the coroutine that handles it.
    template <class MakeCoroutine>
    void begin(MakeCoroutine make) {
        try {
            on_stop_.emplace(run_->control().cancellation(), Cancel{weak_from_this()});
            asio::co_spawn(
                strand_, make(*this),
                asio::bind_cancellation_slot(
                    signal_.slot(), [self = shared_from_this()](const std::exception_ptr& failure) {
                        self->end(failure);
                    }));
        } catch (...) {  // the system has no thread to give, or no memory
            end(std::current_exception());
        }
    }

private:
    // Both on the strand.
    void end(const std::exception_ptr& failure) noexcept {
        if (std::exchange(ended_, true)) return;
        on_stop_.reset();
        run_->end(failure);
    }
    void cancel() {
        if (ended_ || !run_->control().stop_requested()) return;  // it is told now
        signal_.emit(asio::cancellation_type::terminal);
    }

    // On the thread that runs stop callbacks, which must not block.
    struct Cancel {
        std::weak_ptr<SpawnedCall> call;
        void operator()() const noexcept {
            try {
                if (const auto there = call.lock()) {
                    asio::post(there->strand_, [there] { there->cancel(); });
                }
            } catch (...) {  // no memory: its handler goes on
            }
        }
    };

    const Strand strand_;
    const std::shared_ptr<CoroutineRun> run_;
    asio::cancellation_signal signal_;
    bool ended_ = false;
    std::optional<std::stop_callback<Cancel>> on_stop_;
};

// Runs the handlers of P.
template <class P, class Handler>
class CoroutineRunner final : public Coroutines {
public:
    explicit CoroutineRunner(Handler& handler) noexcept : handler_(handler) {}

    [[nodiscard]] asio::io_context& context() noexcept { return context_; }

    void run() override { context_.run(); }
    void end() noexcept override { context_.stop(); }

    bool start(std::shared_ptr<CoroutineRun> call) override {
        return start(std::move(call), typename P::Requests{});
    }

private:
    template <class... Rs>
    bool start(std::shared_ptr<CoroutineRun> call, Messages<Rs...>) {
        using Begin = void (*)(Handler&, SpawnedCall&);
        static constexpr Begin begins[] = {&CoroutineRunner::template begin<Rs>...};
        const std::size_t index = call->index();
        if (index >= sizeof...(Rs)) return false;
        auto spawned = std::make_shared<SpawnedCall>(context_, std::move(call));
        asio::post(spawned->strand(),
                   [this, begin = begins[index], spawned] { begin(handler_, *spawned); });
        return true;
    }

    template <class R>
    static void begin(Handler& handler, SpawnedCall& call) {
        call.begin([&handler](SpawnedCall& begun) { return answer<R>(handler, begun.run()); });
    }

    template <class R>
    static asio::awaitable<void> answer(Handler& handler, CoroutineRun& run) {
        const R request = decode_request<P, R>(run.payload(), run.blobs());
        AsyncCallContext<R> context{run.control(), side_types_of<P, R>()};
        auto& awaits = static_cast<AwaitsToHandle<R>&>(handler);
        if constexpr (std::is_void_v<typename R::Response>) {
            co_await awaits.handle(request, context);
            run.responder().send();
        } else {
            const typename R::Response response = co_await awaits.handle(request, context);
            encode_response<P>(response, R::name, run.responder());
            run.responder().send();
        }
    }

    Handler& handler_;
    asio::io_context context_{};
    asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
};

}  // namespace detail
TETHER_NAMESPACE_END
