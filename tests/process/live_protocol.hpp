#pragma once

// Calls that are more than a request and an answer, and the handler that serves them: in the
// misbehaving child, and in a LoopbackWorker.

#include <tether/tether.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tether_test {

/// An item; `blob` may be large.
struct Piece {
    std::int64_t number{};
    tether::Bytes blob{};
};
TETHER_DEFINE_MESSAGE(Piece, number, blob)

struct Total {
    std::int64_t items{};
    std::int64_t bytes{};
    bool in_order = true;
};
TETHER_DEFINE_MESSAGE(Total, items, bytes, in_order)

/// Sends `count` items of `size` bytes, numbered from 0, and answers how many. At item number
/// `end_at` it ends: `end` is "throw", "exit", "wait" (until it is told to stop).
struct Produce {
    static constexpr std::string_view name = "produce";
    using Item = Piece;
    using Response = std::int64_t;
    struct Progress {
        std::int64_t at{};
    };
    std::int64_t count{};
    std::int64_t size{};
    std::int64_t end_at = -1;
    std::string end{};
};
TETHER_DEFINE_MESSAGE(Produce, count, size, end_at, end)
TETHER_DEFINE_MESSAGE(Produce::Progress, at)

/// Takes at most `most` items, all if that is negative, and answers what they were.
struct Consume {
    static constexpr std::string_view name = "consume";
    using Upload = Piece;
    using Response = Total;
    std::int64_t most = -1;
};
TETHER_DEFINE_MESSAGE(Consume, most)

/// Sends each item back.
struct Pass {
    static constexpr std::string_view name = "pass";
    using Upload = Piece;
    using Item = Piece;
    using Response = void;
};

/// Reports 0 to `count` - 1, a millisecond apart if it is `slow`.
struct Work {
    static constexpr std::string_view name = "work";
    using Response = std::int64_t;
    struct Progress {
        std::int64_t at{};
        std::string filler{};
    };
    std::int64_t count{};
    bool slow = false;
    std::int64_t filler{};
};
TETHER_DEFINE_MESSAGE(Work, count, slow, filler)
TETHER_DEFINE_MESSAGE(Work::Progress, at, filler)

/// A question of the handler.
struct Guess {
    static constexpr std::string_view name = "guess";
    using Response = std::string;
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Guess, text)

/// Another one, which has no answer.
struct Confirm {
    static constexpr std::string_view name = "confirm";
    using Response = void;
};

/// Asks `text`, `times` times, and answers with what it was told; "confirm" asks the other one.
struct Inquire {
    static constexpr std::string_view name = "inquire";
    using Response = std::vector<std::string>;
    std::string text{};
    std::int64_t times = 1;
    std::int64_t timeout_ms{};
};
TETHER_DEFINE_MESSAGE(Inquire, text, times, timeout_ms)

struct Noticed {
    static constexpr std::string_view name = "noticed";
    std::int64_t number{};
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Noticed, number, text)

/// Says 0 to `count` - 1, from a thread of its own if that is wanted; answers when all is said.
struct Announce {
    static constexpr std::string_view name = "announce";
    using Response = void;
    std::int64_t count{};
    std::int64_t size{};
    bool by_thread = false;
};
TETHER_DEFINE_MESSAGE(Announce, count, size, by_thread)

/// Counted.
struct Nudge {
    static constexpr std::string_view name = "nudge";
    using Response = void;
    std::int64_t number{};
    bool fails = false;
};
TETHER_DEFINE_MESSAGE(Nudge, number, fails)

/// What handlers have done so far in this process.
struct Doings {
    std::int64_t produced{};  ///< items that were sent
    std::int64_t running{};   ///< handlers of streams
    std::int64_t cancelled{};
    std::vector<std::int64_t> nudges{};
};
TETHER_DEFINE_MESSAGE(Doings, produced, running, cancelled, nudges)
struct Look {
    static constexpr std::string_view name = "look";
    using Response = Doings;
};

/// Ends the process.
struct Die {
    static constexpr std::string_view name = "die";
    using Response = void;
};

