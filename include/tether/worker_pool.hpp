// Tether: many worker processes behind one face.
#pragma once

#include <tether/basic_pool.hpp>
#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/pool/make_pool.hpp>
#include <tether/detail/protocol/fingerprint.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/pool_options.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>

#include <concepts>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// Several worker processes that answer the requests of protocol `P`, with the face of one
/// `Worker`.
///
///     tether::WorkerPool<LintProtocol> pool{{.size = 4, .worker = {.name = "lint"}}};
///     Diagnostics one = pool.call(Lint{"a.cpp"});
///     for (auto& result : pool.map(requests)) show(result);
///     std::cout << to_string(pool.statistics());
///
/// **Lifetime.** Workers are started when calls need them, and not before: a pool that is not used
/// costs nothing. Each is a `Worker` as any other: it ends with the pool, and with the parent,
/// however that ends; it holds nobody up; one that crashed is started again by the next call that
/// comes to it, and its calls alone are concerned. The destructor ends all of them side by side.
///
/// **Placement.** A call goes to the worker with the least to do, as long as there is one with a
/// free handler; otherwise it waits in the pool, not in a worker, so that it is held up by no call
/// that hangs. Of calls that wait, the first comes first, and those of higher priority go before;
/// see `PoolOptions::priority_step`. Calls with the same `CallOptions::affinity` go to the same
/// worker, and wait for it while it is busy: up to 100 ms, or until eight calls for each of its
/// handlers wait, then others help it.
///
/// **Notifications** of all workers reach a subscription, those of one worker in their order.
/// `notify` reaches one of the workers.
///
/// **Threads, daemons, forked copies, executors.** As with `Worker`.
template <class P, class Executor = asio::any_io_executor>
class WorkerPool : public BasicPool<P, Executor> {
    static_assert(detail::check_protocol<P>());

public:
    /// The same with another type of executor; see `Worker`.
    template <class Other>
    struct rebind_executor {  // NOLINT(readability-identifier-naming): as Asio has it
        using other = WorkerPool<P, Other>;  ///< the type NOLINT(readability-identifier-naming)
    };

    /// Starts nothing yet. Completion handlers without an executor of their own run on Tether's
    /// background thread; what `Worker`'s constructor says of that counts here, too. Throws
    /// `std::invalid_argument` for options that make no sense, and what `Worker`'s constructor
    /// throws.
    explicit WorkerPool(
        PoolOptions options = {}) requires std::convertible_to<asio::any_io_executor, Executor>
        : WorkerPool(Executor(detail::background_executor()), std::move(options)) {}

    /// The same with the caller's executor, as with a `Worker`.
    explicit WorkerPool(Executor executor, PoolOptions options = {})
        : BasicPool<P, Executor>(
              std::move(executor),
              detail::make_pool(std::move(options), P::name, P::version, detail::fingerprint<P>(),
                                detail::is_live_protocol<P>)) {}

    /// The same with the executor of a context, such as an `asio::io_context`.
    template <class Context>
    requires std::derived_from<Context, asio::execution_context>
    explicit WorkerPool(Context& context, PoolOptions options = {})
        : WorkerPool(Executor{context.get_executor()}, std::move(options)) {}
};

TETHER_NAMESPACE_END
