// What a worker may send to a parent with pending calls of every kind, and the parent's user does
// meanwhile.
//
// Holds: nothing crashes or throws; no message is stored beyond the windows, however it comes; no
// allocation is larger than the limit (and a constant) allows; after a violation nothing more is
// delivered.
//
// Input: a script; its steps are the user's or, as live_script.hpp defines, the worker's.

#include <tether/detail/parent/connection_reading.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "fuzz/live_script.hpp"
#include "fuzz/support.hpp"

namespace {

using namespace tether::detail;
using tether_fuzz::ByteSource;
using tether_fuzz::require;

constexpr std::uint64_t limit = std::uint64_t{1} << 20;
const ProtocolId no_protocol{};

class Owner final : public ConnectionOwner {
public:
    void watch_input() override {}
    void watch_room() override {}
    void unwatch_connection() override {}
    void watch_deadline(TimePoint) override {}
    [[nodiscard]] bool on_background_thread() const noexcept override { return true; }
    void let_others_run() override {}
    bool on_given_up(std::uint64_t, tether::errc) override { return true; }
    void on_error_answer(const ErrorAnswer&) override {}
    std::shared_ptr<OutputSource> output() override { return nullptr; }
    std::shared_ptr<Hub> hub() override { return the_hub; }
    void on_drained() override {}
    void on_lost(const std::string&) override {}
    void on_violation(tether::errc, const std::string&) override { violated = true; }

    const std::shared_ptr<Hub> the_hub = std::make_shared<Hub>();
    bool violated = false;
};

class AnyCall final : public Call {
public:
    explicit AnyCall(FeedKind kind) {
        info = {"ask", 0, false, Clock::now(), TimePoint::max(), tether::no_timeout};
        message.seal();
        feed = std::make_shared<CallFeed>(kind);
    }
    Waiter on_settled() noexcept override { return nullptr; }
    [[nodiscard]] bool is_async() const noexcept override { return true; }
};

class Site {
public:
    explicit Site(ByteSource& in) : in_(in) {
        auto pair = make_socket_pair("fuzz");
        worker_ = std::move(pair.second);
        connection_ = std::make_shared<Connection>(owner_, std::move(pair.first), limit,
                                                   Connection::Identity{"x", 7, no_protocol, {}});
        std::string greeting;
        Greeting{{}, no_protocol}.append_to(greeting);
        send(tether_test::encoded({FrameType::welcome, 0, 0, greeting}));
        owner_.the_hub->attach(connection_);
    }
    Site(const Site&) = delete;
    Site& operator=(const Site&) = delete;
    ~Site() {
        for (const auto& call : calls_) check_stored(*call);
        connection_->stop({});
    }

    [[nodiscard]] bool violated() const noexcept { return owner_.violated; }

    void step() {
        const auto what = in_.byte();
        if (what >= 64) return send(script_.step());
        if (calls_.size() < 6 && what < 16) return submit(in_.byte());
        if (calls_.empty()) return;
        auto& call = *calls_[in_.byte() % calls_.size()];
        switch (what % 4) {
            case 0:
                return connection_->cancel(call.number, false);
            case 1:
                return take_item(call);
            case 2:
                return answer_question(call);
            default:
                static_cast<void>(call.feed->take_progress());
        }
    }

private:
    static constexpr std::array types{
        FrameType::item,     FrameType::item,         FrameType::item,   FrameType::progress,
        FrameType::question, FrameType::notification, FrameType::window, FrameType::response};

    void submit(unsigned kind) {
        auto& call = *calls_.emplace_back(std::make_unique<AnyCall>(
            FeedKind{(kind & 1) == 0, (kind & 2) == 0, (kind & 4) == 0, (kind & 8) == 0}));
        connection_->submit(call);
        connection_->on_others_ran();
    }

    void send(std::string_view bytes) {
        while (!bytes.empty() && !owner_.violated) {
            const auto size = ::send(worker_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
            require(size > 0, "the parent reads");
            bytes.remove_prefix(static_cast<std::size_t>(size));
            const tether_fuzz::HeapWatch watch{std::size_t{limit} + (std::size_t{256} << 10)};
            connection_->read_available();
            connection_->on_others_ran();
        }
        std::array<char, 4096> heard{};
        while (::recv(worker_.get(), heard.data(), heard.size(), MSG_DONTWAIT) > 0) {
        }
    }

    static void check_stored(const Call& call) {
        const auto held = call.feed->lock();
        std::uint64_t stored = 0;
        std::uint64_t largest = 0;
        while (call.feed->has_item(held)) {
            const auto cost = window_cost(call.feed->take_item(held).view());
            stored += cost;
            largest = std::max(largest, cost);
        }
        require(stored < Window::size + largest || stored == 0, "items keep to their window");
    }

    void take_item(Call& call) {
        std::uint64_t more = 0;
        {
            const auto held = call.feed->lock();
            if (!call.feed->has_item(held)) return;
            auto item = call.feed->take_item(held);
            more = call.feed->release(held, item);
        }
        require(more <= std::uint64_t{2} * Window::size + limit, "the window keeps to its size");
        OutgoingMessage window;
        append_window(window.payload(), more);
        window.seal();
        if (more != 0) connection_->send_side(call.number, FrameType::window, window);
    }

    void answer_question(Call& call) {
        const auto question = call.feed->take_question(call.number);
        if (!question) return;
        OutgoingMessage answer;
        answer.seal();
        connection_->send_answer(call.number, FrameType::response, question->index,
                                 question->number, answer);
    }

    ByteSource& in_;
    tether_fuzz::LiveScript script_{in_, types};
    Owner owner_;
    Descriptor worker_;
    std::vector<std::unique_ptr<AnyCall>> calls_;
    std::shared_ptr<Connection> connection_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr int most_steps = 500;  // so that a run stays short
    ByteSource in{data, size};
    Site site{in};
    for (int step = 0; step < most_steps && !in.empty() && !site.violated(); ++step) site.step();
    return 0;
}
