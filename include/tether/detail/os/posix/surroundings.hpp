// Why: a child inherits processors, scheduling and priority from the thread that starts it. At a
// restart that may be any thread of the host, but each process of a worker begins with those of the
// first.
#pragma once

#include <tether/config.hpp>

#include <array>
#include <cerrno>
#include <cstddef>

#include <sys/types.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a child inherits from the thread that starts it, rather than from the process. What the
// system does not tell is left unchanged.
class Surroundings {
public:
    static Surroundings of_this_thread() noexcept {
        Surroundings now;
#if defined(__linux__)
        now.knows_cpus_ = ::sched_getaffinity(0, sizeof now.cpus_, now.cpus()) == 0;
        now.policy_ = ::syscall(SYS_sched_getscheduler, 0);
        ::sched_param parameters{};
        ::syscall(SYS_sched_getparam, 0, &parameters);
        now.priority_ = parameters.sched_priority;
        errno = 0;
        now.nice_ = ::getpriority(PRIO_PROCESS, 0);
        now.knows_nice_ = errno == 0;
        now.io_priority_ = ::syscall(SYS_ioprio_get, io_of_one, 0);
        now.timer_slack_ = ::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
#endif
        return now;
    }

private:
    friend class SurroundingsLent;

#if defined(__linux__)
    static constexpr int io_of_one = 1;  // IOPRIO_WHO_PROCESS, of a thread

    [[nodiscard]] ::cpu_set_t* cpus() noexcept {
        return reinterpret_cast<::cpu_set_t*>(cpus_.data());
    }
    [[nodiscard]] const ::cpu_set_t* cpus() const noexcept {
        return reinterpret_cast<const ::cpu_set_t*>(cpus_.data());
    }

    std::array<unsigned long, 1024 / sizeof(unsigned long)> cpus_{};  // for 8192 processors
    bool knows_cpus_ = false;
    bool knows_nice_ = false;
    long policy_ = -1;
    int priority_ = 0;
    int nice_ = 0;
    long io_priority_ = -1;
    int timer_slack_ = -1;
#endif
};

// While this lives, a child of the calling thread gets what it cannot be given afterwards.
class SurroundingsLent {
public:
    explicit SurroundingsLent(const Surroundings& wanted) noexcept
        : wanted_(wanted), own_(Surroundings::of_this_thread()) {
        lend(own_, wanted_);
    }
    SurroundingsLent(const SurroundingsLent&) = delete;
    SurroundingsLent& operator=(const SurroundingsLent&) = delete;
    ~SurroundingsLent() { lend(wanted_, own_); }

    // Gives the rest to a child of the calling thread, as far as the system allows it.
    void complete([[maybe_unused]] ::pid_t child, [[maybe_unused]] bool with_nice) noexcept {
#if defined(__linux__)
        const auto id = static_cast<::id_t>(child);
        if (wanted_.policy_ >= 0 &&
            (own_.policy_ != wanted_.policy_ || own_.priority_ != wanted_.priority_)) {
            ::sched_param parameters{};
            parameters.sched_priority = wanted_.priority_;
            ::syscall(SYS_sched_setscheduler, child, wanted_.policy_, &parameters);
        }
        if (with_nice && wanted_.knows_nice_ && own_.nice_ != wanted_.nice_) {
            ::setpriority(PRIO_PROCESS, id, wanted_.nice_);
        }
        if (wanted_.io_priority_ >= 0 && own_.io_priority_ != wanted_.io_priority_) {
            ::syscall(SYS_ioprio_set, Surroundings::io_of_one, child, wanted_.io_priority_);
        }
#endif
    }

private:
    static void lend([[maybe_unused]] const Surroundings& from,
                     [[maybe_unused]] const Surroundings& to) noexcept {
#if defined(__linux__)
        if (from.knows_cpus_ && to.knows_cpus_ && from.cpus_ != to.cpus_) {
            ::sched_setaffinity(0, sizeof to.cpus_, to.cpus());
        }
        if (to.timer_slack_ > 0 && from.timer_slack_ != to.timer_slack_) {
            ::prctl(PR_SET_TIMERSLACK, to.timer_slack_, 0, 0, 0);
        }
#endif
    }

    const Surroundings& wanted_;
    const Surroundings own_;
};

}  // namespace detail
TETHER_NAMESPACE_END
