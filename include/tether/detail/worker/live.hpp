// Why: what a worker says beside its answers. Items, progress and notifications come in bursts, so
// they leave together; but the first of them leaves at once, and the rest after a moment at most.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/protocol/call_control.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/outgoing_message.hpp>
#include <tether/detail/worker/intake.hpp>
#include <tether/error.hpp>
#include <tether/handler.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a service does for that: a thread of its sends what was held back, and wakes handlers.
class LiveHost {
public:
    virtual void ensure_helper() = 0;
    // With the lock for writing held: have what was queued leave after a moment.
    virtual void send_soon(Channel::Lock& lock) = 0;

protected:
    ~LiveHost() = default;
};

class Live {
public:
    using Lock = Channel::Lock;

    // A call, as long as its handler runs.
    struct Call {
        std::shared_ptr<Inbox> inbox;
        std::uint16_t index = 0;
        std::function<bool()> stopped{};
        bool one_way = false;  // the parent does not know it any more

        std::mutex sending{};                   // one item at a time
        std::optional<OutgoingMessage> item{};  // made for the first
        std::mutex asking{};                    // one question at a time
        std::mutex progressing{};
        std::optional<OutgoingMessage> fresh_progress{};
        std::optional<OutgoingMessage> progress{};  // the newest; with the lock for writing held
        bool has_progress = false;
    };

    Live(Channel& channel, std::mutex& writing, ServiceControl& control, LiveHost& host,
         std::uint64_t max_message_bytes, const Spin& spin, bool is_live)
        : channel_(channel),
          writing_(writing),
          control_(control),
          host_(host),
          max_message_bytes_(max_message_bytes),
          intake_(channel, control, spin, is_live) {}
    Live(const Live&) = delete;
    Live& operator=(const Live&) = delete;

    [[nodiscard]] Intake& intake() noexcept { return intake_; }

    // --- What handlers do

    void progress(Call& call, const OutgoingValue& value) {
        if (call.one_way) return;
        const std::scoped_lock one_at_a_time{call.progressing};
        const auto most = Outbox::copy_limit - OutgoingMessage::prefix;
        if (encode(made(call.fresh_progress), value, most) > Outbox::copy_limit) {
            throw std::length_error("a progress has too many blobs");
        }
        Lock lock{writing_};
        std::swap(call.progress, call.fresh_progress);
        if (!std::exchange(call.has_progress, true)) waiting_.push_back(&call);
        if (channel_.has_output() || Clock::now() < last_progress_ + progress_period) {
            return host_.send_soon(lock);
        }
        send_progress();
        channel_.flush(lock);
    }

    void send_item(Call& call, const OutgoingValue& value) {
        const std::scoped_lock one_at_a_time{call.sending};
        const auto cost = encode(made(call.item), value, max_message_bytes_);
        claim(call.inbox->room, cost, call.stopped);
        send_prepared_item(call);
    }
    // The same for a handler that gives its thread away in between; one at a time.
    GiveUp prepare_item(Call& call, const OutgoingValue& value, Resume resume) {
        const auto cost = encode(made(call.item), value, max_message_bytes_);
        const auto claim_room = [&call, cost] {
            auto& room = call.inbox->room;
            if (!room.is_open()) return false;
            room.use(cost);
            return true;
        };
        if (!is_now([&] { return call.inbox->room.is_open(); })) flush(call.stopped);
        return await_async(call, claim_room, std::move(resume));
    }
    void send_prepared_item(Call& call) {
        call.item->open(FrameType::item, call.index, number(), of_call(call.inbox->number));
        send(*call.item, call.stopped, false);
    }

    GiveUp await_item(Call& call, Resume resume) {
        const auto has_item = [&call] {
            return !call.inbox->items.empty() || call.inbox->finished;
        };
        if (!is_now(has_item)) flush(call.stopped);
        return await_async(call, has_item, std::move(resume));
    }

