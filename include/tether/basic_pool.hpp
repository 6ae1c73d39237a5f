// Tether: what each kind of pool has in common.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/carrier_access.hpp>
#include <tether/detail/call/executor_hold.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/pool/make_pool.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/live_calls.hpp>
#include <tether/options.hpp>
#include <tether/pool_map.hpp>
#include <tether/pool_statistics.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// Members of `WorkerPool` and `LoopbackPool`. Not to be named by users.
///
/// What a pool has of `Worker`, it has in the same words: code that is written for the one takes
/// the other, as a template or by way of `AnyWorker`.
template <class P, class Executor>
class BasicPool : public LiveCalls<BasicPool<P, Executor>, P> {
    static_assert(detail::check_protocol<P>());
    static_assert(std::is_convertible_v<Executor, asio::any_io_executor>,
                  "the executor must be one that asio::any_io_executor takes");

public:
    /// The protocol that it was made for.
    using protocol_type = P;

    /// The executor that `async_call` completes on where the handler has none of its own.
    using executor_type = Executor;

    BasicPool(const BasicPool&) = delete;
    BasicPool& operator=(const BasicPool&) = delete;

    /// As `Worker::call`, by the worker that `CallOptions::affinity` and `priority` and what the
    /// workers have to do lead to. The time that it waits for a worker counts for its timeout.
    ///
    /// Throws what `Worker::call` throws, and `errc::queue_full`. A call that waits for a worker
    /// and is cancelled, or has had its time, costs the workers nothing. One whose worker cannot be
    /// started goes to another where there is one; where there is none, all that wait fail with
    /// that error at once.
    template <class R>
    typename R::Response call(const R& request, CallOptions<R> options = {}) {
        static_assert(detail::check_call<P, R>());
        const auto kept = carrier();  // should the pool be destroyed meanwhile
        return detail::blocking_call<P>(*kept, request, options);
    }

    /// As `Worker::async_call`, with the errors of `call`. A request has left when it was given to
    /// a worker; before, each type of cancellation leaves nothing of it.
    template <class R, class Token = asio::default_completion_token_t<executor_type>>
    auto async_call(R request, CallOptions<R> options, Token&& token = Token()) {
        static_assert(detail::check_call<P, R>());
        return detail::initiate_call<P>(carrier(), executor_, std::move(request),
                                        std::move(options), std::forward<Token>(token));
    }

    /// The same with the default options.
    template <class R, class Token = asio::default_completion_token_t<executor_type>>
    auto async_call(R request, Token&& token = Token()) {
        return async_call(std::move(request), CallOptions<R>{}, std::forward<Token>(token));
    }

    /// Makes a call of each of `requests`, side by side, and gives the responses one by one:
    ///
    ///     for (auto& result : pool.map(files | std::views::transform(to_request))) show(result);
    ///
    /// `requests` is any range of one type of request; it is read as the loop goes on, on its
    /// thread. An lvalue must live as long as the result does. The first error is thrown by the
    /// loop, and cancels the other calls, as does the end of the result. See `MapOptions`. Throws
    /// `errc::forked`.
    template <class Range, class R = detail::RequestOf<Range>>
    [[nodiscard]] MapResults<P, Range> map(Range&& requests, MapOptions<R> options = {}) {
        static_assert(detail::check_call<P, R>());
        if (options.in_flight == 0) options.in_flight = carrier()->map_window();
        return {carrier(), std::forward<Range>(requests), std::move(options)};
    }

    /// Ends all workers side by side, each as `Worker::stop()` does, and returns when all are gone.
    /// Calls that have a worker, or wait for one, end with `errc::stopped`, and so do later ones,
    /// until `restart()`. To be called as `Worker::stop()`.
    void stop() { carrier()->stop(); }

    /// As `Worker::kill()`, for each worker. Calls that wait for a worker go on to wait.
    void kill() { carrier()->kill(); }

    /// Has each worker replaced as soon as it has no call, and waits for nothing. No call is lost.
    /// After `stop()`, calls are taken again.
    void restart() { carrier()->restart(); }

    /// As `Worker::ref()`.
    void ref() { hold_->take(); }

    /// Takes `ref()` back. This is how a pool starts.
    void unref() { hold_->release(); }

    /// How many workers it has, whether or not they have been started.
    [[nodiscard]] std::size_t size() const { return carrier()->size(); }

    /// What it has done so far. It takes some microseconds; a progress display may ask again and
    /// again.
    [[nodiscard]] PoolStatistics statistics() const { return carrier()->statistics(); }

    /// As `Worker::last_exit()`, of one of the workers.
    [[nodiscard]] std::optional<ExitReport> last_exit() const {
        const auto report = carrier()->last_exit();
        return report == nullptr ? std::nullopt : std::optional{*report};
    }

    /// The executor that it was made with, or that of Tether's background thread.
    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

protected:
    /// Made by Tether.
    BasicPool(executor_type executor, std::shared_ptr<detail::PoolCarrier> carrier)
        : executor_(std::move(executor)),
          hold_(detail::ExecutorHold::make(executor_)),
          carrier_(std::move(carrier)) {}
    // Not moved from: a thread that is inside a call has read it.
    ~BasicPool() { detail::release_pool(carrier_, hold_); }

private:
    friend struct detail::CarrierAccess;

    [[nodiscard]] const std::shared_ptr<detail::PoolCarrier>& carrier() const {
        carrier_->check_not_forked();
        return carrier_;
    }

    executor_type executor_;
    std::shared_ptr<detail::ExecutorHold> hold_;
    std::shared_ptr<detail::PoolCarrier> carrier_;
};

TETHER_NAMESPACE_END
