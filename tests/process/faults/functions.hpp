#pragma once

// What the interposer wraps, in the order of its counters. The last three are what Tether asks for
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
    X(getdents64)

namespace tether_faults {

#define TETHER_FAULT_NAME(name) #name,
inline constexpr const char* names[] = {TETHER_FAULT_FUNCTIONS(TETHER_FAULT_NAME)};
#undef TETHER_FAULT_NAME

inline constexpr int count = sizeof names / sizeof names[0];

}  // namespace tether_faults