    bool next_item(Call& call, const IncomingValue& value) {
        auto& inbox = *call.inbox;
        flush(call.stopped);
        await([&] { return !inbox.items.empty() || inbox.finished; }, call.stopped);
        std::optional<StoredMessage> item;
        std::uint64_t more = 0;
        {
            const auto lock = intake_.lock();
            if (inbox.items.empty()) return false;
            item.emplace(std::move(inbox.items.front()));
            inbox.items.pop_front();
            more = inbox.received.take(window_cost(item->view()));
        }
        if (more != 0) {
            OutgoingMessage window;
            append_window(window.payload(), more);
            window.seal();
            window.open(FrameType::window, call.index, number(), of_call(inbox.number));
            send(window, call.stopped, true);
        }
        value.decode(value.result, item->bytes(), item->blobs);
        return true;
    }

    // A question of a call, from its encoding to its answer.
    class Question final : public AsyncQuestion {
    public:
        Question(Live& live, Call& call, const SideType& type, const void* value)
            : live_(live), call_(call), type_(type) {
            if (call.one_way) {
                throw CallError(errc::codec, describe(type) +
                                                 ": a request that gets no answer may ask "
                                                 "nothing");
            }
            asked_.cost = encode(message_, {value, type.encode}, live.max_message_bytes_);
            asked_.number = live.number();
        }
        Question(const Question&) = delete;
        Question& operator=(const Question&) = delete;
        ~Question() override { live_.intake_.remove(asked_, left_); }

        // With the intake's lock held.
        [[nodiscard]] bool claim() {
            if (!call_.inbox->questions.is_open()) return false;
            live_.intake_.add(asked_, call_.inbox);
            return true;
        }
        [[nodiscard]] bool is_answered() const noexcept { return asked_.answer.has_value(); }

        void send() override {
            message_.open(FrameType::question, type_.index, asked_.number,
                          of_call(call_.inbox->number));
            live_.send(message_, call_.stopped, true);
            left_ = true;
        }
        void take_answer(void* response) override {
            live_.take_answer(type_, *asked_.answer, response);
        }
        [[noreturn]] void throw_timeout(Duration timeout) const override {
            throw CallError(errc::timeout, describe(type_) + ": no answer within " +
                                               std::to_string(to_milliseconds(timeout).count()) +
                                               " ms");
        }
        GiveUp await_room(Resume resume) override {
            return live_.await_async(
                call_, [this] { return claim(); }, std::move(resume));
        }
        GiveUp await_answer(Resume resume) override {
            return live_.await_async(
                call_, [this] { return is_answered(); }, std::move(resume));
        }

    private:
        Live& live_;
        Call& call_;
        const SideType& type_;
        OutgoingMessage message_{};
        AskedQuestion asked_{};
        bool left_ = false;
    };

    void ask(Call& call, const SideType& type, const void* question, Duration timeout,
             void* response) {
        Question asked{*this, call, type, question};
        const auto due = deadline_after(Clock::now(), timeout);
        const auto await = [&](auto ready) {
            if (wait(ready, call.stopped, due)) return;
            if (call.stopped() || Clock::now() < due) throw CallCancelled{};
            asked.throw_timeout(timeout);
        };
        {
            // They must leave in the order in which they have claimed room.
            const std::scoped_lock one_at_a_time{call.asking};
            if (!is_now([&] { return asked.claim(); })) await([&] { return asked.claim(); });
            asked.send();
        }
        await([&] { return asked.is_answered(); });
        asked.take_answer(response);
    }

    void notify(std::uint16_t index, const OutgoingValue& value) {
        if (!intake_.is_subscribed(index)) return;
        const auto stopped = [this] { return control_.leaving(); };
        const std::scoped_lock one_at_a_time{notifying_};
        const auto cost = encode(notification_, value, max_message_bytes_);
        try {
            claim(intake_.notification_room(), cost, stopped);
            notification_.open(FrameType::notification, index, number(), of_call(0));
            send(notification_, stopped, false);
        } catch (const CallCancelled&) {  // the worker leaves
        }
    }

