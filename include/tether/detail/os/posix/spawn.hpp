// Why: one recipe for starting a child, chosen so that its cost does not grow with the parent's
// memory, that it inherits exactly what it should, and that every failure names its step.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/executable.hpp>
#include <tether/detail/os/posix/features.hpp>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <dirent.h>
#include <spawn.h>
#include <sys/types.h>

extern char** environ;  // POSIX has no header for it

TETHER_NAMESPACE_BEGIN
namespace detail {

struct SpawnPlan {
    std::string program{};                 // an absolute path
    std::vector<std::string> arguments{};  // with the program's name
    std::vector<std::string> environment{};
    std::string working_directory{};  // empty: inherited
    std::vector<int> descriptors{};   // become 0, 1, 2, ... of the child; all at 10 or above
};

inline std::vector<std::string> changed_environment(
    const std::map<std::string, std::optional<std::string>>& changes) {
    std::vector<std::string> result;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const std::string name{text.substr(0, text.find('='))};
        if (!changes.contains(name)) result.emplace_back(text);
    }
    for (const auto& [name, value] : changes) {
        if (value) result.push_back(name + "=" + *value);
    }
    return result;
}

inline void check_spawn(int error, const std::string& step) {
    if (error != 0) throw std::system_error(error, std::system_category(), step);
}

class SpawnAttributes {
public:
    SpawnAttributes() {
        check_spawn(::posix_spawnattr_init(&attributes_), "posix_spawnattr_init");
        ::sigset_t none;
        ::sigset_t all;
        ::sigemptyset(&none);
        ::sigfillset(&all);
        ::sigdelset(&all, SIGKILL);
        ::sigdelset(&all, SIGSTOP);
        ::posix_spawnattr_setsigmask(&attributes_, &none);
        ::posix_spawnattr_setsigdefault(&attributes_, &all);
        // A session of its own is a group of its own too; asking for both gives EPERM.
        ::posix_spawnattr_setflags(&attributes_,
                                   static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                      POSIX_SPAWN_SETSIGDEF));
    }
    SpawnAttributes(const SpawnAttributes&) = delete;
    SpawnAttributes& operator=(const SpawnAttributes&) = delete;
    ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
    [[nodiscard]] const ::posix_spawnattr_t* get() const noexcept { return &attributes_; }

private:
    ::posix_spawnattr_t attributes_;
};

// The descriptors of this process from `lowest` on that a child would inherit.
inline std::vector<int> inheritable_from(int lowest) {
#if defined(__linux__)
    const char* const list = "/proc/self/fd";
#else
    const char* const list = "/dev/fd";
#endif
    std::vector<int> result;
    const std::unique_ptr<::DIR, int (*)(::DIR*)> listing{::opendir(list), ::closedir};
    if (listing == nullptr) throw_last_error("open " + std::string{list});
    while (const auto* entry = ::readdir(listing.get())) {
        const int fd = std::atoi(entry->d_name);
        if (fd < lowest || fd == ::dirfd(listing.get())) continue;
        const int flags = ::fcntl(fd, F_GETFD);
        if (flags != -1 && (flags & FD_CLOEXEC) == 0) result.push_back(fd);
    }
    return result;
}

class SpawnActions {
public:
    SpawnActions() { check_spawn(::posix_spawn_file_actions_init(&actions_), "file_actions_init"); }
    SpawnActions(const SpawnActions&) = delete;
    SpawnActions& operator=(const SpawnActions&) = delete;
    ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }
    [[nodiscard]] const ::posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

    void change_directory(const std::string& path, [[maybe_unused]] int fd) {
#if TETHER_HAS_SPAWN_CLOSEFROM
        static_cast<void>(path);
        check_spawn(::posix_spawn_file_actions_addfchdir_np(&actions_, fd), "addfchdir");
#else
        check_spawn(::posix_spawn_file_actions_addchdir_np(&actions_, path.c_str()), "addchdir");
#endif
    }

    // The child has exactly these as 0, 1, 2, ...; where closefrom is missing, also what another
    // thread makes inheritable at this very moment.
    void give(std::span<const int> descriptors) {
        int target = 0;
        for (const int fd : descriptors) {
            check_spawn(::posix_spawn_file_actions_adddup2(&actions_, fd, target++), "adddup2");
        }
#if TETHER_HAS_SPAWN_CLOSEFROM
        check_spawn(::posix_spawn_file_actions_addclosefrom_np(&actions_, target), "addclosefrom");
#else
        for (const int fd : inheritable_from(target)) {
            const int error = ::posix_spawn_file_actions_addclose(&actions_, fd);
            // A number above the limit of descriptors, which was lowered after it was opened, stays
            // open.
            if (error != EBADF) check_spawn(error, "addclose");
        }
#endif
    }

private:
    ::posix_spawn_file_actions_t actions_;
};

inline std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (const auto& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
    pointers.push_back(nullptr);
    return pointers;
}

#if defined(O_PATH)
inline constexpr int look_only = O_PATH | O_CLOEXEC;
#else
inline constexpr int look_only = O_RDONLY | O_CLOEXEC;
#endif

// Starts the child in a session of its own. Throws a std::system_error that names the step.
inline ::pid_t spawn(const SpawnPlan& plan) {
    SpawnActions actions;
    Descriptor directory;
    if (!plan.working_directory.empty()) {
        const auto step = "open the working directory " + plan.working_directory;
        directory = Descriptor::adopt(
            ::open(plan.working_directory.c_str(), look_only | O_DIRECTORY), step);
        actions.change_directory(plan.working_directory, directory.get());
    }
    // A missing program and a missing directory give the same error later: look at both now.
    const Descriptor program = Descriptor::adopt(::open(plan.program.c_str(), look_only),
                                                 "open the program " + plan.program);
    actions.give(plan.descriptors);

    const SpawnAttributes attributes;
    const auto arguments = pointers_to(plan.arguments);
    const auto environment = pointers_to(plan.environment);
    ::pid_t pid = -1;
    const int error = ::posix_spawn(&pid, plan.program.c_str(), actions.get(), attributes.get(),
                                    arguments.data(), environment.data());
    if (error != 0) check_spawn(error, "execute " + describe_program(plan.program, error));
    return pid;
}

}  // namespace detail
TETHER_NAMESPACE_END
