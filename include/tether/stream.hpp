// Tether: a call whose items come one by one.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/debug_mode.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/typed_stream.hpp>
#include <tether/error.hpp>
#include <tether/options.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// A call in progress, made by `Worker::stream`: its handler sends items (`R::Item`) before its
/// response, takes items from here (`R::Upload`), or both.
///
///     auto stream = worker.stream(List{"/usr"});
///     for (auto& entry : stream) print(entry);
///     const Summary summary = stream.response();
///
/// **Flow.** Some 256 KiB of items in each direction may be on the way or unread; the side that
/// sends waits then. A slow consumer holds up its own stream and no other call. A single item may
/// be as large as `WorkerOptions::max_message_bytes`.
///
/// **Errors.** The items that came before an error come first, then the error is thrown: by `next`,
/// by the loop, by `response`. They are those of `Worker::call`. A stream goes to another process
/// like a call whose handler had not begun, as long as no item has come or was written; afterwards
/// it ends with the worker's.
///
/// **Time.** `CallOptions::timeout` covers the stream as a whole; without one it has
/// `WorkerOptions::call_timeout`. A stream occupies one handler of its worker until that returns:
/// with `WorkerOptions::concurrency` 1, do not wait for another call while items are left.
///
/// **Lifetime.** The destructor drops the stream: a handler that still runs is told to stop. A
/// stream may outlive its worker, whose end ends it.
///
/// **Threads.** One thread takes items and the response, and one, which may be another, writes. A
/// blocking member reads from the connection itself, as `call` does; on Tether's background thread
/// it throws `errc::would_deadlock`. While neither a thread nor an async operation waits, progress
/// and questions of the handler wait, too.
template <class P, class R>
class Stream {
    using Call = detail::StreamCall<P, R>;

public:
    /// As in a range-for. It ends after the last item, or throws the error of the stream.
    class Iterator;

    /// Made by Tether.
    Stream(std::shared_ptr<detail::CallCarrier> carrier, asio::any_io_executor executor, R request,
           const CallOptions<R>& options)
        : carrier_(std::move(carrier)),
          executor_(std::move(executor)),
          call_(detail::begin_stream<P, R>(carrier_, std::move(request), options)) {
        if (!detail::is_debugging()) gap_ = options.item_timeout.value_or(no_timeout);
    }

    /// A moved-from stream may only be destroyed or assigned to.
    Stream(Stream&&) noexcept = default;
    /// The stream that this was is dropped.
    Stream& operator=(Stream&& other) noexcept {
        if (this != &other) {
            const Stream dropped{std::move(*this)};
            carrier_ = std::move(other.carrier_);
            executor_ = std::move(other.executor_);
            call_ = std::move(other.call_);
            gap_ = other.gap_;
        }
        return *this;
    }
    /// Drops the stream. Waits for nothing.
    ~Stream() {
        if (call_ != nullptr && !carrier_->forked()) call_->stream().cancel();
    }

    // --- Items of the handler

    /// The next item; nothing after the last. Waits for it. Throws the error of the stream.
    template <class Q = R>
    requires(detail::has_items<Q>) std::optional<typename Q::Item> next() {
        const Blocking blocking{*carrier_};
        const bool came = call_->stream().await(detail::StreamWant::item, gap_);
        if (auto item = call_->stream().next_item()) {
            return detail::decode_item<P, R>(*item, call_->worker());
        }
        call_->stream().see_to_last_news();
        call_->check();
        if (!came) call_->give_up_unsent(gap_);
        return std::nullopt;
    }

    /// Completes with the next item, or nothing after the last; with the error of the stream
    /// otherwise.
    ///
    ///     while (auto entry = co_await stream.async_next(asio::use_awaitable)) print(*entry);
    ///
    /// `token` is any Asio completion token with the signature
    /// `void(std::exception_ptr, std::optional<R::Item>)`. Executor, allocator and the end of the
    /// context as for `Worker::async_call`; it keeps `run()` alive. One at a time, and not together
    /// with `next`; otherwise throws `std::logic_error`.
    ///
    /// **Cancellation** through the handler's slot, of any type, ends this wait with
    /// `errc::cancelled`; no item is lost, and the stream goes on.
    template <class Token, class Q = R>
    requires(detail::has_items<Q>) auto async_next(Token&& token) {
        using Item = std::optional<typename Q::Item>;
        return asio::async_initiate<Token, void(std::exception_ptr, Item)>(
            detail::InitiateStreamOp<detail::StreamNext, P, R>{carrier_, executor_, call_, gap_},
            token);
    }