    // --- What the service does

    // Before a call is answered, so that its last progress comes before that.
    void end(Call& call) {
        Lock lock{writing_};
        std::erase(waiting_, &call);
        if (call.has_progress) queue_progress(call);
    }

    // The handler has returned. What it said last is of no use without an answer.
    void leave(Call& call) {
        {
            const Lock lock{writing_};
            std::erase(waiting_, &call);
        }
        intake_.leave(*call.inbox);
    }

    // On the helper thread, with the lock for writing held.
    void on_tick() {
        try {
            if (!channel_.has_output()) send_progress();
        } catch (const std::bad_alloc&) {  // with the next, or the answer
        }
    }

private:
    static constexpr Duration progress_period = std::chrono::milliseconds{1};
    // What a handler sends within this time leaves together.
    static constexpr Duration held_for = std::chrono::microseconds{50};
    static constexpr std::size_t most_held = std::size_t{32} * 1024;

    [[nodiscard]] std::uint64_t number() noexcept { return SideNumbers::bit | ++last_number_; }

    static std::string describe(const SideType& type) {
        return "question \"" + std::string{type.name} + "\"";
    }

    static OutgoingMessage& made(std::optional<OutgoingMessage>& message) {
        return message ? *message : message.emplace();
    }

    // Returns what it costs of a window.
    static std::uint64_t encode(OutgoingMessage& message, const OutgoingValue& value,
                                std::uint64_t limit) {
        message.reset();
        value.encode(value.value, message.payload(), message.blobs());
        const auto size = message.content_size();
        const auto cost = window_cost(message);
        if (size > limit || message.blobs().size() > MessageHead::max_blobs) {
            throw std::length_error("it has " + std::to_string(size) + " bytes in " +
                                    std::to_string(message.blobs().size()) +
                                    " blobs and a payload; the limit is " + std::to_string(limit) +
                                    " bytes and " + std::to_string(MessageHead::max_blobs) +
                                    " blobs");
        }
        message.seal();
        return cost;
    }

    // Waits until the window is open, and uses it.
    template <class Stopped>
    void claim(Window& window, std::uint64_t cost, const Stopped& stopped) {
        const auto use = [&] {
            if (!window.is_open()) return false;
            window.use(cost);
            return true;
        };
        if (is_now(use)) return;
        flush(stopped);
        await(use, stopped);
    }

    // The end of the connection may be noticed before the handler has asked whether it should stop;
    // having asked, it owes no answer any more.
    template <class Stopped>
    [[noreturn]] static void throw_cancelled(const Stopped& stopped) {
        static_cast<void>(stopped());
        throw CallCancelled{};
    }

    template <class Ready>
    [[nodiscard]] bool is_now(Ready ready) {
        const auto lock = intake_.lock();
        return ready();
    }

    template <class Ready>
    GiveUp await_async(Call& call, Ready ready, Resume resume) {
        host_.ensure_helper();  // it tells of cancellations
        return intake_.await_async(call.inbox, {ready, call.stopped, std::move(resume)});
    }

    template <class Ready, class Stopped>
    void await(Ready ready, const Stopped& stopped) {
        if (!wait(ready, stopped, TimePoint::max())) throw_cancelled(stopped);
    }

    template <class Ready, class Stopped>
    bool wait(Ready ready, const Stopped& stopped, TimePoint until) {
        host_.ensure_helper();  // it tells of cancellations
        return intake_.wait(ready, stopped, until);
    }

    template <class Stopped>
    void send(OutgoingMessage& message, const Stopped& stopped, bool at_once) {
        control_.end_forked_copy();
        Lock lock{writing_};
        if (message.wire_size() > Outbox::copy_limit) return send_large(message, stopped, lock);
        channel_.queue(message);
        held_ += static_cast<std::size_t>(message.wire_size());
        const auto now = Clock::now();
        if (!at_once && held_ < most_held && now < last_sent_ + held_for && !channel_.blocked()) {
            return host_.send_soon(lock);
        }
        last_sent_ = now;
        send_held(stopped, lock);
    }

