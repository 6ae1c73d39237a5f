// Why: what a process does to itself to become a worker: it takes over the descriptors that it was
// handed, closes those it was not meant to have, and arranges to be woken when its parent ends.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/features.hpp>
#include <tether/detail/os/posix/poll.hpp>
#include <tether/detail/os/posix/process_hooks.hpp>
#include <tether/detail/os/posix/process_tree.hpp>
#include <tether/limits.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>

#include <sys/resource.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// Takes an inherited descriptor away from its low number.
inline Descriptor take_inherited(int fd) noexcept {
    const int high = Descriptor::copy_high(fd);
    if (high == -1) {
        if (errno == EBADF) return {};
        set_close_on_exec(fd);
        return Descriptor::known(fd);
    }
    ::close(fd);
    return Descriptor::known(high);
}

// Continues this process, should it be stopped, when the parent ends: by the parent-death signal,
// which is harmless where only a thread of the parent has ended, and by the end of the control
// channel, which also covers exec.
inline void continue_when_parent_ends([[maybe_unused]] int control) noexcept {
#if defined(__linux__)
    ::prctl(PR_SET_PDEATHSIG, SIGCONT);
    // Last, and only if the signal is known to be the harmless one: otherwise each record would
    // raise SIGIO, which ends the process.
    const int flags = ::fcntl(control, F_GETFL);
    if (flags == -1 || ::fcntl(control, F_SETOWN, ::getpid()) == -1) return;
    if (::fcntl(control, F_SETSIG, SIGCONT) == -1) return;
    if (::fcntl(control, F_GETSIG) == SIGCONT) ::fcntl(control, F_SETFL, flags | O_ASYNC);
#endif
}

// Orphaned descendants become our children, so that they can be found and ended.
inline void adopt_descendants() noexcept {
#if defined(__linux__)
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
#endif
}

template <class Resource>  // an int, or an enumeration of the C library's
void set_limit(Resource resource, const char* name, std::uint64_t soft, std::uint64_t hard) {
    const ::rlimit limit{static_cast<::rlim_t>(soft), static_cast<::rlim_t>(hard)};
    if (::setrlimit(resource, &limit) == 0) return;
    throw_last_error("set the limit of " + std::string{name} + " to " + std::to_string(soft));
}

// Throws a std::system_error that names what the system refused.
inline void apply_limits(const Limits& limits) {
    if (const auto bytes = limits.memory_bytes) {
        set_limit(RLIMIT_AS, "memory (RLIMIT_AS)", *bytes, *bytes);
    }
    if (limits.cpu_time) {
        // The signal at the soft limit says what happened; SIGKILL at the hard one does not.
        const auto time = std::chrono::ceil<std::chrono::seconds>(*limits.cpu_time);
        const auto seconds = static_cast<std::uint64_t>(time.count());
        set_limit(RLIMIT_CPU, "CPU time (RLIMIT_CPU)", seconds, seconds + 1);
    }
    if (const auto bytes = limits.core_bytes) {
        set_limit(RLIMIT_CORE, "the core size (RLIMIT_CORE)", *bytes, *bytes);
    }
    if (limits.nice && ::setpriority(PRIO_PROCESS, 0, *limits.nice) != 0) {
        throw_last_error("set the nice value to " + std::to_string(*limits.nice));
    }
}

// Handlers rather than SIG_IGN or a mask: those would be inherited by what the worker starts.
class WorkerSignals {
public:
    // SIGTERM notifies `on_terminate`, which must live as long as the process.
    static void install(const WakeUp& on_terminate) noexcept {
        target().store(&on_terminate);
        set(SIGTERM, [](int) {
            if (ForkedCopy::here()) {  // what would be notified is shared with the worker
                ::signal(SIGTERM, SIG_DFL);
                ::raise(SIGTERM);
                return;
            }
            const int saved = errno;
            if (const auto* wake = target().load()) wake->notify();
            errno = saved;
        });
        set(SIGPIPE, [](int) {});
    }

private:
    static std::atomic<const WakeUp*>& target() noexcept {
        static std::atomic<const WakeUp*> wake{nullptr};
        return wake;
    }
    static void set(int number, void (*handler)(int)) noexcept {
        struct ::sigaction action {};
        action.sa_handler = handler;
        action.sa_flags = SA_RESTART;
        ::sigemptyset(&action.sa_mask);
        ::sigaction(number, &action, nullptr);
    }
};

// Writes all of it, whatever the descriptor does; gives up when the other side is gone.
inline void write_all(int fd, const char* data, std::size_t size) noexcept {
    while (size != 0) {
        const auto written = retry([&] { return ::write(fd, data, size); });
        if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            PollItem item{fd, POLLOUT, 0};
            if (wait_ready({&item, 1}, TimePoint::max()) < 0) return;
            continue;
        }
        if (written <= 0) return;
        data += written;
        size -= static_cast<std::size_t>(written);
    }
}

// Why the system refuses a call, in the words of strerror(), which may allocate.
inline const char* describe_refusal(const std::error_code& error) noexcept {
    switch (error.value()) {
        case EPERM:
            return "Operation not permitted";
        case EACCES:
            return "Permission denied";
        case EINVAL:
            return "Invalid argument";
        case ENOSYS:
            return "Function not implemented";
        case ENOMEM:
            return "Cannot allocate memory";
        default:
            return "the system refuses it";
    }
}

// The stderr that the worker was given, whatever a handler does to descriptor 2. Where both that
// and the copy of it are other files by now, what is written is lost.
class GivenStderr {
public:
    // First called before user code runs; never destroyed.
    static const GivenStderr& instance() {
        static const GivenStderr& given = *new GivenStderr;
        return given;
    }

    // Allocates nothing.
    void write(std::string_view text) const noexcept {
        const int fd = copy_.is_ours() ? copy_.get() : STDERR_FILENO;
        if (identity_.known() && identity_.is_still(fd)) write_all(fd, text.data(), text.size());
    }

private:
    GivenStderr() = default;

    FileIdentity identity_{STDERR_FILENO};
    Descriptor copy_ = Descriptor::known(Descriptor::copy_high(STDERR_FILENO));
};

inline constexpr std::string_view descriptors_lost =
    "tether: code in this worker has closed descriptors that are Tether's, or has put files of its "
    "own in their place: the worker ends\n";

[[noreturn]] inline void end_at_once(int exit_code) noexcept { ::_exit(exit_code); }

// The last way out: this process with everything it started, at once.
[[noreturn]] inline void end_with_all_descendants() noexcept {
    kill_descendants();
    ::kill(-::getpid(), SIGKILL);
    ::_exit(1);
}

}  // namespace detail
TETHER_NAMESPACE_END
