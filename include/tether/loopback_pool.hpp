// Tether: the face of a pool without processes behind it.
#pragma once

#include <tether/basic_pool.hpp>
#include <tether/config.hpp>
#include <tether/detail/background/executor.hpp>
#include <tether/detail/pool/make_pool.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/pool_options.hpp>
#include <tether/protocol.hpp>

#include <asio/any_io_executor.hpp>

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// A pool of handlers inside this process, for unit tests of code that uses a `WorkerPool`, and as
/// a fallback where processes are forbidden: to a `WorkerPool` what a `LoopbackWorker` is to a
/// `Worker`. Each of its workers has a handler of its own, on threads of its own.
///
///     tether::LoopbackPool<LintProtocol, Linter> pool{{.size = 2}};
///     Diagnostics now = pool.call(Lint{"a.cpp"});
///
/// Queue, placement, recycling and statistics are those of a `WorkerPool`.
template <class P, class H = void>
class LoopbackPool : public BasicPool<P, asio::any_io_executor> {
    using Base = BasicPool<P, asio::any_io_executor>;

public:
    /// Handlers are default-constructed, when calls need them.
    explicit LoopbackPool(PoolOptions options = {}) requires(!std::is_void_v<H>)
        : Base(detail::started_background_executor(),
               detail::make_loopback_pool(std::move(options), detail::handler_type<H>().make)) {
        static_assert(detail::check_handler<H>());
        static_assert(std::is_same_v<typename H::protocol_type, P>,
                      "the handler serves another protocol");
    }

    /// The same with handlers that `factory()` makes, as with a `LoopbackWorker`; it may be called
    /// by several threads at once.
    template <class Factory>
    requires std::invocable<Factory&>
    explicit LoopbackPool(Factory factory, PoolOptions options = {})
        : Base(detail::started_background_executor(),
               detail::make_loopback_pool(std::move(options), make_by(std::move(factory)))) {
        static_assert(std::is_void_v<H>,
                      "a function makes the handlers of a LoopbackPool<Protocol>, without a second "
                      "argument");
    }

private:
    template <class Factory>
    static detail::MakeHandler make_by(Factory factory) {
        static_assert(detail::check_factory<P, Factory>());
        // It may not be copyable.
        return [kept = std::make_shared<Factory>(std::move(factory))] {
            return detail::box_handler_of(*kept);
        };
    }
};

TETHER_NAMESPACE_END
