// Makes system calls fail, in a program that knows nothing of it: loaded by LD_PRELOAD, in front of
// the C library. It is told by the environment:
//
//   TETHER_TEST_FAULT      parent|worker|both:function[/command]:n|n-m|n-:errno|short, several with
//                          a comma between; "n-" is for good
//   TETHER_TEST_FAULT_DIR  a directory for counts.parent and counts.worker (how often each function
//                          and command was called, in the order of functions.hpp) and fired (what
//                          was made to fail)
//
// Only calls from the program's own code count, Tether's and Asio's inlined code among it: not
// those of other libraries. Of several workers only the first is meant, and its successors
// find all in order; but what is for good is so from their beginning.

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "functions.hpp"

namespace {

namespace function {
#define TETHER_FAULT_ENUMERATOR(name) of_##name,
enum Index : int { TETHER_FAULT_FUNCTIONS(TETHER_FAULT_ENUMERATOR) };
#undef TETHER_FAULT_ENUMERATOR
}  // namespace function

constexpr int transfer_one_byte = -1;

struct Rule {
    int target = -1;  // a function or a command
    bool for_good = false;
    unsigned first = 0;
    unsigned last = 0;
    int error = 0;
};

// Counters are in a file, so that they outlive a process that is killed.
using Counter = std::atomic<std::uint32_t>;
static_assert(Counter::is_always_lock_free && sizeof(Counter) == 4);

std::uintptr_t image_begin = 0;
std::uintptr_t image_end = 0;
Rule rules[8];
std::atomic<bool> logged[8];
char directory[512];
std::atomic<Counter*> counters{nullptr};
std::atomic<void*> real_functions[tether_faults::count];

// --- What to do

int index_of(const char* name) {
    for (int i = 0; i < tether_faults::all; ++i) {
        if (std::strcmp(name, tether_faults::name_of(i)) == 0) return i;
    }
    return -1;
}

// "function[/command]:n|n-m|n-:errno|short", without the side.
Rule parse_rule(char* text) {
    Rule rule;
    char* rest = nullptr;
    const char* name = strtok_r(text, ":", &rest);
    const char* range = strtok_r(nullptr, ":", &rest);
    const char* error = strtok_r(nullptr, ":", &rest);
    if (name == nullptr || range == nullptr || error == nullptr) std::abort();
    rule.target = index_of(name);
    if (rule.target == -1) std::abort();
    char* end = nullptr;
    rule.first = static_cast<unsigned>(std::strtoul(range, &end, 10));
    rule.last =
        *end == '-' ? static_cast<unsigned>(std::strtoul(end + 1, nullptr, 10)) : rule.first;
    rule.for_good = *end == '-' && end[1] == '\0';
    rule.error = std::strcmp(error, "short") == 0 ? transfer_one_byte : std::atoi(error);
    return rule;
}

void parse_rules(const char* side) {
    const char* variable = std::getenv("TETHER_TEST_FAULT");
    static char text[1024];
    if (variable == nullptr || std::strlen(variable) >= sizeof text) return;
    std::strcpy(text, variable);
    char* rest = nullptr;
    std::size_t used = 0;
    for (char* entry = strtok_r(text, ",", &rest); entry != nullptr;
         entry = strtok_r(nullptr, ",", &rest)) {
        char* of_side = std::strchr(entry, ':');
        if (of_side == nullptr) std::abort();
        *of_side = '\0';
        if (std::strcmp(entry, side) != 0 && std::strcmp(entry, "both") != 0) continue;
        if (used == sizeof rules / sizeof rules[0]) std::abort();
        rules[used++] = parse_rule(of_side + 1);
    }
}

int open_file(const char* name, int flags) {
    char path[600];
    std::strcpy(path, directory);
    std::strcat(path, "/");
    std::strcat(path, name);
    flags |= O_CREAT | O_CLOEXEC;
    return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, 0600));
}

