// Why: the connection in all its forms. The parent binds, listens and connects at once, so there is
// no polling, no start race, and nothing to announce to the child but a descriptor.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/buffers.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/poll.hpp>
#include <tether/detail/os/posix/socket_directory.hpp>
#include <tether/options.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

#if defined(SOCK_CLOEXEC)
inline constexpr int socket_flags = SOCK_CLOEXEC;
#else
inline constexpr int socket_flags = 0;
#endif
#if defined(MSG_NOSIGNAL)
inline constexpr int send_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
#else
inline constexpr int send_flags = MSG_DONTWAIT;
#endif

inline Descriptor prepare_socket(int fd, const std::string& step) {
    auto socket = Descriptor::adopt(fd, step);
    set_close_on_exec(socket.get());
#if defined(SO_NOSIGPIPE)
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    return socket;
}

inline bool is_socket(int fd) noexcept {
    struct ::stat status {};
    // Where fstat() is refused, the first receive tells.
    if (::fstat(fd, &status) != 0) return errno != EBADF;
    return S_ISSOCK(status.st_mode);
}

inline Descriptor make_socket(int family, const std::string& step) {
    return prepare_socket(::socket(family, SOCK_STREAM | socket_flags, 0), step);
}

inline DescriptorPair make_socket_pair(const std::string& step) {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | socket_flags, 0, fds) != 0) throw_last_error(step);
    Descriptor second{fds[1]};
    Descriptor first = prepare_socket(fds[0], step);
    return {std::move(first), prepare_socket(second.release(), step)};
}

// A larger send buffer saves wake-ups of large messages; the system may grant less.
inline void tune_connection(int fd, bool is_tcp) noexcept {
    const int size = 1 << 20;
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (!is_tcp) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Never blocks. -1 with EAGAIN: not now; any other -1: the connection is broken.
inline ::ssize_t send_some(int fd, std::span<const ConstBuffer> buffers) noexcept {
    std::array<::iovec, 16> parts;
    std::size_t count = 0;
    for (; count < buffers.size() && count < parts.size(); ++count) {
        parts[count] = {const_cast<char*>(buffers[count].data), buffers[count].size};
    }
    ::msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    return retry([&] { return ::sendmsg(fd, &message, send_flags); });
}

// Copies what a socket has to read without consuming it. Returns how much.
inline std::size_t peek(int fd, char* data, std::size_t size) noexcept {
    const auto got = retry([&] { return ::recv(fd, data, size, MSG_PEEK | MSG_DONTWAIT); });
    return got > 0 ? static_cast<std::size_t>(got) : 0;
}

// From now on a blocking receive waits for that long, at least a tick or two of the kernel (some
// milliseconds), then fails with EAGAIN. False: it might block for ever.
inline bool limit_waiting_receives(int fd,
                                   std::chrono::milliseconds limit = std::chrono::milliseconds{
                                       1}) noexcept {
    const auto seconds = limit.count() / 1000;
    const auto rest = limit.count() % 1000 * 1000;
    const ::timeval longest{static_cast<std::time_t>(seconds), static_cast<::suseconds_t>(rest)};
    return ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest) == 0 &&
           set_blocking(fd);
}

enum class Blocking : bool { no, yes };

// 0: end of file; negative: see would_block() and was_interrupted().
inline ::ssize_t receive_once(int fd, std::span<const MutableBuffer> buffers,
                              Blocking blocking) noexcept {
    const int flags = blocking == Blocking::yes ? 0 : MSG_DONTWAIT;
    std::array<::iovec, 2> parts;
    std::size_t count = 0;
    for (const auto& buffer : buffers) {
        if (buffer.size != 0) parts[count++] = {buffer.data, buffer.size};
    }
    if (count == 1) {
        return ::recv(fd, parts[0].iov_base, parts[0].iov_len, flags);
    }
    ::msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    return ::recvmsg(fd, &message, flags);
}

// The same, retried when a signal interrupts it.
inline ::ssize_t receive_some(int fd, std::span<const MutableBuffer> buffers,
                              Blocking blocking) noexcept {
    return retry([&] { return receive_once(fd, buffers, blocking); });
}

// Whether the other side is gone; other errors say something about this side only.
inline bool is_hang_up(const std::error_code& error) noexcept {
    return error == std::errc::broken_pipe || error == std::errc::connection_reset ||
           error == std::errc::connection_aborted || error == std::errc::timed_out;
}

// The last call on this thread found nothing to read, or no room to write.
inline bool would_block() noexcept { return errno == EAGAIN || errno == EWOULDBLOCK; }
// A signal came first.
inline bool was_interrupted() noexcept { return errno == EINTR; }

// Wakes a thread that blocks in a receive; it finds the end of the stream.
inline void end_receiving(int fd) noexcept { ::shutdown(fd, SHUT_RD); }
// Both directions, for both sides.
inline void end_connection(int fd) noexcept { ::shutdown(fd, SHUT_RDWR); }

enum class NotAccepted {
    gone,       // the client has left
    exhausted,  // no descriptors, for example: the next may fare better
    refused,
};
// A new connection, or -1 and why there is none.
inline int accept_connection(int listener, NotAccepted& why) noexcept {
    const int fd = retry([&] { return ::accept(listener, nullptr, nullptr); });
    why = would_block() || errno == ECONNABORTED ? NotAccepted::gone
          : errno == EMFILE || errno == ENFILE   ? NotAccepted::exhausted
                                                 : NotAccepted::refused;
    return fd;
}

// The process that made the other end of a Unix socket. Empty for other sockets.
struct PeerIdentity {
    long long pid = -1;
    long long uid = -1;
    long long gid = -1;
    friend bool operator==(const PeerIdentity&, const PeerIdentity&) = default;
};

