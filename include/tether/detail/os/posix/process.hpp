// Why: a child is watched and signalled through its pidfd where there is one, because its number
// may belong to another process by now. Its group is killed before it is reaped, while the number
// is still reserved.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/os/posix/descendants.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/features.hpp>
#include <tether/detail/os/posix/pidfd.hpp>
#include <tether/detail/os/posix/poll.hpp>
#include <tether/detail/os/posix/process_tree.hpp>
#include <tether/exit_status.hpp>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// By SIGKILL, which cannot be handled.
inline bool was_killed(const ExitStatus& status) noexcept { return status.signal() == SIGKILL; }

// What a process left behind.
struct Ended {
    ExitStatus status{};
    std::uint64_t peak_memory_bytes = 0;
};

// A child process. Not thread-safe: the session locks around it.
class ChildProcess {
public:
    ChildProcess() noexcept = default;
    explicit ChildProcess(::pid_t pid, Family family = {}) noexcept
        : pid_(pid),
          pidfd_(open_pidfd(pid)),
          family_(std::move(family)),
          peak_before_(own_peak()),
          gone_(pid <= 0) {}
    ChildProcess(ChildProcess&& other) noexcept
        : pid_(other.pid_),
          pidfd_(std::move(other.pidfd_)),
          family_(std::move(other.family_)),
          peak_before_(other.peak_before_),
          descendants_ended_(other.descendants_ended_),
          gone_(std::exchange(other.gone_, true)) {}
    ChildProcess& operator=(ChildProcess&& other) noexcept {
        pid_ = other.pid_;
        pidfd_ = std::move(other.pidfd_);
        family_ = std::move(other.family_);
        peak_before_ = other.peak_before_;
        descendants_ended_ = other.descendants_ended_;
        gone_ = std::exchange(other.gone_, true);
        return *this;
    }

