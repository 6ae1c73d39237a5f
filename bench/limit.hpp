#pragma once

// LIMIT, what the benchmarks compare with: two processes that write to and read from a socket with
// blocking system calls, without any framing.

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include <sys/socket.h>
#include <unistd.h>

namespace bench {

inline void write_all(int fd, const char* data, std::size_t size) {
    while (size != 0) {
        const auto written = ::send(fd, data, size, MSG_NOSIGNAL);
        if (written <= 0) throw std::runtime_error("send");
        data += written;
        size -= static_cast<std::size_t>(written);
    }
}

inline void read_all(int fd, char* data, std::size_t size) {
    while (size != 0) {
        const auto read = ::recv(fd, data, size, 0);
        if (read <= 0) throw std::runtime_error("recv");
        data += read;
        size -= static_cast<std::size_t>(read);
    }
}

/// The child: answers each `request` bytes with `answer` bytes until the other side is gone.
/// Requests that arrive together are answered together. `look` sees all that arrives.
template <class Look>
[[noreturn]] void serve_limit(int fd, std::size_t request, std::size_t answer, Look look) {
    std::string in(std::max<std::size_t>(request, 65536), '\0');
    std::string out((in.size() + request - 1) / request * answer, 'a');
    for (std::size_t pending = 0;;) {
        const auto read = ::recv(fd, in.data(), in.size(), 0);
        if (read <= 0) std::_Exit(0);
        look(std::string_view{in.data(), static_cast<std::size_t>(read)});
        pending += static_cast<std::size_t>(read);
        write_all(fd, out.data(), pending / request * answer);
        pending %= request;
    }
}

/// Its parent's side of the connection.
class LimitCaller {
public:
    LimitCaller(int fd, std::size_t request, std::size_t answer)
        : fd_(fd), request_(request, 'q'), answer_(answer, '\0') {}
    LimitCaller(const LimitCaller&) = delete;
    LimitCaller& operator=(const LimitCaller&) = delete;
    ~LimitCaller() { ::close(fd_); }

    void call() { call(request_); }
    /// With another request of the same size.
    void call(std::string_view request) {
        write_all(fd_, request.data(), request.size());
        read_all(fd_, answer_.data(), answer_.size());
    }
    /// `count` calls with at most `depth` under way, many to a system call.
    void pipeline(std::size_t depth, std::size_t count) {
        std::string out;
        std::string in(depth * answer_.size(), '\0');
        std::size_t sent = 0;
        std::size_t received = 0;  // bytes
        while (received < count * answer_.size()) {
            const auto under_way = sent - received / answer_.size();
            const auto more = std::min(depth - under_way, count - sent);
            if (more != 0) {
                out.assign(more * request_.size(), 'q');
                write_all(fd_, out.data(), out.size());
                sent += more;
            }
            const auto read = ::recv(fd_, in.data(), in.size(), 0);
            if (read <= 0) throw std::runtime_error("recv");
            received += static_cast<std::size_t>(read);
        }
    }

private:
    int fd_;
    std::string request_;
    std::string answer_;
};

}  // namespace bench
