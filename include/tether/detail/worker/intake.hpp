// Why: while a handler waits for its parent - for room in a stream, for an item, for an answer -
// requests and what other handlers wait for go on arriving on the same connection. So one of
// the threads that wait reads for all, and puts what it finds where it belongs.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/spin.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/protocol/coroutines.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/wire/stored_message.hpp>
#include <tether/detail/worker/service_control.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a handler waits for that has given its thread away.
struct AsyncWait {
    std::function<bool()> ready;
    std::function<bool()> stopped;
    Resume resume;
};

// What has come for one call since its request was read. Guarded by the intake's lock.
struct Inbox {
    std::uint64_t number = 0;
    Window room{};             // for items of the handler
    ReceiveWindow received{};  // for those of the caller
    std::deque<StoredMessage> items{};
    bool finished = false;  // no more of them will come
    // Those that the parent has not answered, although perhaps no thread waits any more.
    QuestionLimit questions{};
    std::vector<std::shared_ptr<AsyncWait>> waits{};
};

// A question that a handler waits with.
struct AskedQuestion {
    std::uint64_t number = 0;
    std::uint64_t cost = 0;
    std::optional<StoredMessage> answer{};
};

class Intake {
public:
    using Lock = std::unique_lock<std::mutex>;

    struct Request {
        StoredMessage message;
        std::shared_ptr<Inbox> inbox;
    };

    // `is_live`: messages other than requests may come.
    Intake(Channel& channel, const ServiceControl& control, const Spin& spin, bool is_live)
        : channel_(channel), control_(control), is_live_(is_live), spin_(spin) {}
    Intake(const Intake&) = delete;
    Intake& operator=(const Intake&) = delete;

    // Waits for the next request and calls accept(request, oldest) with the lock held: no request
    // below `oldest` will come. Nothing: no more are to be served.
    template <class Accept>
    std::optional<Request> next_request(Accept accept) {
        return next_request(accept, [] { return true; });
    }
    // As long as may_take() says no, it only reads. wake() has it ask again.
    template <class Accept, class MayTake>
    std::optional<Request> next_request(Accept accept, MayTake may_take) {
        Lock lock{mutex_};
        while (!ended_ && !control_.leaving()) {
            const bool takes = may_take();
            if (takes && !requests_.empty()) {
                auto request = std::move(requests_.front());
                requests_.pop_front();
                if (!accept(request, channel_.reader().oldest_open(request.message.number))) break;
                hand_over();
                return request;
            }
            if (reading_ || (!takes && !is_live_)) {
                ++idle_;
                next_reader_.wait(lock);
                --idle_;
            } else {
                read(lock, TimePoint::max(), !takes);
            }
        }
        hand_over();
        return std::nullopt;
    }

    // On the thread of a handler: waits until ready(), with the lock held. False: stopped(), or
    // nothing will come any more, or it is `until`.
    template <class Ready, class Stopped>
    bool wait(Ready ready, Stopped stopped, TimePoint until = TimePoint::max()) {
        Lock lock{mutex_};
        while (!ready()) {
            if (ended_ || stopped() || Clock::now() >= until) {
                hand_over();
                return false;
            }
            if (!reading_) {
                read(lock, until, true);
            } else if (until == TimePoint::max()) {
                changed_.wait(lock);
            } else {
                changed_.wait_until(lock, until);
            }
        }
        hand_over();
        return true;
    }

    // The same without a thread: has `resume` told, at once where it is ready. At the end of the
    // call none may be left.
    GiveUp await_async(const std::shared_ptr<Inbox>& inbox, AsyncWait wait) {
        auto shared = std::make_shared<AsyncWait>(std::move(wait));
        const Lock lock{mutex_};
        if (is_over(*shared)) return [] {};
        inbox->waits.push_back(shared);
        return [this, inbox, weak = std::weak_ptr{shared}] {
            const Lock locked{mutex_};
            if (const auto left = weak.lock(); std::erase(inbox->waits, left) != 0) {
                left->resume(false);
            }
        };
    }

    // Some handlers were told to stop, or a request may be taken. On any thread.
    void wake() {
        const Lock lock{mutex_};
        look_at_all_waits();
        changed_.notify_all();
        if (!is_live_) next_reader_.notify_all();
        if (polling_) wake_.notify();
    }

    // Nothing is served any more.
    void end() {
        const Lock lock{mutex_};
        ended_ = true;
        look_at_all_waits();
        next_reader_.notify_all();
        changed_.notify_all();
        if (polling_) wake_.notify();
    }

    // With the lock that wait() holds while it calls ready().
    [[nodiscard]] Lock lock() { return Lock{mutex_}; }

