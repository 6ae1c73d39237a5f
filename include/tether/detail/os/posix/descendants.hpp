// Why: a parent ends what its worker has started, however the worker ended. While the worker lives,
// its descendants are found below it. Once it has ended they are orphans, adopted by the parent or
// one of its ancestors. There they are known by the worker's session, or by a mark in their
// environment, which survives fork, exec and setsid.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/pidfd.hpp>
#include <tether/detail/os/posix/poll.hpp>
#include <tether/detail/os/posix/process_tree.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>
#include <unistd.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// What a worker starts, as its parent knows it.
struct Family {
    static constexpr const char* variable = "TETHER_FAMILY";

    std::string mark{};  // the value of that variable, which no other worker has; empty: none
    bool spares_sessions = false;  // those in a session of their own are not ended
};

#if TETHER_HAS_PROC_CHILDREN

inline std::string read_proc_file(::pid_t pid, std::string_view name) {
    ProcPath path;
    path << "/proc/" << pid << "/" << name;
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    std::string content;
    std::array<char, std::size_t{16} * 1024> bytes;
    for (;;) {
        const auto size = retry([&] { return ::read(file.get(), bytes.data(), bytes.size()); });
        if (size <= 0) return content;
        content.append(bytes.data(), static_cast<std::size_t>(size));
    }
}

// A number in /proc/<pid>/stat, by its place as in proc(5), from the fourth on. Nothing if the
// process is not visible or the system does not tell.
inline std::optional<long long> stat_field(::pid_t pid, int field) {
    const auto stat = read_proc_file(pid, "stat");
    auto at = stat.rfind(')');  // of the second, a name that may contain anything
    for (int next = 3; next <= field && at != stat.npos; ++next) at = stat.find(' ', at + 1);
    if (at == stat.npos) return std::nullopt;
    long long value = 0;
    std::from_chars(stat.data() + at + 1, stat.data() + stat.size(), value);
    return value;
}

inline ::pid_t parent_of(::pid_t pid) {
    return static_cast<::pid_t>(stat_field(pid, 4).value_or(0));
}

// When the process started, on the kernel's clock.
inline std::optional<long long> start_of(::pid_t pid) { return stat_field(pid, 22); }

// Ends the descendants of one worker, by pidfd. A second look makes sure that the pidfd refers to
// the process that was listed. Takes at most two seconds; what is left then lives on.
class DescendantKiller {
public:
    DescendantKiller(::pid_t worker, const Family& family) noexcept
        : worker_(worker), family_(family) {}

    // The worker is stopped and a subreaper. It reaps no child, so numbers stay with their
    // processes, and it adopts the children of those that end. False: the system does not list its
    // children.
    bool end_below_worker() noexcept {
        if (!for_each_child(worker_, [](::pid_t) {})) return false;
        try {
            while (end_children_of(worker_, &DescendantKiller::shall_end)) {
            }
        } catch (...) {  // no memory: the process group is killed all the same
        }
        return true;
    }

    // The worker has ended. `unreaped`: its number is still its own.
    void end_orphans(bool unreaped) noexcept {
        unreaped_ = unreaped;
        try {
            if (unreaped) worker_start_ = start_of(worker_);
            const auto ancestors = own_ancestors();
            for (bool found = true; std::exchange(found, false);) {
                for (const auto ancestor : ancestors) {
                    found = end_children_of(ancestor, &DescendantKiller::is_orphan) || found;
                }
            }
        } catch (...) {  // no memory: the process group is killed all the same
        }
    }

private:
    using Whether = bool (DescendantKiller::*)(::pid_t) const;
    static constexpr int deepest = 16;

    // For a child of the worker, or of a process that is being ended.
    [[nodiscard]] bool shall_end(::pid_t child) const {
        return !family_.spares_sessions || ::getsid(child) == worker_;
    }

    // For a child of this process or of an ancestor.
    [[nodiscard]] bool is_orphan(::pid_t child) const {
        const bool in_session = ::getsid(child) == worker_;
        if (in_session && unreaped_) return child != worker_;
        const auto start = start_of(child);
        if (start && worker_start_ && *start < *worker_start_) return false;
        return (in_session || !family_.spares_sessions) && is_marked(child);
    }

