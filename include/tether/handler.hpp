// Tether: the worker's side of a protocol.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/handles.hpp>
#include <tether/detail/protocol/protocol_check.hpp>
#include <tether/detail/protocol/request_traits.hpp>
#include <tether/detail/protocol/side_types.hpp>
#include <tether/duration.hpp>
#include <tether/error.hpp>
#include <tether/logging.hpp>
#include <tether/protocol.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

TETHER_NAMESPACE_BEGIN

/// Thrown by `CallContext::send`, `next` and `ask` once the answer of their call is no longer
/// wanted: see `CallContext::stop_requested`. Let it pass: it ends the handler, and the caller has
/// its error already.
class CallCancelled : public std::exception {
public:
    /// For people.
    [[nodiscard]] const char* what() const noexcept override {
        return "the call was cancelled while its handler waited for the parent";
    }
};

/// How `CallContext::ask` asks. Times as in `CallOptions`.
struct AskOptions {
    /// From the question until its answer. The end of the call ends it in any case.
    Duration timeout = no_timeout;
};

namespace detail {

// The entry of T, which is what the name says.
template <class T>
const SideType& find_side_type(std::span<const SideType> types, const char* list) {
    for (const auto& type : types) {
        if (*type.type == typeid(T)) return type;
    }
    throw std::logic_error("\"" + std::string{T::name} + "\" is not in the " + list +
                           " of the handler's protocol");
}

}  // namespace detail

namespace detail {

// What every running call can do, whether or not its handler blocks.
template <class Request>
class BasicCallContext {
public:
    BasicCallContext(const BasicCallContext&) = delete;
    BasicCallContext& operator=(const BasicCallContext&) = delete;

    /// True once the answer is no longer wanted: the caller cancelled, its deadline passed, the
    /// call had its `run_timeout`, the worker is being stopped, or the parent has died. Costs one
    /// atomic load; ask often. A handler that has seen this may return or throw anything: a caller
    /// that still waits, as when another process sends the worker SIGTERM, gets an error.
    [[nodiscard]] bool stop_requested() const noexcept { return control_.stop_requested(); }

    /// The same as a token, for `std::condition_variable_any` and callbacks. The first use in a
    /// worker starts one helper thread, on which stop callbacks run; they must not block. Throws
    /// `std::system_error` where the system has no thread to give.
    [[nodiscard]] std::stop_token stop_token() const { return control_.stop_token(); }

    /// When the time for this call is over, by `std::chrono::steady_clock`: the caller's deadline
    /// or the end of the `run_timeout`, whichever is first; nothing if there is no limit. It is for
    /// planning, such as what to begin at all; `stop_requested()` says when the time *is* over.
    ///
    /// The parent sends how much time is left, and a worker counts that from when it takes the
    /// request up. A request that waited behind others has less time than this says.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept {
        return control_.deadline();
    }

    /// Sends `text` to the parent's `Output`, as a line in order with what this process writes to
    /// stderr; a callback also gets the severity. Newlines make several lines. Survives a crash
    /// right after it, and comes before the answer of this call: see `Output`. Like a write to
    /// stderr, it blocks while the parent reads nothing. Does nothing when the parent is gone.
    /// Throws only `std::bad_alloc`.
    void log(Severity severity, std::string_view text) const { control_.log(severity, text); }

    /// Tells the caller how far it is, where the request has a `Progress`:
    /// `CallOptions::on_progress` gets it. Never blocks: where the caller is slow, only the newest
    /// is kept, and it comes before the answer. Costs less than a microsecond while the one before
    /// has not left. A progress has at most 16 KiB. Throws what the codec throws, and
    /// `std::length_error` above that size.
    template <class Q = Request>
    requires(has_progress<Q>) void progress(const typename Q::Progress& value) const {
        control_.progress({&value, types_.progress});
    }

    /// As `Handler::notify`. Throws `std::logic_error` for a type that is not in the
    /// `Notifications`.
    template <class Notification>
    void notify(const Notification& notification) const {
        const auto& type = find_side_type<Notification>(types_.notifications, "Notifications");
        control_.notify(type.index, {&notification, type.encode});
    }

    /// The number of this call, unique in its process: 1, 2, 3, ... as they are made. Error reports
    /// show it (`CallInFlight::id`).
    [[nodiscard]] std::uint64_t id() const noexcept { return control_.id(); }

protected:
    BasicCallContext(CallControl& control, const SideTypes& types) noexcept
        : control_(control), types_(types) {}
    ~BasicCallContext() = default;

    [[nodiscard]] CallControl& control() const noexcept { return control_; }
    [[nodiscard]] const SideTypes& types() const noexcept { return types_; }

private:
    CallControl& control_;
    const SideTypes& types_;
};

}  // namespace detail

/// One running call, as its handler sees it. Passed to `handle`; valid until `handle` returns.
/// All members may be called from any thread in that time.
///
///     Diagnostics Linter::handle(const Lint& request, tether::CallContext<Lint>& call) {
///         call.log(tether::Severity::info, "linting " + request.file);
///         Diagnostics result{.clean = true};
///         for (const auto& rule : rules_) {
///             if (call.stop_requested()) break;  // the answer is no longer wanted
///             rule.check(request.file, result);
///         }
///         return result;
///     }
template <class Request>
class CallContext : public detail::BasicCallContext<Request> {
    using Base = detail::BasicCallContext<Request>;

public:
    /// Made by Tether.
    explicit CallContext(detail::CallControl& control,
                         const detail::SideTypes& types = detail::no_side_types) noexcept
        : Base(control, types) {}