    // The call has been answered: what still comes for it is dropped.
    void leave(const Inbox& inbox) {
        const Lock lock{mutex_};
        calls_.erase(inbox.number);
        std::erase_if(questions_,
                      [&](const auto& entry) { return entry.second.inbox.get() == &inbox; });
    }

    // With lock() held.
    void add(AskedQuestion& question, const std::shared_ptr<Inbox>& inbox) {
        questions_.emplace(question.number, Question{&question, inbox, question.cost});
        ++inbox->questions.count;
        inbox->questions.cost += question.cost;
    }
    // No thread waits for its answer, which may still come. `left`: the parent has the question.
    void remove(const AskedQuestion& question, bool left) {
        const Lock lock{mutex_};
        const auto found = questions_.find(question.number);
        if (found == questions_.end()) return;
        found->second.asked = nullptr;
        if (!left) close(found);
    }

    [[nodiscard]] Window& notification_room() noexcept { return notification_room_; }

    // Whether the parent wants notifications of this index.
    [[nodiscard]] bool is_subscribed(std::uint16_t index) const noexcept {
        const auto& word = subscribed_[index / 64 % subscribed_.size()];
        return (word.load(std::memory_order_acquire) >> (index % 64) & 1) != 0;
    }

    // Why it has ended, where that is this side's trouble.
    [[nodiscard]] bool is_exhausted() const noexcept { return exhausted_.load(); }
    [[nodiscard]] int receive_error() const noexcept { return receive_error_.load(); }
    // The number of the message that there was no memory for.
    [[nodiscard]] std::uint64_t looked_at() const noexcept { return channel_.reader().looked_at(); }

private:
    struct Question {
        AskedQuestion* asked = nullptr;  // null: no thread waits
        std::shared_ptr<Inbox> inbox{};
        std::uint64_t cost = 0;
    };
    using Questions = std::map<std::uint64_t, Question>;

    // It is over, one way or the other, and has been told so.
    [[nodiscard]] bool is_over(const AsyncWait& wait) const {
        if (wait.ready()) {
            wait.resume(true);
        } else if (ended_ || wait.stopped()) {
            wait.resume(false);
        } else {
            return false;
        }
        return true;
    }
    void look_at_waits(Inbox& inbox) const {
        std::erase_if(inbox.waits, [this](const auto& wait) { return is_over(*wait); });
    }
    void look_at_all_waits() const {
        for (const auto& [number, inbox] : calls_) look_at_waits(*inbox);
    }

    // This thread stops waiting: another one must read, if any wants to.
    void hand_over() noexcept {
        if (reading_) return;
        if (idle_ != 0) {
            next_reader_.notify_one();
        } else {
            changed_.notify_all();
        }
    }

    void read(Lock& lock, TimePoint until, bool in_handler) {
        if (std::exchange(fresh_, false)) {  // what came with the hello
            take_all();
            if (!requests_.empty() || ended_) return;
        }
        if (!receive_unlocked(lock, until, in_handler)) ended_ = true;
        take_all();
        if (ended_) look_at_all_waits();
        if (std::exchange(news_, false) || ended_) changed_.notify_all();
        if (requests_.size() > (in_handler ? 0U : 1U) || ended_) next_reader_.notify_all();
    }

    bool receive_unlocked(Lock& lock, TimePoint until, bool in_handler) {
        struct Reading {  // also where a handler's thread is cancelled meanwhile
            Reading(Intake& the_intake, Lock& the_lock, bool polls)
                : intake(the_intake), lock(the_lock) {
                intake.reading_ = true;
                intake.polling_ = polls;
                lock.unlock();
            }
            Reading(const Reading&) = delete;
            Reading& operator=(const Reading&) = delete;
            ~Reading() {
                lock.lock();
                intake.reading_ = intake.polling_ = false;
            }
            Intake& intake;
            Lock& lock;
        };
        const Reading reading{*this, lock, in_handler};
        return receive(until, in_handler);
    }

    void take_all() {
        try {
            while (auto message = channel_.reader().next()) take(*message);
        } catch (const FramingError&) {  // no parent of Tether's sends this
            ended_ = true;
        } catch (const std::bad_alloc&) {
            exhausted_ = true;
            ended_ = true;
        }
    }

