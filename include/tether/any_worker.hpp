// Tether: one type for code that takes any kind of worker.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/carrier_access.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/live_calls.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// Refers to a worker for protocol `P` of any kind, a `Worker` or a `LoopbackWorker`, so that code
/// which makes calls need be neither a template nor in a header.
///
///     void lint_all(tether::AnyWorker<LintProtocol> worker);  // in a source file of its own
///
///     tether::Worker<LintProtocol> worker;
///     lint_all(worker);
///
///     tether::LoopbackWorker<LintProtocol, FakeLinter> fake;  // in a unit test
///     lint_all(fake);
///
/// A call costs what it costs through the worker itself.
///
/// **Ownership.** It refers to the worker and does not own it: the worker is ended by its own
/// destructor, and later calls fail with `errc::stopped`. Where the worker is moved, this goes on
/// to refer to the same process. The context of the worker's executor must be there as long as
/// calls are made. Copies refer to the same worker, and copying is cheap.
///
/// **Threads.** As thread-safe as the worker is; a copy is independent of the original.
template <class P>
class AnyWorker : public LiveCalls<AnyWorker<P>, P> {
    static_assert(detail::check_protocol<P>());

public:
    /// The protocol that the worker was made for.
    using protocol_type = P;

    /// As `Worker::executor_type`.
    using executor_type = asio::any_io_executor;

    /// Refers to `worker`, which must not have been moved from.
    template <detail::WorkerOf<P> W>
    AnyWorker(W& worker)  // NOLINT(google-explicit-constructor): that is its purpose
        : carrier_(detail::CarrierAccess::of(worker)), executor_(worker.get_executor()) {}

    /// As the `call` of the worker, with its errors and its cancellation.
    template <class R>
    typename R::Response call(const R& request, CallOptions<R> options = {}) const {
        static_assert(detail::check_call<P, R>());
        carrier_->check_not_forked();
        return detail::blocking_call<P>(*carrier_, request, options);
    }

    /// As the `async_call` of the worker: `void(std::exception_ptr, R::Response)`, or
    /// `void(std::exception_ptr)` where the response is `void`.
    template <class R, class Token = asio::default_completion_token_t<executor_type>>
    auto async_call(R request, CallOptions<R> options, Token&& token = Token()) const {
        static_assert(detail::check_call<P, R>());
        carrier_->check_not_forked();
        return detail::initiate_call<P>(carrier_, executor_, std::move(request), std::move(options),
                                        std::forward<Token>(token));
    }

    /// The same with the default options.
    template <class R, class Token = asio::default_completion_token_t<executor_type>>
    auto async_call(R request, Token&& token = Token()) const {
        return async_call(std::move(request), CallOptions<R>{}, std::forward<Token>(token));
    }

    /// That of the worker.
    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

private:
    friend struct detail::CarrierAccess;

    std::shared_ptr<detail::CallCarrier> carrier_;
    executor_type executor_;
};

/// `tether::AnyWorker any{worker};`
template <class W>
AnyWorker(W& worker) -> AnyWorker<typename W::protocol_type>;

TETHER_NAMESPACE_END
