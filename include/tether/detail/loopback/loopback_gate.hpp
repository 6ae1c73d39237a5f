// Why: a process has a ledger of the requests that have begun, and what it does and what its parent
// does are ordered by the kernel. A LoopbackWorker must see to both itself, so its handler stands
// behind a gate.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/coroutines.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/protocol/responder.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What the session knows. Thread-safe.
class GateKeeper {
public:
    // This thread handles calls of the worker's, and does so no more.
    virtual void enter() noexcept = 0;
    virtual void leave_thread() noexcept = 0;
    // The handler of this call has returned.
    virtual void on_handled(std::uint64_t number) noexcept = 0;
    // What a thread did before it sent something happens before what the receiver does. The kernel
    // sees to that, but neither the language nor the thread sanitizer knows.
    virtual void put_in_order() noexcept = 0;
    // False: its handler must not begin. The caller has its error already.
    virtual bool begin_request(std::uint64_t number) = 0;

protected:
    ~GateKeeper() = default;
};

class OrderedAnswer final : public Responder {
public:
    OrderedAnswer(GateKeeper& keeper, Responder& responder) noexcept
        : keeper_(keeper), responder_(responder) {}
    std::string& payload() override { return responder_.payload(); }
    std::vector<const Bytes*>& blobs() override { return responder_.blobs(); }
    void send() override {
        keeper_.put_in_order();
        responder_.send();
    }

private:
    GateKeeper& keeper_;
    Responder& responder_;
};

// A request of a handler that waits without a thread.
class GatedRun final : public CoroutineRun {
public:
    GatedRun(GateKeeper& keeper, std::shared_ptr<CoroutineRun> run)
        : keeper_(keeper), run_(std::move(run)), answer_(keeper, run_->responder()) {}
    [[nodiscard]] std::uint16_t index() const noexcept override { return run_->index(); }
    [[nodiscard]] std::string_view payload() const noexcept override { return run_->payload(); }
    [[nodiscard]] std::span<Bytes> blobs() const noexcept override { return run_->blobs(); }
    AsyncCallControl& control() noexcept override { return run_->control(); }
    Responder& responder() noexcept override { return answer_; }
    void end(std::exception_ptr failure) noexcept override {
        keeper_.put_in_order();
        run_->end(std::move(failure));
    }

private:
    GateKeeper& keeper_;
    const std::shared_ptr<CoroutineRun> run_;
    OrderedAnswer answer_;
};

class GatedCoroutines final : public Coroutines {
public:
    // `handlers`: null where there are none.
    GatedCoroutines(GateKeeper& keeper, Coroutines* handlers) noexcept
        : keeper_(keeper), handlers_(handlers) {}
    [[nodiscard]] Coroutines* self() noexcept { return handlers_ != nullptr ? this : nullptr; }
    void run() override {
        keeper_.enter();
        handlers_->run();
        keeper_.leave_thread();
    }
    void end() noexcept override { handlers_->end(); }
    bool start(std::shared_ptr<CoroutineRun> call) override {
        keeper_.put_in_order();
        if (!keeper_.begin_request(call->control().id())) {
            call->end(std::make_exception_ptr(CodecFailure("withdrawn")));
            return true;
        }
        return handlers_->start(std::make_shared<GatedRun>(keeper_, std::move(call)));
    }

private:
    GateKeeper& keeper_;
    Coroutines* const handlers_;
};

class LoopbackGate final : public AnyHandler {
public:
    LoopbackGate(GateKeeper& keeper, AnyHandler& handler) noexcept
        : keeper_(keeper), handler_(handler), coroutines_(keeper, handler.coroutines()) {}
    bool dispatch(std::size_t index, std::string_view payload, std::span<Bytes> blobs,
                  CallControl& control, Responder& responder) override {
        const Handling handling{keeper_, control.id()};
        if (!keeper_.begin_request(control.id())) throw CodecFailure("withdrawn");
        OrderedAnswer answer{keeper_, responder};
        return handler_.dispatch(index, payload, blobs, control, answer);
    }
    [[nodiscard]] bool is_live() const noexcept override { return handler_.is_live(); }
    void connect(std::shared_ptr<Outlet> outlet) noexcept override {
        handler_.connect(std::move(outlet));
    }
    [[nodiscard]] Coroutines* coroutines() noexcept override { return coroutines_.self(); }

private:
    // A call is handled on this thread.
    class Handling {
    public:
        Handling(GateKeeper& keeper, std::uint64_t number) noexcept
            : keeper_(keeper), number_(number) {
            keeper_.enter();
            keeper_.put_in_order();
        }
        Handling(const Handling&) = delete;
        Handling& operator=(const Handling&) = delete;
        ~Handling() {
            keeper_.leave_thread();
            keeper_.put_in_order();
            keeper_.on_handled(number_);
        }

    private:
        GateKeeper& keeper_;
        const std::uint64_t number_;
    };

    GateKeeper& keeper_;
    AnyHandler& handler_;
    GatedCoroutines coroutines_;
};

}  // namespace detail
TETHER_NAMESPACE_END