    // False: nothing comes any more.
    bool receive(TimePoint until, bool in_handler) {
        const auto space = channel_.reader().space();
        std::ptrdiff_t size = -1;
        const bool found = spin_([&] {
            size = receive_some(channel_.fd(), space, Blocking::no);
            return size >= 0 || !would_block();
        });
        if (!found && in_handler) {
            PollItem items[] = {readable(channel_.fd()), readable(control_.leaving_fd()),
                                readable(wake_.fd())};
            wait_ready(items, until);
            if (is_ready(items[2])) wake_.drain();
            if (!is_ready(items[0])) return channel_.owns_socket();
            size = receive_some(channel_.fd(), space, Blocking::no);
            if (size < 0 && would_block()) return true;
        } else if (!found) {
            size = receive_some(channel_.fd(), space, Blocking::yes);
            if (size < 0 && would_block()) return look_up();
        }
        if (size < 0 && !is_hang_up(last_error())) receive_error_ = last_error().value();
        if (size <= 0) return false;
        channel_.reader().received(static_cast<std::size_t>(size));
        return true;
    }

    // The socket limits how long a receive waits, or a handler has made it non-blocking. False: it
    // is lost.
    [[nodiscard]] bool look_up() const {
        PollItem items[] = {readable(channel_.fd()), readable(control_.leaving_fd())};
        wait_ready(items, Clock::now() + std::chrono::seconds{1});
        return channel_.owns_socket();
    }

    void take(IncomingMessage& message) {
        switch (message.type) {
            case FrameType::request:
                return take_request(message);
            case FrameType::item:
            case FrameType::finish:
            case FrameType::window:
                return take_for_call(message);
            case FrameType::response:
            case FrameType::error:
                return take_answer(message);
            case FrameType::subscription:
                return subscribe(message.index, message.call() != 0);
            default:
                throw FramingError("a message of a type that a parent does not send");
        }
    }

    void take_request(IncomingMessage& message) {
        auto inbox = std::make_shared<Inbox>();
        inbox->number = message.number;
        // Requests may be complete in another order than they began in. They are taken in the
        // latter, so that no other one that waits is older than the one that is taken.
        const auto later =
            std::find_if(requests_.rbegin(), requests_.rend(),
                         [&](const auto& other) { return other.message.number < inbox->number; });
        requests_.insert(later.base(), {StoredMessage{message}, inbox});
        calls_.emplace(inbox->number, std::move(inbox));
    }

    void take_for_call(IncomingMessage& message) {
        news_ = true;
        if (message.type == FrameType::window && message.call() == 0) {
            open(notification_room_, message);
            return;
        }
        const auto found = calls_.find(message.call());
        if (found == calls_.end()) return;  // its handler has returned
        auto& inbox = *found->second;
        if (message.type == FrameType::window) {
            open(inbox.room, message);
        } else if (message.type == FrameType::finish) {
            inbox.finished = true;
        } else {
            if (!inbox.received.receive(window_cost(message))) throw FramingError("a full window");
            inbox.items.emplace_back(message);
        }
        look_at_waits(inbox);
    }

    static void open(Window& window, const IncomingMessage& message) {
        if (!open_window(window, message)) throw FramingError("a window too wide");
    }

    void take_answer(IncomingMessage& message) {
        const auto found = questions_.find(message.number);
        if (found == questions_.end()) return;  // the handler has returned
        news_ = true;
        if (found->second.asked != nullptr) found->second.asked->answer.emplace(message);
        const auto inbox = found->second.inbox;
        close(found);
        look_at_waits(*inbox);
    }

    void close(Questions::iterator question) noexcept {
        --question->second.inbox->questions.count;
        question->second.inbox->questions.cost -= question->second.cost;
        questions_.erase(question);
    }

    void subscribe(std::uint16_t index, bool wanted) noexcept {
        auto& word = subscribed_[index / 64 % subscribed_.size()];
        const auto bit = std::uint64_t{1} << (index % 64);
        if (wanted) {
            word.fetch_or(bit);
        } else {
            word.fetch_and(~bit);
        }
    }

    Channel& channel_;
    const ServiceControl& control_;
    const bool is_live_;
    Spin spin_;    // of the thread that reads
    WakeUp wake_;  // what a handler polls that reads

    std::mutex mutex_;                     // guards the rest, but what is atomic
    std::condition_variable next_reader_;  // of threads without a request
    std::condition_variable changed_;      // of handlers
    bool reading_ = false;                 // a thread reads, and uses the channel's reader
    bool polling_ = false;                 // it is a handler's
    bool news_ = false;                    // something has come that a handler may wait for
    bool ended_ = false;
    bool fresh_ = true;             // nothing was read yet
    int idle_ = 0;                  // threads that wait for next_reader_
    std::deque<Request> requests_;  // by their numbers
    // Shared: what is read for a call must not depend on which thread has its request.
    std::map<std::uint64_t, std::shared_ptr<Inbox>> calls_;
    Questions questions_;
    Window notification_room_;
    std::array<std::atomic<std::uint64_t>, 1024> subscribed_{};
    std::atomic<bool> exhausted_{false};
    std::atomic<int> receive_error_{0};
};

}  // namespace detail
TETHER_NAMESPACE_END
