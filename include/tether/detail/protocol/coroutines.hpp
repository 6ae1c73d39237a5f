// Why: a handler that waits instead of computing gives its thread away meanwhile, so that many
// calls share one. What runs such handlers is known here without Asio: a worker that has none of
// them has no Asio either.
#pragma once

#include <tether/bytes.hpp>
#include <tether/config.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/protocol/responder.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string_view>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a wait tells, once, on any thread and perhaps with locks held: it only has the handler go on
// elsewhere. False: what was waited for will not come.
using Resume = std::function<void(bool)>;

// Ends the wait that has returned it, if that still goes on.
using GiveUp = std::function<void()>;

// A question of such a handler, from its encoding to its answer.
class AsyncQuestion {
public:
    AsyncQuestion() = default;
    AsyncQuestion(const AsyncQuestion&) = delete;
    AsyncQuestion& operator=(const AsyncQuestion&) = delete;
    virtual ~AsyncQuestion() = default;

    // Until it may be sent. Those of one call leave in the order in which they were told.
    virtual GiveUp await_room(Resume resume) = 0;
    virtual void send() = 0;
    virtual GiveUp await_answer(Resume resume) = 0;
    virtual void take_answer(void* response) = 0;
    // That there was none within this time.
    [[noreturn]] virtual void throw_timeout(Duration timeout) const = 0;
};

// What a running call can wait for without a thread. Afterwards the blocking forms block for
// nothing.
class AsyncCallControl : public CallControl {
public:
    AsyncCallControl() = default;
    AsyncCallControl(const AsyncCallControl&) = delete;
    AsyncCallControl& operator=(const AsyncCallControl&) = delete;
    virtual ~AsyncCallControl() = default;

    // Stopped as the call is; that the handler was told is for stop_requested() to say.
    virtual std::stop_token cancellation() = 0;
    // Encodes an item, and waits for room for it; one at a time.
    virtual GiveUp prepare_item(const OutgoingValue& value, Resume resume) = 0;
    virtual void send_prepared_item() = 0;
    // Until there is an item, or none will come.
    virtual GiveUp await_item(Resume resume) = 0;
    virtual std::unique_ptr<AsyncQuestion> prepare_question(const SideType& type,
                                                            const void* question) = 0;
};

// A request, from its handler's start to its answer.
class CoroutineRun {
public:
    CoroutineRun() = default;
    CoroutineRun(const CoroutineRun&) = delete;
    CoroutineRun& operator=(const CoroutineRun&) = delete;
    virtual ~CoroutineRun() = default;

    [[nodiscard]] virtual std::uint16_t index() const noexcept = 0;
    [[nodiscard]] virtual std::string_view payload() const noexcept = 0;
    [[nodiscard]] virtual std::span<Bytes> blobs() const noexcept = 0;
    virtual AsyncCallControl& control() noexcept = 0;
    virtual Responder& responder() noexcept = 0;
    // The handler has ended: it has answered, or has thrown this. Last, and once.
    virtual void end(std::exception_ptr failure) noexcept = 0;
};

// How many of a worker's calls may wait at once; 0 where its handlers block. `wanted`: 0, or
// WorkerOptions::calls_in_work.
[[nodiscard]] constexpr std::uint32_t calls_in_work(bool is_async, std::uint32_t wanted) noexcept {
    if (!is_async) return 0;
    return wanted != 0 ? wanted : 1024;
}

// The handlers of a worker that return awaitables.
class Coroutines {
public:
    // Runs them on this thread, until end(). Several threads may.
    virtual void run() = 0;
    virtual void end() noexcept = 0;
    // False: there is no such request. On any thread; none of the handler runs here.
    virtual bool start(std::shared_ptr<CoroutineRun> call) = 0;

protected:
    ~Coroutines() = default;
};

}  // namespace detail
TETHER_NAMESPACE_END