    template <class Stopped>
    void flush(const Stopped& stopped) {
        Lock lock{writing_};
        send_held(stopped, lock);
    }

    template <class Stopped>
    void send_held(const Stopped& stopped, Lock& lock) {
        held_ = 0;
        channel_.flush(lock);
        while (channel_.has_output()) wait_for_room(stopped, lock);
        if (channel_.broken()) throw_cancelled(stopped);
    }

    template <class Stopped>
    void send_large(OutgoingMessage& message, const Stopped& stopped, Lock& lock) {
        channel_.send(message, lock);
        try {
            while (!message.done() && !channel_.broken()) wait_for_room(stopped, lock);
        } catch (...) {
            channel_.release(message, lock);
            throw;
        }
        if (!message.done()) channel_.release(message, lock);
        if (channel_.broken()) throw_cancelled(stopped);
    }

    // A parent that reads nothing has no use for an item; but whether the call is cancelled, only a
    // look tells.
    template <class Stopped>
    void wait_for_room(const Stopped& stopped, Lock& lock) {
        constexpr auto look_period = std::chrono::milliseconds{20};
        lock.unlock();
        PollItem items[] = {writable(channel_.fd()), readable(control_.leaving_fd())};
        wait_ready(items, deadline_after(Clock::now(), look_period));
        const bool ends = !is_ready(items[0]) && (stopped() || control_.leaving());
        lock.lock();
        if (ends) throw CallCancelled{};
        channel_.flush(lock);
    }

    // With the lock for writing held.
    void send_progress() {
        for (auto* call : waiting_) queue_progress(*call);
        if (!waiting_.empty()) last_progress_ = Clock::now();
        waiting_.clear();
    }
    void queue_progress(Call& call) {
        call.has_progress = false;
        auto& progress = *call.progress;
        progress.open(FrameType::progress, call.index, number(), of_call(call.inbox->number));
        channel_.queue(progress);
    }

    static void take_answer(const SideType& type, StoredMessage& answer, void* response) {
        if (answer.type == FrameType::response) {
            if (response != nullptr) {
                type.decode_response(response, answer.bytes(), answer.blobs);
            }
            return;
        }
        auto error = ErrorAnswer::decode(answer.bytes());
        const auto prefix = describe(type) + ": ";
        if (error.cause != errc::handler) throw CallError(error.cause, prefix + error.text);
        const auto text = prefix + error.causes.front().message;
        throw RemoteError(text, std::move(error.causes));
    }

    Channel& channel_;
    std::mutex& writing_;
    ServiceControl& control_;
    LiveHost& host_;
    const std::uint64_t max_message_bytes_;
    Intake intake_;
    std::atomic<std::uint64_t> last_number_{0};

    std::mutex notifying_;  // one notification at a time
    OutgoingMessage notification_;

    // With the lock for writing held:
    std::vector<Call*> waiting_;  // with a progress that has not left
    TimePoint last_progress_{};
    TimePoint last_sent_{};
    std::size_t held_ = 0;  // bytes that were queued since
};

// What the handler's own threads may use longer than there is a service.
class LiveOutlet final : public Outlet {
public:
    explicit LiveOutlet(Live& live) noexcept : live_(&live) {}
    void notify(std::uint16_t index, const OutgoingValue& value) override {
        const std::shared_lock lock{mutex_};
        if (live_ != nullptr) live_->notify(index, value);
    }
    // Returns when no thread is inside notify().
    void close() {
        const std::scoped_lock lock{mutex_};
        live_ = nullptr;
    }

private:
    std::shared_mutex mutex_;
    Live* live_;
};

}  // namespace detail
TETHER_NAMESPACE_END