inline PeerIdentity peer_identity(int fd) noexcept {
#if defined(SO_PEERCRED) && defined(__linux__)
    ::ucred credentials{};
    ::socklen_t size = sizeof credentials;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return {};
    return {credentials.pid, credentials.uid, credentials.gid};
#else
    ::uid_t uid = 0;
    ::gid_t gid = 0;
    if (::getpeereid(fd, &uid, &gid) != 0) return {};
    return {-1, static_cast<long long>(uid), static_cast<long long>(gid)};
#endif
}

// Whether a process of the same user made the other end.
inline bool is_of_this_user(int fd) noexcept {
    return peer_identity(fd).uid == static_cast<long long>(::geteuid());
}

// The two ends of a connection to be: `parent` is connected already, `child` is handed over.
struct Endpoint {
    Descriptor parent{};
    Descriptor child{};
    Transport transport{};
    bool listening = false;    // child must accept
    bool verify_peer = false;  // the kernel identifies the peers of child
};

template <class Address>
::sockaddr* generic(Address& address) noexcept {
    return reinterpret_cast<::sockaddr*>(&address);
}

// Unauthenticated peers may connect first; they must not fill the queue.
inline constexpr int listen_backlog = 128;

// Connects without waiting for an accept.
inline Descriptor connect_to(::sockaddr* address, ::socklen_t size, const std::string& step) {
    auto socket = make_socket(address->sa_family, step);
    set_non_blocking(socket.get(), step);
    if (retry([&] { return ::connect(socket.get(), address, size); }) == 0) return socket;
    if (errno != EINPROGRESS) throw_last_error(step);
    PollItem item{socket.get(), POLLOUT, 0};
    int error = ETIMEDOUT;
    ::socklen_t error_size = sizeof error;
    const int ready = wait_ready({&item, 1}, Clock::now() + std::chrono::seconds{5});
    if (ready < 0) throw_last_error(step + ": wait for it");
    if (ready > 0) {
        if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &error_size) != 0) {
            throw_last_error(step);
        }
    }
    if (error == 0) return socket;
    throw std::system_error(error, std::system_category(), step);
}

inline Endpoint make_unix_abstract() {
#if defined(__linux__)
    auto listener = make_socket(AF_UNIX, "socket");
    ::sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // With the family alone, the kernel chooses an address.
    if (::bind(listener.get(), generic(address), sizeof address.sun_family) != 0) {
        throw_last_error("bind");
    }
    if (::listen(listener.get(), listen_backlog) != 0) throw_last_error("listen");
    ::socklen_t size = sizeof address;
    if (::getsockname(listener.get(), generic(address), &size) != 0) {
        throw_last_error("getsockname");
    }
    auto connection = connect_to(generic(address), size, "connect");
    return {std::move(connection), std::move(listener), Transport::unix_abstract, true, true};
#else
    throw std::system_error(std::make_error_code(std::errc::not_supported), "abstract address");
#endif
}

inline Endpoint make_unix_path() {
    SocketDirectory directory;
    auto listener = make_socket(AF_UNIX, "socket");
    ::sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const auto path = directory.socket_path(sizeof address.sun_path);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    if (::bind(listener.get(), generic(address), sizeof address) != 0) {
        throw_last_error("bind " + path);
    }
    if (::listen(listener.get(), listen_backlog) != 0) throw_last_error("listen " + path);
    auto connection = connect_to(generic(address), sizeof address, "connect " + path);
    return {std::move(connection), std::move(listener), Transport::unix_path, true, true};
}

inline Endpoint make_tcp() {
    auto listener = make_socket(AF_INET, "socket");
    ::sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listener.get(), generic(address), sizeof address) != 0) {
        throw_last_error("bind 127.0.0.1");
    }
    if (::listen(listener.get(), listen_backlog) != 0) throw_last_error("listen 127.0.0.1");
    ::socklen_t size = sizeof address;
    if (::getsockname(listener.get(), generic(address), &size) != 0) {
        throw_last_error("getsockname");
    }
    auto connection = connect_to(generic(address), sizeof address, "connect 127.0.0.1");
    return {std::move(connection), std::move(listener), Transport::tcp, true, false};
}

inline Endpoint make_socket_pair_endpoint() {
    auto pair = make_socket_pair("socketpair");
    return {std::move(pair.first), std::move(pair.second), Transport::socket_pair, false, false};
}

inline Endpoint make_endpoint_of(Transport transport) {
    switch (transport) {
        case Transport::unix_abstract:
            return make_unix_abstract();
        case Transport::unix_path:
            return make_unix_path();
        case Transport::tcp:
            return make_tcp();
        case Transport::automatic:
        case Transport::socket_pair:
            break;
    }
    return make_socket_pair_endpoint();
}

// Makes the endpoint that was asked for; `automatic` takes the first that works. Throws a
// std::system_error whose text names each step that was refused.
inline Endpoint make_endpoint(Transport wanted) {
    static constexpr std::array in_order{Transport::unix_abstract, Transport::unix_path,
                                         Transport::socket_pair};
    const auto candidates = wanted == Transport::automatic ? std::span<const Transport>{in_order}
                                                           : std::span<const Transport>{&wanted, 1};
    std::string refused;
    std::error_code last;
    for (const auto candidate : candidates) {
        try {
            auto endpoint = make_endpoint_of(candidate);
            tune_connection(endpoint.parent.get(), candidate == Transport::tcp);
            return endpoint;
        } catch (const std::system_error& error) {
            last = error.code();
            if (!refused.empty()) refused += "; ";
            refused += std::string{to_string(candidate)} + ": " + error.what();
        }
    }
    throw std::system_error(last, "no transport works (" + refused + ")");
}

}  // namespace detail
TETHER_NAMESPACE_END
