// Why: what the kernel and the C library offer is decided here and nowhere else. Each has a
// fallback that is chosen at run time as well, for old kernels and for Valgrind.
#pragma once

#include <tether/config.hpp>

#include <sys/syscall.h>

#if defined(__linux__) && defined(SYS_pidfd_open) && !defined(TETHER_FORCE_PORTABLE)
#define TETHER_HAS_PIDFD 1
#else
#define TETHER_HAS_PIDFD 0
#endif

#if defined(__linux__) && !defined(TETHER_FORCE_PORTABLE)
#define TETHER_HAS_EVENTFD 1
#else
#define TETHER_HAS_EVENTFD 0
#endif

// Whether an eventfd goes on being watched when its number is closed, as long as another process
// has it open.
#define TETHER_WATCHES_CLOSED_FILES TETHER_HAS_EVENTFD

#if defined(__GLIBC__) && !defined(TETHER_FORCE_PORTABLE)
#if __GLIBC_PREREQ(2, 34)
#define TETHER_HAS_SPAWN_CLOSEFROM 1
#endif
#endif
#if !defined(TETHER_HAS_SPAWN_CLOSEFROM)
#define TETHER_HAS_SPAWN_CLOSEFROM 0
#endif

#if defined(__linux__) && !defined(TETHER_FORCE_PORTABLE)
#define TETHER_HAS_PROC_CHILDREN 1
#else
#define TETHER_HAS_PROC_CHILDREN 0
#endif