    // False as well for a process of another user, which this one may not look into.
    [[nodiscard]] bool is_marked(::pid_t pid) const {
        if (family_.mark.empty()) return false;
        const auto entry = std::string{Family::variable} + "=" + family_.mark + '\0';
        return read_proc_file(pid, "environ").find(entry) != std::string::npos;
    }

    // This process, then its ancestors: each may have adopted orphans of the worker.
    static std::vector<::pid_t> own_ancestors() {
        std::vector<::pid_t> ancestors;
        for (auto pid = ::getpid(); pid > 0 && ancestors.size() < 64; pid = parent_of(pid)) {
            ancestors.push_back(pid);
        }
        return ancestors;
    }

    static std::vector<::pid_t> children_of(::pid_t parent) noexcept {
        std::vector<::pid_t> children;
        for_each_child(parent, [&](::pid_t pid) {
            try {
                children.push_back(pid);
            } catch (...) {  // no memory: those found so far
            }
        });
        return children;
    }

    static bool is_child_of(::pid_t child, ::pid_t parent) noexcept {
        bool found = false;
        for_each_child(parent, [&](::pid_t pid) { found = found || pid == child; });
        return found;
    }

    // Ends each process once. False: none was left, or the time is over.
    bool end_children_of(::pid_t parent, Whether wanted) {
        bool found = false;
        for (const auto child : children_of(parent)) {
            if (clock_.now() >= last_deadline_) return false;
            if (std::find(known_.begin(), known_.end(), child) != known_.end()) continue;
            if (!(this->*wanted)(child)) continue;
            known_.push_back(child);
            found = true;
            end_child_of(parent, child, wanted, 0);
        }
        return found;
    }

    // Ends its own children first: without subreapers they would go to process 1. Returns once an
    // ancestor has adopted the rest of them.
    void end_child_of(::pid_t parent, ::pid_t child, Whether wanted, int depth) {
        const auto handle = open_pidfd(child);
        if (!is_child_of(child, parent) || !(this->*wanted)(child)) return;
        const auto send = [&](int number) {
            if (handle && signal_pidfd(handle.get(), number) == 0) return true;
            // A filter of system calls may know no pidfd.
            return !(handle && errno == ESRCH) && ::kill(child, number) == 0;
        };
        if (!send(SIGSTOP)) return;
        for (const auto grandchild : children_of(child)) {
            if (depth == deepest || !shall_end(grandchild)) continue;
            end_child_of(child, grandchild, &DescendantKiller::shall_end, depth + 1);
        }
        send(SIGKILL);
        const auto left = [&, now = clock_.now()] { return std::max(deadline_, now) - now; }();
        PollItem item = readable(handle.get());
        const int ready = handle ? wait_ready({&item, 1}, deadline_after(Clock::now(), left)) : -1;
        if (ready == 0) clock_.slept(left);
        if (ready >= 0) return;
        while (!children_of(child).empty() && clock_.now() < deadline_) {
            nap(std::chrono::milliseconds{1});
        }
    }

    const ::pid_t worker_;
    const Family& family_;
    bool unreaped_ = false;
    // Most unrelated processes are older, so their environment is not read. Reading it may block as
    // long as that process hangs in the kernel.
    std::optional<long long> worker_start_{};
    std::vector<::pid_t> known_;
    WaitClock clock_;
    // The first bounds the waits for a process to end, which may hang in the kernel; the second,
    // all the rest.
    const TimePoint deadline_ = deadline_after(clock_.now(), std::chrono::seconds{1});
    const TimePoint last_deadline_ = deadline_after(deadline_, std::chrono::seconds{1});
};

#else

class DescendantKiller {
public:
    DescendantKiller(::pid_t, const Family&) noexcept {}
    bool end_below_worker() noexcept { return false; }
    void end_orphans(bool) noexcept {}
};

#endif

}  // namespace detail
TETHER_NAMESPACE_END
