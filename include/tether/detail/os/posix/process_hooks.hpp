// Why: code that runs when the host exits or forks is registered in one place, because an unloaded
// plugin must not leave a dangling hook behind.
#pragma once

#include <tether/config.hpp>

#include <atomic>
#include <cstddef>
#include <cstdlib>

#include <pthread.h>
#include <unistd.h>
#if !defined(__APPLE__)
#include <link.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

#if !defined(__APPLE__)
// Whether this code was linked into the program itself, rather than into a shared object that may
// be unloaded.
inline bool in_main_program() noexcept {
    static const char marker = 0;
    struct Search {
        ::ElfW(Addr) address;
        bool found;
    } search{reinterpret_cast<::ElfW(Addr)>(&marker), false};
    ::dl_iterate_phdr(
        [](::dl_phdr_info* object, std::size_t, void* data) {
            auto& wanted = *static_cast<Search*>(data);
            for (int i = 0; i < object->dlpi_phnum; ++i) {
                const auto& segment = object->dlpi_phdr[i];
                const auto begin = object->dlpi_addr + segment.p_vaddr;
                const bool inside =
                    wanted.address >= begin && wanted.address - begin < segment.p_memsz;
                wanted.found = wanted.found || (segment.p_type == PT_LOAD && inside);
            }
            return 1;  // the first object is the program: look no further
        },
        &search);
    return search.found;
}
#endif

// Runs `hook` in the child of every fork of this process; it must be async-signal-safe.
inline void call_in_forked_copies(void (*hook)()) { ::pthread_atfork(nullptr, nullptr, hook); }

// Whether this process was forked from one that has called watch(). The count costs a load; asking
// the system costs a system call. A raw clone() and vfork() go unnoticed.
class ForkedCopy {
public:
    static void watch() {
        [[maybe_unused]] static const bool once = [] {
            call_in_forked_copies([] { count().fetch_add(1, std::memory_order_relaxed); });
            return true;
        }();
    }
    static bool here() noexcept { return forks() != 0; }
    // How many forks lie between the first process that has called watch() and this one.
    static unsigned forks() noexcept { return count().load(std::memory_order_relaxed); }
    // A forked copy has no part in what the original began: it ends silently.
    static void end_here() noexcept {
        if (here()) ::_exit(0);
    }

private:
    static std::atomic<unsigned>& count() noexcept {
        static constinit std::atomic<unsigned> forks{0};
        return forks;
    }
};

// Runs `hook` at exit, and when the shared object that this code is part of is unloaded.
inline void call_at_exit(void (*hook)()) {
    std::atexit(hook);
#if !defined(__APPLE__)
    // The C library would call this one even after unloading.
    if (in_main_program()) std::at_quick_exit(hook);
#endif
}

}  // namespace detail
TETHER_NAMESPACE_END
