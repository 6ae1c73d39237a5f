// Why: a worker reaches descendants in sessions of their own only through the kernel's lists of
// children. Its guard walks these while any lock may be held for ever, so nothing here allocates.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/features.hpp>
#include <tether/detail/os/posix/poll.hpp>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <string_view>

#include <sys/types.h>
#include <sys/wait.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// Otherwise only a worker's process group can be killed, the worker included. Even so the system
// may refuse to list children (no /proc, or one that hides processes): the functions below say so.
inline constexpr bool finds_descendants = TETHER_HAS_PROC_CHILDREN != 0;

#if TETHER_HAS_PROC_CHILDREN

// A path below /proc, put together on the stack.
class ProcPath {
public:
    ProcPath& operator<<(std::string_view text) noexcept {
        const auto size = std::min(text.size(), bytes_.size() - 1 - size_);
        std::memcpy(bytes_.data() + size_, text.data(), size);
        size_ += size;
        return *this;
    }
    ProcPath& operator<<(long number) noexcept {
        std::array<char, 24> digits;
        const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
        return *this << std::string_view{digits.data(),
                                         static_cast<std::size_t>(end - digits.data())};
    }
    [[nodiscard]] const char* c_str() const noexcept { return bytes_.data(); }

private:
    std::array<char, 96> bytes_{};
    std::size_t size_ = 0;
};

// Calls visit(number) for each number in a file of numbers and spaces. False: it cannot be opened.
template <class Visit>
bool for_each_number_in(const char* path, Visit visit) noexcept {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) return false;
    std::array<char, 4096> bytes;
    long number = 0;
    for (;;) {
        const auto size = retry([&] { return ::read(fd, bytes.data(), bytes.size()); });
        if (size <= 0) break;
        for (const char c : std::string_view{bytes.data(), static_cast<std::size_t>(size)}) {
            if (c >= '0' && c <= '9') {
                number = number * 10 + (c - '0');
            } else if (number != 0) {
                visit(static_cast<::pid_t>(number));
                number = 0;
            }
        }
    }
    if (number != 0) visit(static_cast<::pid_t>(number));
    ::close(fd);
    return true;
}

// Calls visit(pid) for each child of `parent`, whichever of its threads started it. False: the
// system does not tell.
template <class Visit>
bool for_each_child(::pid_t parent, Visit visit) noexcept {
    struct Entry {  // linux_dirent64
        std::uint64_t inode;
        std::int64_t offset;
        std::uint16_t length;
        std::uint8_t type;
        char name[1];
    };
    ProcPath tasks;
    tasks << "/proc/" << parent << "/task";
    const int fd = ::open(tasks.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1) return false;
    bool told = false;
    alignas(8) std::array<char, 2048> bytes;
    for (;;) {
        const auto size = ::syscall(SYS_getdents64, fd, bytes.data(), bytes.size());
        if (size <= 0) break;
        for (long at = 0; at < size;) {
            const char* entry = bytes.data() + at;
            std::uint16_t length = 0;
            std::memcpy(&length, entry + offsetof(Entry, length), sizeof length);
            const std::string_view task{entry + offsetof(Entry, name)};
            at += length;
            if (task.front() == '.') continue;
            ProcPath children;
            children << "/proc/" << parent << "/task/" << task << "/children";
            told = for_each_number_in(children.c_str(), visit) || told;
        }
    }
    ::close(fd);
    return told;
}

// In a worker: whether descendants in a session of their own are left alone, see Descendants.
class SparedSessions {
public:
    static void spare() noexcept { flag().store(true); }
    [[nodiscard]] static bool include(::pid_t pid) noexcept {
        return flag().load() && ::getsid(pid) != ::getsid(0);
    }

private:
    static std::atomic<bool>& flag() noexcept {
        static constinit std::atomic<bool> spared{false};
        return spared;
    }
};

// In a worker: stops `parent`, a descendant of this process, and kills its children, theirs first.
// Without subreapers they would otherwise go to process 1.
inline void kill_below(::pid_t parent, int depth = 0) noexcept {
    ::kill(parent, SIGSTOP);
    for_each_child(parent, [&](::pid_t child) {
        if (SparedSessions::include(child)) return;
        if (depth < 8) kill_below(child, depth + 1);
        ::kill(child, SIGKILL);
    });
}

// In a worker, which is a subreaper: kills its descendants. The worker adopts the children of a
// child that dies, perhaps after the list was read, so this repeats until there is none to reap or
// to kill. Bounded, because a process that hangs in the kernel may never die. False: they cannot be
// found, or some are left.
inline bool kill_descendants() noexcept {
    for (int round = 0; round < 2000; ++round) {
        bool reaped = false;
        bool killed = false;
        const bool told = for_each_child(::getpid(), [&](::pid_t child) {
            if (::waitpid(child, nullptr, WNOHANG) == child) {
                reaped = true;
                return;
            }
            if (SparedSessions::include(child)) return;
            kill_below(child);
            if (::kill(child, SIGKILL) == 0) {
                killed = true;
            }
        });
        if (!told) return false;
        if (!reaped && !killed) return true;
        if (!reaped) nap(std::chrono::milliseconds{1});
    }
    return false;
}

#else

class SparedSessions {
public:
    static void spare() noexcept {}
};

inline bool kill_descendants() noexcept { return false; }

#endif

}  // namespace detail
TETHER_NAMESPACE_END