    /// Sends an item of the stream, where the request has an `Item`. Items come in this order,
    /// before the answer. Waits while the caller is behind: some 256 KiB of items may be on the way
    /// or unread. May be called by several threads of the handler.
    ///
    /// Throws `CallCancelled` once the answer is no longer wanted, what the codec throws, and
    /// `std::length_error` for more than `WorkerOptions::max_message_bytes`.
    template <class Q = Request>
    requires(detail::has_items<Q>) void send(const typename Q::Item& item) const {
        this->control().send_item({&item, this->types().item});
    }

    /// The next item that the caller has written, where the request has an `Upload`; nothing once
    /// it has said that there are no more. Waits for it. A handler may return before it has taken
    /// all; what the caller still writes is dropped then.
    ///
    /// Throws `CallCancelled` once the answer is no longer wanted, and what the codec throws.
    template <class Q = Request>
    requires(detail::has_upload<Q>) [[nodiscard]] std::optional<typename Q::Upload> next() const {
        std::optional<typename Q::Upload> item;
        this->control().next_item({&item, this->types().upload});
        return item;
    }

    /// Asks the parent, and waits for the answer of what it has given to `Worker::provide`.
    /// `question` is of the protocol's `Callbacks`.
    ///
    /// Throws `RemoteError` where the parent's function threw; `CallError` with `errc::timeout`
    /// after `options.timeout`, with `errc::codec` where the parent provides no answer to it;
    /// `CallCancelled` once the answer of the call is no longer wanted; and `std::logic_error` for
    /// a type that is not in the `Callbacks`.
    template <class Question>
    typename Question::Response ask(const Question& question, AskOptions options = {}) const {
        const auto& type = detail::find_side_type<Question>(this->types().questions, "Callbacks");
        if constexpr (std::is_void_v<typename Question::Response>) {
            this->control().ask(type, &question, options.timeout, nullptr);
        } else {
            std::optional<typename Question::Response> response;
            this->control().ask(type, &question, options.timeout, &response);
            return std::move(*response);
        }
    }
};

namespace detail {

// What every handler is, whether or not it blocks.
template <class P>
class HandlerBase {
public:
    /// The protocol whose requests it answers.
    using protocol_type = P;

    /// Not copied, because its state is the worker's.
    HandlerBase() { static_assert(check_protocol<P>()); }
    HandlerBase(const HandlerBase&) = delete;
    HandlerBase& operator=(const HandlerBase&) = delete;
    /// A destructor that throws becomes a line on stderr and an exit code of 1.
    virtual ~HandlerBase() noexcept(false) = default;

    /// Made by Tether: where notifications go.
    void connect(std::shared_ptr<Outlet> outlet) noexcept {
        const std::scoped_lock lock{outlet_mutex_};
        outlet_ = std::move(outlet);
    }

protected:
    /// Tells the parent something at any time, also outside of calls and from threads of the
    /// handler's own: one of the protocol's `Notifications`, for functions that are
    /// subscribed by `Worker::on`. Without one it costs next to nothing and is not sent.
    /// Notifications of one thread come in their order. Waits while the parent is behind by some
    /// 256 KiB.
    ///
    /// Before the handler's constructor has returned, and once the worker leaves, it does nothing.
    /// Throws what the codec throws.
    template <class Notification>
    void notify(const Notification& notification) {
        std::shared_ptr<Outlet> outlet;
        {
            const std::scoped_lock lock{outlet_mutex_};
            outlet = outlet_;
        }
        if (outlet == nullptr) return;
        const auto& type = find_side_type<Notification>(
            side_types<CodecOf<P>>(NotificationsOf<P>{}), "Notifications");
        outlet->notify(type.index, {&notification, type.encode});
    }

private:
    std::mutex outlet_mutex_;
    std::shared_ptr<Outlet> outlet_;
};

}  // namespace detail

/// The base of a worker's handler: one pure virtual `handle` for each request of the protocol.
///
///     class Linter final : public tether::Handler<LintProtocol> {
///         Diagnostics handle(const Lint& request, tether::CallContext<Lint>& call) override;
///     };
///
/// Given to `serve_if_worker`, `serve` or `LoopbackWorker`. A missing override does not compile,
/// and what `handle` returns is the request's `Response`.
///
/// **Lifetime.** The handler is constructed by its default constructor (in a `LoopbackWorker` by a
/// function, if you like), once in each worker process, before the first call; if that throws, the
/// start fails and the caller gets `errc::start_failed` with the exception's text. What it keeps
/// lasts from call to call, until the process ends: `Worker::generation()` tells the parent of a
/// new one. It is destroyed when the worker is stopped or its parent dies, unless the process is
/// killed; it has the time that `StopPolicy::drain` and `terminate`, or
/// `WorkerOptions::orphan_grace`, give.
///
/// **Errors.** Whatever `handle` throws becomes a `RemoteError` of that call, with the exceptions
/// nested in it; throw `HandlerError` to give it a code. Each text is cut after 1 MiB, and a null
/// `what()` is an empty text. The worker goes on, except after `std::bad_alloc`: then it is
/// replaced. `pthread_exit` in a handler is answered with an error, too, and ends the worker with
/// whatever else it was doing. A `what()` that throws ends the worker, because it is `noexcept`.
///
/// **Threads.** With `WorkerOptions::concurrency` 1 (the default) everything runs on the thread
/// that called `serve_if_worker`, the main one; with more, `handle` is called from that many
/// threads at once. In a `LoopbackWorker` it never runs on the caller's thread.
template <class P>
class Handler : public detail::HandlerBase<P>, public detail::HandlesAll<typename P::Requests> {};

TETHER_NAMESPACE_END
