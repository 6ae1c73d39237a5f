// Why: a call may get more than its answer: items, progress, questions, and room for items of its
// own. They come on whatever thread reads the connection, and are taken by another one at its own
// pace. What has come and was not taken lies here; it is bounded, because the worker may send only
// as much as it was given room for.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/call/exchange.hpp>
#include <tether/detail/call/news.hpp>
#include <tether/detail/wire/stored_message.hpp>
#include <tether/duration.hpp>
#include <tether/options.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

class AsyncCall;
class WaitingCaller;
class CallConnection;

// What a call of this kind may get.
struct FeedKind {
    bool progress = false;
    bool items = false;
    bool upload = false;
    bool questions = false;
};

// Its lock is taken with that of the connection held, never the other way round. Under it nothing
// is called.
class CallFeed : public NewsListener {
public:
    using Lock = std::unique_lock<std::mutex>;

    explicit CallFeed(FeedKind kind) noexcept : kind_(kind) {}
    [[nodiscard]] const FeedKind& kind() const noexcept { return kind_; }
    [[nodiscard]] Lock lock() const { return Lock{mutex_}; }

    // --- The connection, on any thread that reads, with its lock held

    // The call is sent, perhaps not for the first time.
    void begin() {
        const Lock lock{mutex_};
        window_ = {};
        room_ = {};
        large_item_ = large_question_ = false;
        progress_.reset();
        questions_.clear();
        questions_cost_ = 0;
    }

    // False: the worker had no right to send that.
    bool take(IncomingMessage& message) {
        const Lock lock{mutex_};
        if (message.storage != nullptr) large(message.type) = false;
        switch (message.type) {
            case FrameType::item:
                if (!kind_.items || !window_.receive(window_cost(message))) return false;
                items_.emplace_back(message);
                committed_ = true;
                return true;
            case FrameType::progress:
                if (!kind_.progress) return false;
                progress_.emplace(message);
                return true;
            case FrameType::window:
                return kind_.upload && open_window(room_, message);
            case FrameType::question:
                if (!kind_.questions || !questions_left().is_open()) return false;
                questions_.emplace_back(message);
                questions_cost_ += window_cost(questions_.back().view());
                return true;
            default:
                return false;
        }
    }

    // A large message begins, one of a type at a time. False as above: there will be no storage for
    // it.
    bool announce_large(FrameType type) {
        const Lock lock{mutex_};
        const bool allowed = type == FrameType::question
                                 ? kind_.questions && questions_left().is_open()
                                 : type == FrameType::item && kind_.items && window_.is_open();
        return allowed && !std::exchange(large(type), true);
    }
    // It will not become complete.
    void break_off_large(FrameType type) {
        const Lock lock{mutex_};
        large(type) = false;
    }

    // The call is to go to the next process. False: it must not, because something was sent or has
    // come that cannot be repeated. Otherwise nothing more is sent until it has.
    [[nodiscard]] bool park() {
        const Lock lock{mutex_};
        parked_ = parked_ || !committed_;
        return parked_;
    }

    // What has come and must be seen to before anything else: progress and questions. Runs code of
    // the user's, under no lock. `number`: that of the call on this connection.
    virtual void interrupt(CallConnection&, [[maybe_unused]] std::uint64_t number) {}

    // The same of an async call, on the executor of its completion. A question waits until it is
    // known where the answer goes: AsyncCall::on_sent() tells.
    virtual void see_to_news(AsyncCall&) {}
    // It is about to be completed: only what must come before that.
    virtual void see_to_last_news() {}

    // on_news() is to be called when something has come and no thread waits for it.
    [[nodiscard]] virtual bool wants_news() const { return false; }

    // Nothing: the background thread need not read for this quiet call. Otherwise an item must come
    // within that time.
    [[nodiscard]] virtual std::optional<Duration> wanted_reader() const { return std::nullopt; }

    // Its call is settled, with the connection's lock held. Not final: perhaps it goes to the next
    // process.
    virtual void on_settled([[maybe_unused]] bool final) {}

    // Fixed before the call is sent: each progress makes its time begin anew, until
    // `last_deadline`.
    Duration extension = Duration::zero();  // zero: not so
    TimePoint last_deadline = TimePoint::max();

    // When the call is given up for want of items, and how long that was. With the connection's
    // lock held.
    TimePoint item_due = TimePoint::max();
    Duration item_gap = no_timeout;
    TimePoint item_watched = TimePoint::max();  // among the deadlines of the connection

    // Of an async call: one thread at a time is inside the user's functions, and the completion
    // comes after them.
    struct Turn {
        std::mutex mutex{};
        bool posted = false;  // it is about to look
        bool busy = false;
        bool again = false;                       // something has come while it was busy
        bool over = false;                        // the completion has begun
        std::shared_ptr<AsyncCall> completion{};  // waits until it is not busy
    };
    [[nodiscard]] virtual Turn* turn() noexcept { return nullptr; }

    // Registered while they wait, with the connection's lock held.
    std::vector<WaitingCaller*> waiting{};

    // --- The user's side. With lock() held where one is passed.

    [[nodiscard]] bool has_item(const Lock&) const noexcept { return !items_.empty(); }
    [[nodiscard]] bool has_room(const Lock&) const noexcept { return room_.is_open(); }
    [[nodiscard]] bool is_parked(const Lock&) const noexcept { return parked_; }
    void unpark(const Lock&) noexcept { parked_ = false; }
    [[nodiscard]] bool has_interrupts(const Lock&) const noexcept {
        return progress_.has_value() || !questions_.empty();
    }

    StoredMessage take_item(const Lock&) {
        auto item = std::move(items_.front());
        items_.pop_front();
        return item;
    }
    // What the window is to be opened by for an item that was taken; 0: nothing yet.
    [[nodiscard]] std::uint64_t release(const Lock&, StoredMessage& item) noexcept {
        return window_.take(window_cost(item.view()));
    }
    void use_room(const Lock&, std::uint64_t cost) noexcept {
        room_.use(cost);
        committed_ = true;
    }
    std::optional<StoredMessage> take_progress() {
        const Lock lock{mutex_};
        return std::exchange(progress_, std::nullopt);
    }
    // Of the call with that number.
    std::optional<StoredMessage> take_question(std::uint64_t number) {
        const Lock lock{mutex_};
        if (questions_.empty() || questions_.front().view().call() != number) return std::nullopt;
        std::optional<StoredMessage> question{std::move(questions_.front())};
        questions_.pop_front();
        questions_cost_ -= window_cost(question->view());
        return question;
    }

private:
    // How much of them may come.
    [[nodiscard]] QuestionLimit questions_left() const noexcept {
        return {questions_.size(), questions_cost_};
    }
    [[nodiscard]] bool& large(FrameType type) noexcept {
        return type == FrameType::question ? large_question_ : large_item_;
    }

    const FeedKind kind_;
    mutable std::mutex mutex_;  // guards the rest
    std::deque<StoredMessage> items_;
    std::optional<StoredMessage> progress_;  // the newest
    std::deque<StoredMessage> questions_;
    std::uint64_t questions_cost_ = 0;
    ReceiveWindow window_;  // of items that come
    Window room_;           // for those that are sent
    bool committed_ = false;
    bool parked_ = false;
    bool large_item_ = false;      // has begun to come
    bool large_question_ = false;  // the same
};

}  // namespace detail
TETHER_NAMESPACE_END