// Of several workers the first gets it: the file is there for the others.
Counter* map_counters(const char* side) {
    const char* name = std::strcmp(side, "worker") == 0 ? "counts.worker" : "counts.parent";
    const int fd = open_file(name, O_RDWR | O_EXCL);
    if (fd == -1) return nullptr;
    constexpr auto size = sizeof(Counter) * tether_faults::all;
    void* memory = MAP_FAILED;
    if (syscall(SYS_ftruncate, fd, static_cast<long>(size)) == 0) {
        memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    syscall(SYS_close, fd);
    return memory == MAP_FAILED ? nullptr : static_cast<Counter*>(memory);
}

int find_image(dl_phdr_info* object, std::size_t, void*) {
    image_begin = object->dlpi_addr;
    for (int i = 0; i < object->dlpi_phnum; ++i) {
        const auto& segment = object->dlpi_phdr[i];
        const auto end = object->dlpi_addr + segment.p_vaddr + segment.p_memsz;
        if (segment.p_type == PT_LOAD && end > image_end) image_end = end;
    }
    return 1;  // the first object is the program
}

void* find_real(int index) {
    void* real = real_functions[index].load(std::memory_order_relaxed);
    if (real == nullptr) {
        real = dlsym(RTLD_NEXT, tether_faults::names[index]);
        real_functions[index].store(real, std::memory_order_relaxed);
    }
    return real;
}

std::atomic<void*> real_syscall{nullptr};

__attribute__((constructor)) void prepare() {
    // Now, since dlsym is not for signal handlers.
    for (int i = 0; i < function::of_pidfd_open; ++i) find_real(i);
    real_syscall.store(dlsym(RTLD_NEXT, "syscall"));
    const char* variable = std::getenv("TETHER_TEST_FAULT_DIR");
    if (variable == nullptr || std::strlen(variable) >= sizeof directory) return;
    std::strcpy(directory, variable);
    const char* side = std::getenv("TETHER_WORKER") != nullptr ? "worker" : "parent";
    dl_iterate_phdr(find_image, nullptr);
    parse_rules(side);
    counters.store(map_counters(side));
}

void log_fault(int index) {
    char line[64];
    const char* name = tether_faults::name_of(index);
    const auto size = std::strlen(name);
    std::memcpy(line, name, size);
    line[size] = '\n';
    const int fd = open_file("fired", O_WRONLY | O_APPEND);
    syscall(SYS_write, fd, line, size + 1);
    syscall(SYS_close, fd);
}

int command_of(int function, long value) {
    for (int i = 0; i < tether_faults::command_count; ++i) {
        const auto& command = tether_faults::commands[i];
        const bool same = std::strcmp(command.function, tether_faults::names[function]) == 0;
        if (same && command.value == value) return tether_faults::count + i;
    }
    return -1;
}

long place_of(const char* path) {
    return std::strncmp(path, "/proc/", 6) == 0 ? tether_faults::below_proc
                                                : tether_faults::elsewhere;
}

bool is_meant(const Rule& rule, int target, unsigned number) {
    if (target == -1 || rule.target != target) return false;
    if (rule.for_good) return number == 0 || number >= rule.first;
    return number >= rule.first && number <= rule.last;
}

// 0: nothing; transfer_one_byte; or the error to fail with.
int fault_of(int function, const void* caller, int command = -1) {
    const auto address = reinterpret_cast<std::uintptr_t>(caller);
    if (address < image_begin || address >= image_end) return 0;
    auto* counts = counters.load(std::memory_order_acquire);
    const auto count = [counts](int index) {
        if (counts == nullptr || index == -1) return 0U;
        return counts[index].fetch_add(1, std::memory_order_relaxed) + 1;
    };
    const auto number = count(function);
    const auto number_of_command = count(command);
    for (const auto& rule : rules) {
        if (!is_meant(rule, function, number) && !is_meant(rule, command, number_of_command)) {
            continue;
        }
        const int saved = errno;
        if (!logged[&rule - rules].exchange(true)) log_fault(rule.target);
        errno = saved;
        return rule.error;
    }
    return 0;
}

template <class Result>
Result failed(int error) {
    errno = error;
    return static_cast<Result>(-1);
}
template <>
void* failed<void*>(int error) {
    errno = error;
    return nullptr;
}

}  // namespace

// The names are given to the linker only, since the C library's headers declare them already, each
// in its own way. Arguments that the C library takes as "..." come in the same registers.
#define TETHER_FAULT_DECLARE(result, name, ...)             \
    extern "C" __attribute__((visibility("default")))       \
    result tether_fault_##name(__VA_ARGS__) __asm__(#name); \
    extern "C" result tether_fault_##name(__VA_ARGS__)