    [[nodiscard]] ::pid_t pid() const noexcept { return pid_; }
    // Becomes readable when the process ends; -1: call has_ended() from time to time instead.
    [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
    [[nodiscard]] bool gone() const noexcept { return gone_; }

    // Stopped by a signal, as by job control. It does not run until it is continued.
    [[nodiscard]] bool is_stopped() const noexcept {
        const auto info = look(WSTOPPED);
        return info.si_pid != 0 && info.si_code == CLD_STOPPED;
    }

    // Reaped or not.
    [[nodiscard]] bool has_ended() const noexcept { return gone_ || look(WEXITED).si_pid != 0; }

    [[nodiscard]] bool is_dumping_core() const noexcept {
#if TETHER_HAS_PROC_CHILDREN
        try {
            return !gone_ && tells_core_dump(read_proc_file(pid_, "status"));
        } catch (const std::bad_alloc&) {
        }
#endif
        return false;
    }
    // By the contents of its /proc/<pid>/status; since Linux 4.15.
    static bool tells_core_dump(std::string_view status) noexcept {
        return status.find("\nCoreDumping:\t1\n") != status.npos;
    }

    // Asks it to end. Returns what the system refused.
    std::error_code terminate() const noexcept { return signal(SIGTERM); }

    // Sends a signal. Returns what the system refused; nothing for a process that has ended.
    std::error_code signal(int number) const noexcept {
        if (gone_) return {};
        if (pidfd_ && (signal_pidfd(pidfd_.get(), number) == 0 || errno == ESRCH)) return {};
        // A filter of system calls may refuse pidfds.
        if (!still_ours() || ::kill(pid_, number) == 0 || errno == ESRCH) return {};
        return last_error();
    }

    // Kills the process with its descendants. It is stopped first, so that no descendant escapes by
    // forking or being reaped meanwhile. If they cannot be found, its group is killed: a member
    // that traces the process would hold up its end. Returns what the system refused.
    std::error_code kill_tree() noexcept {
        const bool stops = !signal(SIGSTOP);
        // Some 100 ms, by rounds: no clock is needed.
        for (int round = 0; round < 700 && stops && is_to_be_stopped(); ++round) {
            nap(std::chrono::microseconds{100});
        }
        const bool found = !gone_ && DescendantKiller{pid_, family_}.end_below_worker();
        // If the process has ended meanwhile, other processes have adopted its children.
        descendants_ended_ = stops && found && !has_ended();
        const auto error = signal(SIGKILL);
        if (!found && !gone_ && still_ours()) ::kill(-pid_, SIGKILL);
        if (error) static_cast<void>(signal(SIGCONT));  // so that it can end itself
        return error;
    }

    // The process has reported that it has ended its descendants itself.
    void set_descendants_ended() noexcept { descendants_ended_ = true; }

    // If the process has ended, ends what is left of its descendants and reaps it, at most once.
    std::optional<Ended> reap_if_ended() noexcept {
        if (gone_) return std::nullopt;
        ::siginfo_t info{};
        const int result = wait_for(WEXITED, info);
        if (result != 0 && errno != ECHILD) return reap_unasked();
        if (result != 0) {
            // The host reaped it. The number may belong to another process: signal nothing by
            // number.
            gone_ = true;
            kill_group_by_pidfd();
            end_orphans(false);
            return Ended{status_from_kernel(), 0};
        }
        if (info.si_pid == 0) return std::nullopt;
        if (!kill_group_by_pidfd()) ::kill(-pid_, SIGKILL);
        end_orphans(true);
        gone_ = true;
        Ended ended{to_status(info), 0};
        int status = 0;
        ::rusage usage{};
        const auto reaped = retry([&] { return ::wait4(pid_, &status, WNOHANG, &usage); });
        if (reaped == pid_) {
            // The child shared this process' memory for a moment: only a higher peak is its own.
            const auto peak = peak_bytes(usage);
            if (peak > peak_before_) ended.peak_memory_bytes = peak;
        } else if (errno != ECHILD) {  // wait4() is refused
            ::waitid(P_PID, static_cast<::id_t>(pid_), &info, WEXITED | WNOHANG);
        }
        return ended;
    }

    // For a child that no session owns, and whose lifeline is cut: ends it and reaps it. If it does
    // not end within some seconds it is left behind.
    void discard() noexcept {
        if (gone_) return;
        static_cast<void>(kill_tree());
        for (int round = 0; round < 3000 && !reap_if_ended() && !gone_; ++round) {
            nap(std::chrono::milliseconds{round < 10 ? 0 : 1} + std::chrono::microseconds{100});
        }
        gone_ = true;
    }

    void close() noexcept { pidfd_.reset(); }

private:
#if defined(__linux__)
    static constexpr auto pidfd_type = static_cast<::idtype_t>(3);  // P_PIDFD
#else
    static constexpr auto pidfd_type = P_PID;
#endif

    // SIGSTOP was sent, and the process shows neither as stopped nor as ended yet.
    [[nodiscard]] bool is_to_be_stopped() const noexcept {
        return finds_descendants && !gone_ && look(WSTOPPED | WEXITED).si_pid == 0;
    }

    // What waitid() would report, if anything. Does not consume it.
    [[nodiscard]] ::siginfo_t look(int what) const noexcept {
        ::siginfo_t info{};
        if (!gone_ && wait_for(what, info) != 0) info.si_pid = 0;
        return info;
    }

    [[nodiscard]] int wait_for(int what, ::siginfo_t& info) const noexcept {
        const int result = pidfd_ ? wait_by(pidfd_type, pidfd_.get(), what, info) : -1;
        if (pidfd_ && (result == 0 || errno == ECHILD)) return result;
        // An old kernel, or a filter of system calls, may refuse P_PIDFD.
        return wait_by(P_PID, static_cast<int>(pid_), what, info);
    }

    static int wait_by(::idtype_t type, int id, int what, ::siginfo_t& info) noexcept {
        return retry([&] {
            return ::waitid(type, static_cast<::id_t>(id), &info, what | WNOHANG | WNOWAIT);
        });
    }

    // Without a pidfd the number is safe only until the process is reaped. If waitid() is refused,
    // assume that it was not.
    [[nodiscard]] bool still_ours() const noexcept {
        ::siginfo_t info{};
        return wait_by(P_PID, static_cast<int>(pid_), WEXITED, info) == 0 || errno != ECHILD;
    }

    // Where waitid() is refused: waitpid() reaps at once, so nothing is ended by number.
    std::optional<Ended> reap_unasked() noexcept {
        const bool ended = pidfd_ && ready_now(pidfd_.get());
        if (pidfd_ && !ended) return std::nullopt;
        kill_group_by_pidfd();
        int status = 0;
        const auto reaped = retry([&] { return ::waitpid(pid_, &status, WNOHANG); });
        const bool refused = reaped == -1 && errno != ECHILD;
        if (reaped == 0 || (refused && !ended)) return std::nullopt;
        gone_ = true;
        end_orphans(false);
        return Ended{reaped == pid_ ? status_of(status) : status_from_kernel(), 0};
    }

    void end_orphans(bool unreaped) noexcept {
        if (!std::exchange(descendants_ended_, true)) {
            DescendantKiller{pid_, family_}.end_orphans(unreaped);
        }
    }

    static ExitStatus status_of(int status) noexcept {
        if (WIFEXITED(status)) return ExitStatus::exited(WEXITSTATUS(status));
        return WIFSIGNALED(status) ? ExitStatus::signaled(WTERMSIG(status)) : ExitStatus{};
    }

    bool kill_group_by_pidfd() const noexcept {
        constexpr unsigned process_group = 4;  // PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
        if (!pidfd_) return false;
        return signal_pidfd(pidfd_.get(), SIGKILL, process_group) == 0 || errno == ESRCH;
    }

    static ExitStatus to_status(const ::siginfo_t& info) noexcept {
        return info.si_code == CLD_EXITED ? ExitStatus::exited(info.si_status)
                                          : ExitStatus::signaled(info.si_status);
    }

    static std::uint64_t peak_bytes(const ::rusage& usage) noexcept {
#if defined(__APPLE__)
        return static_cast<std::uint64_t>(usage.ru_maxrss);
#else
        return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
#endif
    }

    static std::uint64_t own_peak() noexcept {
        ::rusage usage{};
        return ::getrusage(RUSAGE_SELF, &usage) == 0 ? peak_bytes(usage) : 0;
    }

    // Since Linux 6.15 the kernel keeps the status for a process that holds a pidfd.
    [[nodiscard]] ExitStatus status_from_kernel() const noexcept {
#if TETHER_HAS_PIDFD
        struct Info {  // pidfd_info
            std::uint64_t mask;
            std::uint64_t cgroup;
            std::uint32_t ids[11];
            std::int32_t exit_code;
            std::uint64_t reserved[2];
        };
        constexpr std::uint64_t exit_wanted = 8;  // PIDFD_INFO_EXIT
        Info info{};
        info.mask = exit_wanted;
        constexpr auto request = _IOWR(0xFF, 11, char[64]);  // PIDFD_GET_INFO
        if (pidfd_ && ::ioctl(pidfd_.get(), request, &info) == 0 &&
            (info.mask & exit_wanted) != 0) {
            return status_of(info.exit_code);
        }
#endif
        return {};
    }

    ::pid_t pid_ = 0;
    Descriptor pidfd_;
    Family family_;
    std::uint64_t peak_before_ = 0;   // this process', when it started the child
    bool descendants_ended_ = false;  // there is no need to look for them any more
    bool gone_ = true;                // reaped, by us or by the host
};

}  // namespace detail
TETHER_NAMESPACE_END