template <class C>
struct LiveProtocolOf {
    static constexpr std::string_view name = "tether.test.live";
    static constexpr std::uint32_t version = 1;
    using Requests =
        tether::Messages<Produce, Consume, Pass, Work, Inquire, Announce, Nudge, Look, Die>;
    using Callbacks = tether::Messages<Guess, Confirm>;
    using Notifications = tether::Messages<Noticed>;
    using Codec = C;
};
using LiveProtocol = LiveProtocolOf<tether::MessagePackCodec>;

/// Counts the handlers that run.
class Running {
public:
    explicit Running(std::atomic<std::int64_t>& count) : count_(count) { ++count_; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { --count_; }

private:
    std::atomic<std::int64_t>& count_;
};

class LiveHandler final : public tether::Handler<LiveProtocol> {
    std::int64_t handle(const Produce& request, tether::CallContext<Produce>& call) override {
        const Running running{running_};
        try {
            for (std::int64_t i = 0; i < request.count; ++i) {
                if (i == request.end_at) end(request.end, call);
                call.send({i, tether::Bytes(static_cast<std::size_t>(request.size))});
                call.progress({i});
                ++produced_;
            }
        } catch (const tether::CallCancelled&) {
            ++cancelled_;
            throw;
        }
        return request.count;
    }

    static void end(const std::string& how, const tether::CallContext<Produce>& call) {
        if (how == "throw") throw tether::HandlerError("tired", "no more of this");
        if (how == "exit") std::_Exit(3);
        while (how == "wait" && !call.stop_requested()) {
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
    }

    Total handle(const Consume& request, tether::CallContext<Consume>& call) override {
        const Running running{running_};
        Total total;
        while (total.items != request.most) {
            const auto piece = call.next();
            if (!piece) break;
            total.in_order = total.in_order && piece->number == total.items;
            ++total.items;
            total.bytes += static_cast<std::int64_t>(piece->blob.size());
        }
        return total;
    }

    void handle(const Pass&, tether::CallContext<Pass>& call) override {
        const Running running{running_};
        while (const auto piece = call.next()) call.send(*piece);
    }

    std::int64_t handle(const Work& request, tether::CallContext<Work>& call) override {
        for (std::int64_t i = 0; i < request.count && !call.stop_requested(); ++i) {
            call.progress({i, std::string(static_cast<std::size_t>(request.filler), 'x')});
            if (request.slow) std::this_thread::sleep_for(std::chrono::milliseconds{1});
        }
        return request.count;
    }

    std::vector<std::string> handle(const Inquire& request,
                                    tether::CallContext<Inquire>& call) override {
        std::vector<std::string> told;
        tether::AskOptions options;
        if (request.timeout_ms != 0)
            options.timeout = std::chrono::milliseconds{request.timeout_ms};
        for (std::int64_t i = 0; i < request.times; ++i) {
            if (request.text == "confirm") {
                call.ask(Confirm{}, options);
                told.emplace_back("confirmed");
            } else {
                told.push_back(call.ask(Guess{request.text}, options));
            }
        }
        return told;
    }

    void handle(const Announce& request, tether::CallContext<Announce>& call) override {
        const auto say = [&](auto&& notify) {
            for (std::int64_t i = 0; i < request.count; ++i) {
                notify(Noticed{i, std::string(static_cast<std::size_t>(request.size), 'n')});
            }
        };
        if (!request.by_thread) return say([&](const Noticed& noticed) { call.notify(noticed); });
        std::thread{[&] { say([&](const Noticed& noticed) { notify(noticed); }); }}.join();
    }

    void handle(const Nudge& request, tether::CallContext<Nudge>&) override {
        if (request.fails) throw tether::HandlerError("nudge", "this one fails");
        const std::scoped_lock lock{mutex_};
        nudges_.push_back(request.number);
    }

    Doings handle(const Look&, tether::CallContext<Look>&) override {
        const std::scoped_lock lock{mutex_};
        return {produced_, running_, cancelled_, nudges_};
    }

    void handle(const Die&, tether::CallContext<Die>&) override { std::_Exit(4); }

    std::atomic<std::int64_t> produced_{0};
    std::atomic<std::int64_t> running_{0};
    std::atomic<std::int64_t> cancelled_{0};
    std::mutex mutex_;
    std::vector<std::int64_t> nudges_;
};

}  // namespace tether_test
