#pragma once

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

// What the interposer wraps, in the order of its counters. The last eight are what Tether asks for
// by number, through syscall().
#define TETHER_FAULT_FUNCTIONS(X)               \
    X(socket)                                   \
    X(socketpair)                               \
    X(bind)                                     \
    X(listen)                                   \
    X(connect)                                  \
    X(accept)                                   \
    X(getsockname)                              \
    X(getsockopt)                               \
    X(setsockopt)                               \
    X(shutdown)                                 \
    X(sendmsg)                                  \
    X(recvmsg)                                  \
    X(recv)                                     \
    X(read)                                     \
    X(write)                                    \
    X(poll)                                     \
    X(ppoll)                                    \
    X(pselect)                                  \
    X(pipe)                                     \
    X(pipe2)                                    \
    X(fcntl)                                    \
    X(ioctl)                                    \
    X(open)                                     \
    X(close)                                    \
    X(fstat)                                    \
    X(stat)                                     \
    X(flock)                                    \
    X(mkdir)                                    \
    X(rmdir)                                    \
    X(unlink)                                   \
    X(unlinkat)                                 \
    X(opendir)                                  \
    X(readdir)                                  \
    X(readlink)                                 \
    X(getcwd)                                   \
    X(access)                                   \
    X(posix_spawn)                              \
    X(posix_spawnattr_init)                     \
    X(posix_spawn_file_actions_init)            \
    X(posix_spawn_file_actions_adddup2)         \
    X(posix_spawn_file_actions_addclosefrom_np) \
    X(posix_spawn_file_actions_addfchdir_np)    \
    X(waitid)                                   \
    X(wait4)                                    \
    X(waitpid)                                  \
    X(kill)                                     \
    X(prctl)                                    \
    X(sigaction)                                \
    X(setrlimit)                                \
    X(setpriority)                              \
    X(getpriority)                              \
    X(sched_getaffinity)                        \
    X(sched_setaffinity)                        \
    X(nanosleep)                                \
    X(pthread_create)                           \
    X(epoll_create1)                            \
    X(epoll_ctl)                                \
    X(epoll_wait)                               \
    X(eventfd)                                  \
    X(timerfd_create)                           \
    X(timerfd_settime)                          \
    X(pidfd_open)                               \
    X(pidfd_send_signal)                        \
    X(getdents64)                               \
    X(sched_getscheduler)                       \
    X(sched_getparam)                           \
    X(sched_setscheduler)                       \
    X(ioprio_get)                               \
    X(ioprio_set)

// One command of a function, or what it is asked for: "fcntl/F_SETSIG".
#define TETHER_FAULT_COMMANDS(X)                             \
    X(fcntl, F_DUPFD_CLOEXEC, F_DUPFD_CLOEXEC)               \
    X(fcntl, F_GETFD, F_GETFD)                               \
    X(fcntl, F_SETFD, F_SETFD)                               \
    X(fcntl, F_GETFL, F_GETFL)                               \
    X(fcntl, F_SETFL, F_SETFL)                               \
    X(fcntl, F_SETOWN, F_SETOWN)                             \
    X(fcntl, F_SETSIG, F_SETSIG)                             \
    X(fcntl, F_GETSIG, F_GETSIG)                             \
    X(prctl, PR_SET_PDEATHSIG, PR_SET_PDEATHSIG)             \
    X(prctl, PR_GET_TIMERSLACK, PR_GET_TIMERSLACK)           \
    X(prctl, PR_SET_TIMERSLACK, PR_SET_TIMERSLACK)           \
    X(prctl, PR_SET_CHILD_SUBREAPER, PR_SET_CHILD_SUBREAPER) \
    X(ioctl, FIONBIO, FIONBIO)                               \
    X(setsockopt, SO_SNDBUF, SO_SNDBUF)                      \
    X(setsockopt, SO_RCVTIMEO, SO_RCVTIMEO)                  \
    X(setsockopt, TCP_NODELAY, TCP_NODELAY)                  \
    X(getsockopt, SO_PEERCRED, SO_PEERCRED)                  \
    X(getsockopt, SO_ERROR, SO_ERROR)                        \
    X(waitid, P_PID, P_PID)                                  \
    X(waitid, P_PIDFD, 3)                                    \
    X(open, proc, tether_faults::below_proc)                 \
    X(opendir, proc, tether_faults::below_proc)              \
    X(readlink, proc, tether_faults::below_proc)

namespace tether_faults {

#define TETHER_FAULT_NAME(name) #name,
inline constexpr const char* names[] = {TETHER_FAULT_FUNCTIONS(TETHER_FAULT_NAME)};
#undef TETHER_FAULT_NAME

inline constexpr int count = sizeof names / sizeof names[0];

// A path instead of a command.
inline constexpr long below_proc = 1;
inline constexpr long elsewhere = 0;

struct Command {
    const char* name;  // with its function
    const char* function;
    long value;
};
#define TETHER_FAULT_COMMAND(function, name, value) \
    {#function "/" #name, #function, static_cast<long>(value)},
inline constexpr Command commands[] = {TETHER_FAULT_COMMANDS(TETHER_FAULT_COMMAND)};
#undef TETHER_FAULT_COMMAND

inline constexpr int command_count = sizeof commands / sizeof commands[0];

// Counters: of the functions, then of the commands.
inline constexpr int all = count + command_count;

inline constexpr const char* name_of(int index) {
    return index < count ? names[index] : commands[index - count].name;
}

}  // namespace tether_faults