    /// Waits for the first item.
    template <class Q = R>
    requires(detail::has_items<Q>) Iterator begin() { return Iterator{*this}; }
    /// The end of the loop.
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

    // --- Items of the caller

    /// Sends an item to the handler, which takes it by `CallContext::next`. Waits while the handler
    /// is behind. False: it has answered already, or the stream has failed; the item was not sent.
    /// Throws what the codec throws as `errc::codec`, and `errc::message_too_large`.
    template <class Q = R>
    requires(detail::has_upload<Q>) bool write(const typename Q::Upload& item) {
        const Blocking blocking{*carrier_};
        detail::OutgoingMessage message;
        const auto cost = detail::encode_upload<P, R>(item, message, call_->worker(),
                                                      carrier_->call_limits().max_message_bytes);
        return call_->stream().write(message, cost);
    }

    /// The same without blocking: completes once the item is on its way. `token` is any Asio
    /// completion token with the signature `void(std::exception_ptr, bool)`. `item` is encoded at
    /// once. One at a time. Cancellation as for `async_next`: the item is not sent then.
    template <class Token, class Q = R>
    requires(detail::has_upload<Q>) auto async_write(const typename Q::Upload& item,
                                                     Token&& token) {
        return asio::async_initiate<Token, void(std::exception_ptr, bool)>(
            detail::InitiateStreamOp<detail::StreamWrite, P, R>{carrier_, executor_, call_, gap_},
            token, item, carrier_->call_limits().max_message_bytes);
    }

    /// No more items will be written: the handler's `next` returns nothing after those that were.
    /// Waits for nothing, and comes after an `async_write` that is still to complete. Writing
    /// afterwards throws `std::logic_error`. May be called again.
    template <class Q = R>
    requires(detail::has_upload<Q>) void finish() {
        if (!carrier_->forked()) call_->stream().finish();
    }

    // --- The answer

    /// Waits for the response. Items that were not taken are dropped. Once. Throws the error of the
    /// stream.
    typename R::Response response() {
        const Blocking blocking{*carrier_};
        auto& stream = call_->stream();
        if constexpr (detail::has_items<R>) {
            do {
                stream.await(detail::StreamWant::item, no_timeout);
            } while (stream.next_item() || !stream.is_over());
        } else {
            stream.await(detail::StreamWant::end, no_timeout);
        }
        stream.see_to_last_news();
        return call_->take_response_now();
    }

    /// The same without blocking, instead of an `async_next`: `void(std::exception_ptr,
    /// R::Response)`, or `void(std::exception_ptr)` where the response is `void`.
    template <class Token>
    auto async_response(Token&& token) {
        using Signature = typename detail::CallSignature<R>::type;
        return asio::async_initiate<Token, Signature>(
            detail::InitiateStreamOp<detail::StreamResponse, P, R>{carrier_, executor_, call_,
                                                                   no_timeout},
            token);
    }

    /// Ends the stream with `errc::cancelled`, on any thread; the handler is told to stop.
    void cancel() {
        if (!carrier_->forked()) call_->stream().cancel();
    }

    /// Where async operations complete whose handlers have no executor of their own.
    [[nodiscard]] asio::any_io_executor get_executor() const noexcept { return executor_; }

private:
    // Throws where this thread must not block, or where no handler would be left to go on.
    class Blocking {
    public:
        explicit Blocking(detail::CallCarrier& carrier) {
            carrier.check_may_block();
            if constexpr (detail::has_questions<P>) {
                nested_.emplace(*carrier.hub(), R::name, carrier.name(),
                                carrier.room_for_nested_calls());
            }
        }

    private:
        std::optional<detail::NestedCall> nested_;
    };

    std::shared_ptr<detail::CallCarrier> carrier_;
    asio::any_io_executor executor_;
    std::shared_ptr<Call> call_;
    Duration gap_ = no_timeout;
};

template <class P, class R>
class Stream<P, R>::Iterator {
public:
    // NOLINTNEXTLINE(readability-identifier-naming): as the standard library has it
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = typename R::Item;

    explicit Iterator(Stream& stream) : stream_(&stream), item_(stream.next()) {}

    /// Valid until the next step.
    [[nodiscard]] value_type& operator*() const noexcept { return *item_; }
    [[nodiscard]] value_type* operator->() const noexcept { return &*item_; }
    Iterator& operator++() {
        item_ = stream_->next();
        return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t) noexcept {
        return !iterator.item_;
    }

private:
    Stream* stream_;
    mutable std::optional<value_type> item_;
};

TETHER_NAMESPACE_END
