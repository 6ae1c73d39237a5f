// Why: an event loop waits for the end of a worker's process in the way it waits for the answer to
// a call: completed once, on an executor, cancellable, and dropped with the user's context. So it
// is an async call that no worker is sent.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/call/async_call.hpp>
#include <tether/detail/call/carrier.hpp>
#include <tether/detail/call/typed_call.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

class EndWait : public AsyncCall {
public:
    // Whether it also ends the process.
    [[nodiscard]] bool stops() const noexcept { return stops_; }

    // Before it succeeds `report` is set, where there was a process.
    void refuse(errc cause, const std::string& text) noexcept {
        fail({cause, std::string{info.request} + " of worker \"" + worker() + "\": " + text});
    }

    std::shared_ptr<const ExitReport> report{};

protected:
    EndWait(std::shared_ptr<CallCarrier> carrier, CompletionPointer completion, bool stops)
        : AsyncCall(std::move(carrier), std::move(completion)), stops_(stops) {
        info.request = stops ? "async_stop" : "async_wait";
    }

private:
    const bool stops_;
};

// `Result` is what `Worker::async_stop` or `async_wait` completes with.
template <class Result, class Handler>
class TypedEndWait final : public HandledCall<EndWait, Result, Handler> {
    using Base = HandledCall<EndWait, Result, Handler>;
    static constexpr bool is_stop = std::is_same_v<Result, std::optional<ExitStatus>>;

public:
    TypedEndWait(std::shared_ptr<CallCarrier> carrier, const asio::any_io_executor& executor,
                 Handler handler)
        : Base(std::move(carrier),
               HandlerCompletion<Handler>::make(std::move(handler), executor, is_stop), is_stop) {}

    using Base::connect_slot;

private:
    Result take_result() override {
        if constexpr (is_stop) {
            return this->report == nullptr ? std::nullopt : std::optional{this->report->status};
        } else {
            return *this->report;
        }
    }
};

// A named class rather than a lambda, so that tokens that wrap others find the executor.
template <class Result>
class InitiateEndWait {
public:
    using executor_type = asio::any_io_executor;

    InitiateEndWait(std::shared_ptr<ProcessCarrier> carrier, executor_type executor)
        : carrier_(std::move(carrier)), executor_(std::move(executor)) {}

    [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

    template <class Handler>
    void operator()(Handler&& handler) const {
        using Op = TypedEndWait<Result, std::decay_t<Handler>>;
        auto op = std::make_shared<Op>(carrier_, executor_, std::forward<Handler>(handler));
        if (!op->enlist()) return;
        op->connect_slot();
        carrier_->await_end(std::move(op));
    }

private:
    std::shared_ptr<ProcessCarrier> carrier_;
    executor_type executor_;
};

template <class Result, class Token>
auto initiate_end_wait(std::shared_ptr<ProcessCarrier> carrier,
                       const asio::any_io_executor& executor, Token&& token) {
    using Signature = void(std::exception_ptr, Result);
    static_assert(is_completion_token<Token, Signature>,
                  "the argument must be a completion token, such as asio::use_future, or a "
                  "function that takes (std::exception_ptr, std::optional<ExitStatus>) for "
                  "async_stop, (std::exception_ptr, ExitReport) for async_wait");
    if constexpr (is_completion_token<Token, Signature>) {
        return asio::async_initiate<Token, Signature>(
            InitiateEndWait<Result>{std::move(carrier), executor}, token);
    }
}

}  // namespace detail
TETHER_NAMESPACE_END