#define TETHER_FAULT_NOW(name) fault_of(function::of_##name, __builtin_return_address(0))
#define TETHER_FAULT_REAL(result, name, parameters) \
    reinterpret_cast<result(*) parameters>(find_real(function::of_##name))

// Fails by -1 or a null pointer, and errno.
#define TETHER_FAULT_WRAP(result, name, parameters, arguments)                      \
    TETHER_FAULT_DECLARE(result, name, TETHER_FAULT_LIST parameters) {              \
        if (const int error = TETHER_FAULT_NOW(name)) return failed<result>(error); \
        return TETHER_FAULT_REAL(result, name, parameters) arguments;               \
    }
#define TETHER_FAULT_LIST(...) __VA_ARGS__

// The same, with the command among its arguments.
#define TETHER_FAULT_WRAP_COMMAND(result, name, parameters, arguments, command)              \
    TETHER_FAULT_DECLARE(result, name, TETHER_FAULT_LIST parameters) {                       \
        const int known = command_of(function::of_##name, static_cast<long>(command));       \
        const int error = fault_of(function::of_##name, __builtin_return_address(0), known); \
        if (error != 0) return failed<result>(error);                                        \
        return TETHER_FAULT_REAL(result, name, parameters) arguments;                        \
    }

// Fails by its result.
#define TETHER_FAULT_WRAP_RESULT(name, parameters, arguments)       \
    TETHER_FAULT_DECLARE(int, name, TETHER_FAULT_LIST parameters) { \
        if (const int error = TETHER_FAULT_NOW(name)) return error; \
        return TETHER_FAULT_REAL(int, name, parameters) arguments;  \
    }

TETHER_FAULT_WRAP(int, socket, (int a, int b, int c), (a, b, c))
TETHER_FAULT_WRAP(int, socketpair, (int a, int b, int c, int* d), (a, b, c, d))
TETHER_FAULT_WRAP(int, bind, (int a, const void* b, unsigned c), (a, b, c))
TETHER_FAULT_WRAP(int, listen, (int a, int b), (a, b))
TETHER_FAULT_WRAP(int, connect, (int a, const void* b, unsigned c), (a, b, c))
TETHER_FAULT_WRAP(int, accept, (int a, void* b, unsigned* c), (a, b, c))
TETHER_FAULT_WRAP(int, getsockname, (int a, void* b, unsigned* c), (a, b, c))
TETHER_FAULT_WRAP_COMMAND(int, getsockopt, (int a, int b, int c, void* d, unsigned* e),
                          (a, b, c, d, e), c)
TETHER_FAULT_WRAP_COMMAND(int, setsockopt, (int a, int b, int c, const void* d, unsigned e),
                          (a, b, c, d, e), c)
TETHER_FAULT_WRAP(int, shutdown, (int a, int b), (a, b))
TETHER_FAULT_WRAP(int, poll, (void* a, unsigned long b, int c), (a, b, c))
TETHER_FAULT_WRAP(int, ppoll, (void* a, unsigned long b, const void* c, const void* d),
                  (a, b, c, d))
TETHER_FAULT_WRAP(int, pselect, (int a, void* b, void* c, void* d, const void* e, const void* f),
                  (a, b, c, d, e, f))
TETHER_FAULT_WRAP(int, setrlimit, (int a, const void* b), (a, b))
TETHER_FAULT_WRAP(int, setpriority, (int a, unsigned b, int c), (a, b, c))
TETHER_FAULT_WRAP(int, getpriority, (int a, unsigned b), (a, b))
TETHER_FAULT_WRAP(int, sched_getaffinity, (int a, std::size_t b, void* c), (a, b, c))
TETHER_FAULT_WRAP(int, sched_setaffinity, (int a, std::size_t b, const void* c), (a, b, c))
TETHER_FAULT_WRAP(int, pipe, (int* a), (a))
TETHER_FAULT_WRAP(int, pipe2, (int* a, int b), (a, b))
TETHER_FAULT_WRAP_COMMAND(int, fcntl, (int a, int b, long c), (a, b, c), b)
TETHER_FAULT_WRAP_COMMAND(int, ioctl, (int a, unsigned long b, void* c), (a, b, c), b)
TETHER_FAULT_WRAP_COMMAND(int, open, (const char* a, int b, unsigned c), (a, b, c), place_of(a))
TETHER_FAULT_WRAP(int, fstat, (int a, void* b), (a, b))
TETHER_FAULT_WRAP(int, stat, (const char* a, void* b), (a, b))
TETHER_FAULT_WRAP(int, flock, (int a, int b), (a, b))
TETHER_FAULT_WRAP(int, mkdir, (const char* a, unsigned b), (a, b))
TETHER_FAULT_WRAP(int, rmdir, (const char* a), (a))
TETHER_FAULT_WRAP(int, unlink, (const char* a), (a))
TETHER_FAULT_WRAP(int, unlinkat, (int a, const char* b, int c), (a, b, c))
TETHER_FAULT_WRAP_COMMAND(void*, opendir, (const char* a), (a), place_of(a))
TETHER_FAULT_WRAP(void*, readdir, (void* a), (a))
TETHER_FAULT_WRAP_COMMAND(ssize_t, readlink, (const char* a, char* b, std::size_t c), (a, b, c),
                          place_of(a))
TETHER_FAULT_WRAP(void*, getcwd, (char* a, std::size_t b), (a, b))
TETHER_FAULT_WRAP(int, access, (const char* a, int b), (a, b))
TETHER_FAULT_WRAP_COMMAND(int, waitid, (int a, unsigned b, void* c, int d), (a, b, c, d), a)
TETHER_FAULT_WRAP(int, wait4, (int a, int* b, int c, void* d), (a, b, c, d))
TETHER_FAULT_WRAP(int, waitpid, (int a, int* b, int c), (a, b, c))
TETHER_FAULT_WRAP(int, kill, (int a, int b), (a, b))
TETHER_FAULT_WRAP_COMMAND(int, prctl, (int a, long b, long c, long d, long e), (a, b, c, d, e), a)
TETHER_FAULT_WRAP(int, sigaction, (int a, const void* b, void* c), (a, b, c))
TETHER_FAULT_WRAP(int, epoll_create1, (int a), (a))
TETHER_FAULT_WRAP(int, epoll_ctl, (int a, int b, int c, void* d), (a, b, c, d))
TETHER_FAULT_WRAP(int, epoll_wait, (int a, void* b, int c, int d), (a, b, c, d))
TETHER_FAULT_WRAP(int, eventfd, (unsigned a, int b), (a, b))
TETHER_FAULT_WRAP(int, timerfd_create, (int a, int b), (a, b))
TETHER_FAULT_WRAP(int, timerfd_settime, (int a, int b, const void* c, void* d), (a, b, c, d))

TETHER_FAULT_WRAP_RESULT(posix_spawn,
                         (int* a, const char* b, const void* c, const void* d, void* e, void* f),
                         (a, b, c, d, e, f))
TETHER_FAULT_WRAP_RESULT(posix_spawnattr_init, (void* a), (a))
TETHER_FAULT_WRAP_RESULT(posix_spawn_file_actions_init, (void* a), (a))
TETHER_FAULT_WRAP_RESULT(posix_spawn_file_actions_adddup2, (void* a, int b, int c), (a, b, c))
TETHER_FAULT_WRAP_RESULT(posix_spawn_file_actions_addclosefrom_np, (void* a, int b), (a, b))
TETHER_FAULT_WRAP_RESULT(posix_spawn_file_actions_addfchdir_np, (void* a, int b), (a, b))

// As the system does it: closed in any case.
TETHER_FAULT_DECLARE(int, close, int fd) {
    const int error = TETHER_FAULT_NOW(close);
    const int result = TETHER_FAULT_REAL(int, close, (int))(fd);
    return error != 0 ? failed<int>(error) : result;
}

// An interrupted sleep says how much is left: all of it.
TETHER_FAULT_DECLARE(int, nanosleep, const timespec* wanted, timespec* left) {
    if (const int error = TETHER_FAULT_NOW(nanosleep)) {
        if (left != nullptr) *left = *wanted;
        return failed<int>(error);
    }
    return TETHER_FAULT_REAL(int, nanosleep, (const timespec*, timespec*))(wanted, left);
}

// std::thread is in another library, whoever uses it.
TETHER_FAULT_DECLARE(int, pthread_create, void* a, const void* b, void* c, void* d) {
    const auto* program = reinterpret_cast<const void*>(image_begin);
    if (const int error = fault_of(function::of_pthread_create, program)) return error;
    return TETHER_FAULT_REAL(int, pthread_create, (void*, const void*, void*, void*))(a, b, c, d);
}

// --- What can be short

TETHER_FAULT_DECLARE(ssize_t, read, int fd, void* data, std::size_t size) {
    const int error = TETHER_FAULT_NOW(read);
    if (error > 0) return failed<ssize_t>(error);
    if (error == transfer_one_byte && size > 1) size = 1;
    return TETHER_FAULT_REAL(ssize_t, read, (int, void*, std::size_t))(fd, data, size);
}

TETHER_FAULT_DECLARE(ssize_t, write, int fd, const void* data, std::size_t size) {
    const int error = TETHER_FAULT_NOW(write);
    if (error > 0) return failed<ssize_t>(error);
    if (error == transfer_one_byte && size > 1) size = 1;
    return TETHER_FAULT_REAL(ssize_t, write, (int, const void*, std::size_t))(fd, data, size);
}

TETHER_FAULT_DECLARE(ssize_t, recv, int fd, void* data, std::size_t size, int flags) {
    const int error = TETHER_FAULT_NOW(recv);
    if (error > 0) return failed<ssize_t>(error);
    if (error == transfer_one_byte && size > 1) size = 1;
    return TETHER_FAULT_REAL(ssize_t, recv, (int, void*, std::size_t, int))(fd, data, size, flags);
}

namespace {

// The first byte of a gathered transfer.
struct OneByte {
    explicit OneByte(const msghdr& whole) : message(whole) {
        for (std::size_t i = 0; i < whole.msg_iovlen; ++i) {
            if (whole.msg_iov[i].iov_len == 0) continue;
            part = {whole.msg_iov[i].iov_base, 1};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            return;
        }
    }
    iovec part{};
    msghdr message;
};

}  // namespace

TETHER_FAULT_DECLARE(ssize_t, sendmsg, int fd, const msghdr* message, int flags) {
    const int error = TETHER_FAULT_NOW(sendmsg);
    if (error > 0) return failed<ssize_t>(error);
    const auto real = TETHER_FAULT_REAL(ssize_t, sendmsg, (int, const msghdr*, int));
    if (error == 0) return real(fd, message, flags);
    OneByte first{*message};
    return real(fd, &first.message, flags);
}

TETHER_FAULT_DECLARE(ssize_t, recvmsg, int fd, msghdr* message, int flags) {
    const int error = TETHER_FAULT_NOW(recvmsg);
    if (error > 0) return failed<ssize_t>(error);
    const auto real = TETHER_FAULT_REAL(ssize_t, recvmsg, (int, msghdr*, int));
    if (error == 0) return real(fd, message, flags);
    OneByte first{*message};
    return real(fd, &first.message, flags);
}

// --- What Tether asks for by number

namespace {

int index_of_call(long number) {
    switch (number) {
        case SYS_pidfd_open:
            return function::of_pidfd_open;
        case SYS_pidfd_send_signal:
            return function::of_pidfd_send_signal;
        case SYS_getdents64:
            return function::of_getdents64;
        case SYS_sched_getscheduler:
            return function::of_sched_getscheduler;
        case SYS_sched_getparam:
            return function::of_sched_getparam;
        case SYS_sched_setscheduler:
            return function::of_sched_setscheduler;
        case SYS_ioprio_get:
            return function::of_ioprio_get;
        case SYS_ioprio_set:
            return function::of_ioprio_set;
        default:
            return -1;
    }
}

}  // namespace

TETHER_FAULT_DECLARE(long, syscall, long number, long a, long b, long c, long d, long e, long f) {
    using Real = long (*)(long, long, long, long, long, long, long);
    const int index = index_of_call(number);
    if (index != -1) {
        if (const int error = fault_of(index, __builtin_return_address(0))) {
            return failed<long>(error);
        }
    }
    auto* real = real_syscall.load(std::memory_order_relaxed);
    if (real == nullptr) real = dlsym(RTLD_NEXT, "syscall");
    return reinterpret_cast<Real>(real)(number, a, b, c, d, e, f);
}
