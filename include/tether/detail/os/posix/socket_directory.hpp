// Why: a socket with a path needs a directory that only this user can enter and that no other user
// can have prepared. It is gone a moment later; if this process is killed in that moment, the next
// start removes it.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include <dirent.h>
#include <sys/file.h>
#include <sys/stat.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

inline std::string random_hex(std::size_t digits) {
    std::random_device random;
    std::string text;
    for (std::size_t i = 0; i < digits; ++i) text += "0123456789abcdef"[random() & 15U];
    return text;
}

// A new directory of mode 0700 with 128 random bits in its name, locked while it is in use, and
// removed at the end with the socket in it. Also removes directories that a killed process has
// left.
class SocketDirectory {
public:
    SocketDirectory() {
        std::string refused;
        int error = 0;
        for (const auto& base : bases()) {
            // First of all: a host that is killed at this point again and again must not pile them
            // up.
            remove_abandoned(base);
            for (int attempt = 0; attempt < 64; ++attempt) {
                error = create_in(base);
                if (error == 0) return;
                if (error != EEXIST && error != ESTALE) break;
            }
            refused += (refused.empty() ? "" : ", ") + base;
        }
        throw std::system_error(error, std::system_category(), "create a directory in " + refused);
    }
    SocketDirectory(const SocketDirectory&) = delete;
    SocketDirectory& operator=(const SocketDirectory&) = delete;

    // A path to the socket that fits into `limit` bytes, however long the directory's is.
    [[nodiscard]] std::string socket_path(std::size_t limit) const {
        auto path = made_.path() + "/" + socket_name;
        if (path.size() < limit) return path;
        return "/proc/self/fd/" + std::to_string(directory_.get()) + "/" + socket_name;
    }

private:
    static constexpr const char* socket_name = "s";
    static constexpr std::string_view prefix = "tether-";

    static std::array<std::string, 3> bases() {
        const auto variable = [](const char* name) {
            const char* value = std::getenv(name);
            return std::string{value != nullptr ? value : ""};
        };
        return {variable("XDG_RUNTIME_DIR"), variable("TMPDIR"), "/tmp"};
    }

    static bool is_absolute(std::string_view path) noexcept { return path.starts_with('/'); }

    // A directory that this process made. The destructor removes it.
    class Made {
    public:
        Made() = default;
        explicit Made(std::string path) : path_(std::move(path)) {}
        Made(Made&& other) noexcept : path_(std::exchange(other.path_, {})) {}
        Made& operator=(Made&& other) noexcept {
            std::swap(path_, other.path_);
            return *this;
        }
        ~Made() {
            if (path_.empty()) return;
            ::unlink((path_ + "/" + socket_name).c_str());
            ::rmdir(path_.c_str());
        }
        [[nodiscard]] const std::string& path() const noexcept { return path_; }

    private:
        std::string path_;
    };

    // Takes the lock. ESTALE: the directory was removed, or locked by a cleaner, right before.
    static int lock(int fd) noexcept {
        struct ::stat status {};
        if (::flock(fd, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? ESTALE : errno;
        if (::fstat(fd, &status) != 0) return errno;
        return status.st_nlink != 0 ? 0 : ESTALE;
    }

    // 0, or the error number; ESTALE if another start took the directory for abandoned before it
    // was locked.
    int create_in(const std::string& base) {
        if (!is_absolute(base)) return ENOENT;
        const auto path = base + "/" + std::string{prefix} + random_hex(32);
        if (::mkdir(path.c_str(), 0700) != 0) return errno;
        Made made{path};
        const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd == -1 && errno == ENOENT) return ESTALE;
        auto directory = Descriptor::adopt(fd, "open " + path);
        if (const int error = lock(directory.get()); error != 0) return error;
        made_ = std::move(made);
        directory_ = std::move(directory);
        return 0;
    }

    static void remove_abandoned(const std::string& base) {
        if (!is_absolute(base)) return;
        const std::unique_ptr<::DIR, int (*)(::DIR*)> listing{::opendir(base.c_str()), ::closedir};
        if (listing == nullptr) return;
        while (const auto* entry = ::readdir(listing.get())) {
            const std::string_view name{entry->d_name};
            if (name.size() != prefix.size() + 32 || !name.starts_with(prefix)) continue;
            remove_if_abandoned(base + "/" + entry->d_name);
        }
    }

    static void remove_if_abandoned(const std::string& path) {
        const Descriptor directory{
            ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        struct ::stat status {};
        if (!directory || ::fstat(directory.get(), &status) != 0) return;
        if (status.st_uid != ::geteuid() || lock(directory.get()) != 0) return;
        ::unlinkat(directory.get(), socket_name, 0);
        ::rmdir(path.c_str());
    }

    Made made_;
    Descriptor directory_;
};

}  // namespace detail
TETHER_NAMESPACE_END
