// Why: any process on the machine may be able to reach the listener. Unauthenticated peers, silent
// ones too, must neither get in nor delay the parent.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/transport/channel.hpp>
#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/greeting.hpp>

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Waits for the connection that proves to be the parent's.
class Admission {
public:
    // `leaving_fd` becomes readable when the worker shall leave.
    Admission(const Bootstrap& bootstrap, Descriptor connection, PeerIdentity parent,
              int leaving_fd)
        : bootstrap_(bootstrap),
          connection_(std::move(connection)),
          parent_(parent),
          leaving_fd_(leaving_fd) {}

    // The authenticated connection, with whatever was sent behind the hello in its reader; null
    // when the worker shall leave. No other connection is admitted after it. Throws a
    // std::system_error if the system refuses to wait or to accept.
    std::unique_ptr<Channel> admit() {
        if (!bootstrap_.listening) candidates_.push_back(candidate(std::move(connection_)));
        for (;;) {
            if (auto parent = find_parent()) {
                connection_.reset();
                candidates_.clear();
                parent->reader().set_max_message_bytes(bootstrap_.max_message_bytes);
                return parent;
            }
            if (candidates_.empty() && !bootstrap_.listening) return nullptr;
            if (!wait()) return nullptr;
        }
    }

    // What the parent said it wants, once admitted.
    [[nodiscard]] const ProtocolId& wanted() const noexcept { return wanted_; }

private:
    static constexpr std::size_t max_hello_bytes = 4096;
    static constexpr std::size_t max_candidates = 32;
    static constexpr int max_refused = 10;

    enum class Verdict { waiting, admitted, rejected };

    // Examines all candidates, and drops those that failed.
    std::unique_ptr<Channel> find_parent() {
        for (auto& one : candidates_) {
            const auto verdict = examine(*one);
            if (verdict == Verdict::admitted) return std::move(one);
            if (verdict == Verdict::rejected) one.reset();
        }
        std::erase(candidates_, nullptr);
        return nullptr;
    }

    static std::unique_ptr<Channel> candidate(Descriptor socket) {
        return std::make_unique<Channel>(std::move(socket), max_hello_bytes);
    }

    Verdict examine(Channel& channel) {
        auto& reader = channel.reader();
        const auto space = reader.space();
        const auto size = receive_some(channel.fd(), space, Blocking::no);
        if (size < 0) return would_block() ? Verdict::waiting : Verdict::rejected;
        if (size == 0) return Verdict::rejected;
        reader.received(static_cast<std::size_t>(size));
        try {
            const auto message = reader.next();
            if (!message) return Verdict::waiting;
            if (message->type != FrameType::hello) return Verdict::rejected;
            const auto greeting = Greeting::decode(message->payload);
            if (!greeting) return Verdict::rejected;
            wanted_ = greeting->protocol;
            return equal_secrets(view(greeting->secret), view(bootstrap_.parent_secret))
                       ? Verdict::admitted
                       : Verdict::rejected;
        } catch (const FramingError&) {
            return Verdict::rejected;
        }
    }

    // False: the worker shall leave.
    bool wait() {
        std::vector<PollItem> items{readable(leaving_fd_), readable(connection_.get())};
        for (const auto& one : candidates_) items.push_back(readable(one->fd()));
        if (wait_ready(items, TimePoint::max()) < 0) throw_last_error("wait for the connection");
        if (is_ready(items[0])) return false;
        if (is_ready(items[1])) accept_one();
        return true;
    }

    // Where the kernel does not tell, the secret decides.
    [[nodiscard]] bool may_be_parent(const PeerIdentity& peer) const noexcept {
        return peer == parent_ || peer == PeerIdentity{} || parent_ == PeerIdentity{};
    }

    void accept_one() {
        NotAccepted why{};
        const int fd = accept_connection(connection_.get(), why);
        if (fd == -1) {
            if (why == NotAccepted::gone) return;
            if (why == NotAccepted::refused && ++refused_ == max_refused) {
                throw_last_error("accept the connection");
            }
            nap(std::chrono::milliseconds{10});
            return;
        }
        refused_ = 0;
        Descriptor socket = take_inherited(fd);
        if (bootstrap_.verify_peer && !may_be_parent(peer_identity(socket.get()))) return;
        tune_connection(socket.get(), !bootstrap_.verify_peer);
        if (candidates_.size() == max_candidates) candidates_.erase(candidates_.begin());
        candidates_.push_back(candidate(std::move(socket)));
    }

    const Bootstrap& bootstrap_;
    Descriptor connection_;
    PeerIdentity parent_;
    int leaving_fd_;
    ProtocolId wanted_;
    std::vector<std::unique_ptr<Channel>> candidates_;
    int refused_ = 0;  // accepts in a row
};

}  // namespace detail
TETHER_NAMESPACE_END
