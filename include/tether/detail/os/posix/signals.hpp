// Why: a library leaves the host's signals alone. Its own thread blocks them all. A write that must
// not raise SIGPIPE blocks it for that moment and consumes the one it caused.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>

#include <cerrno>
#include <csignal>
#include <ctime>

#include <pthread.h>
#include <unistd.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Blocks all signals of the calling thread; a thread started meanwhile inherits that.
class AllSignalsBlocked {
public:
    AllSignalsBlocked() noexcept {
        ::sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    AllSignalsBlocked(const AllSignalsBlocked&) = delete;
    AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;
    ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    ::sigset_t before_{};
};

// write() that fails with EPIPE where it would otherwise raise SIGPIPE in the host.
inline ::ssize_t write_without_sigpipe(int fd, const void* data, std::size_t size) noexcept {
    ::sigset_t pipe;
    ::sigset_t before;
    ::sigset_t pending;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    ::sigpending(&pending);
    const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
    const auto written = retry([&] { return ::write(fd, data, size); });
    const int error = errno;
    if (written == -1 && error == EPIPE && !was_pending) {
#if defined(__APPLE__)
        ::sigpending(&pending);
        int taken = 0;
        if (::sigismember(&pending, SIGPIPE) == 1) ::sigwait(&pipe, &taken);
#else
        const ::timespec none{};
        while (::sigtimedwait(&pipe, nullptr, &none) == -1 && errno == EINTR) {
        }
#endif
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return written;
}

}  // namespace detail
TETHER_NAMESPACE_END
