// What a parent may send to a service whose handlers stream, report, ask and notify.
//
// Holds: nothing crashes; the service ends when its connection does, whatever came before.
//
// Input: a script, as live_script.hpp defines.

#include <tether/codec.hpp>
#include <tether/detail/worker/guard.hpp>
#include <tether/detail/worker/service_coroutines.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <sys/socket.h>

#include "fuzz/live_script.hpp"
#include "fuzz/support.hpp"

namespace {

using namespace tether::detail;
using tether::CallContext;
using tether_fuzz::ByteSource;
using tether_fuzz::require;

struct Question {
    static constexpr std::string_view name = "question";
    using Response = std::int64_t;
};

struct News {
    static constexpr std::string_view name = "news";
};

/// Does everything once, and passes on what comes.
struct Everything {
    static constexpr std::string_view name = "everything";
    using Upload = std::int64_t;
    using Item = std::int64_t;
    using Progress = std::int64_t;
    using Response = void;
};

struct FuzzProtocol {
    static constexpr std::string_view name = "test.fuzz";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Everything>;
    using Callbacks = tether::Messages<Question>;
    using Notifications = tether::Messages<News>;
    using Codec = tether::JsonCodec;
};

class FuzzHandler final : public tether::Handler<FuzzProtocol> {
    void handle(const Everything&, CallContext<Everything>& call) override {
        call.progress(1);
        call.notify(News{});
        while (const auto item = call.next()) {
            call.send(*item);
            if (*item == 1) call.ask(Question{}, {std::chrono::milliseconds{1}});
        }
    }
};

/// Takes in what a service says, so that it never waits for room. False: it has ended.
bool drain(int fd) {
    std::array<char, 65536> bytes{};
    ssize_t size = 0;
    do {
        size = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    } while (size > 0);
    return size < 0 && would_block();
}

/// False: the service has ended.
bool say(int fd, std::string_view bytes, const std::atomic<bool>& ended) {
    const auto until = Clock::now() + std::chrono::seconds{5};
    while (!bytes.empty()) {
        const auto size = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(size));
            continue;
        }
        if (!would_block() || ended.load()) return false;
        require(Clock::now() < until, "a service reads, or ends");
        PollItem item = readable_or_writable(fd);
        wait_ready({&item, 1}, Clock::now() + std::chrono::milliseconds{1});
        if (can_read(item) && !drain(fd)) return false;
    }
    return true;
}

constexpr std::array types{FrameType::request,      FrameType::item,     FrameType::item,
                           FrameType::item,         FrameType::window,   FrameType::finish,
                           FrameType::subscription, FrameType::response, FrameType::error};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::uint64_t limit = std::uint64_t{128} << 10;
    constexpr int most_steps = 300;  // so that a run stays short
    ByteSource in{data, size};
    Bootstrap bootstrap;
    bootstrap.concurrency = 1 + in.byte() % 2;
    bootstrap.max_message_bytes = limit;

    auto control = make_socket_pair("fuzz");
    auto connection = make_socket_pair("fuzz");
    const int near_end = connection.first.get();
    Guard guard{std::move(control.first), ControlReader{}, Descriptor{}, Descriptor{}, bootstrap};
    const auto handler = handler_type<FuzzHandler>().make();
    Service service{std::make_unique<Channel>(std::move(connection.second), limit), guard, *handler,
                    bootstrap};
    std::atomic<bool> ended{false};
    std::thread serving{[&] {
        static_cast<void>(service.run());
        ended.store(true);
    }};

    tether_fuzz::LiveScript script{in, types};
    bool open = true;
    for (int step = 0; open && step < most_steps && !in.empty(); ++step) {
        open = say(near_end, script.step(), ended);
    }
    ::shutdown(near_end, SHUT_WR);
    while (!ended.load()) {  // a service that ends does not close its connection itself
        drain(near_end);
        PollItem item = readable(near_end);
        wait_ready({&item, 1}, Clock::now() + std::chrono::milliseconds{1});
    }
    serving.join();
    return 0;
}
