// Why: several processes write one trace, any of them may be killed at any moment, and what is left
// must be valid JSON. So the file ends in "\n]" between two writes: each replaces these two bytes
// by its events and the same two bytes, in one system call, under a lock that the kernel releases
// when its owner dies. A kill that the kernel lets cut such a write in two, where it crosses a
// page, is mended by the next writer, and there is one: the other process tells how this one ended.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/trace_event.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/executable.hpp>
#include <tether/detail/os/posix/poll.hpp>
#include <tether/detail/os/posix/self.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// A trace. Opened anew for each write: the host may close all its descriptors, and a forked copy
// would share the lock of one that stays open.
class TraceFile {
public:
    // That of this process for a path. Never destroyed. Makes the file, and throws a
    // std::system_error where that cannot be a trace.
    static const TraceFile& of(const std::string& path) {
        const auto whole = path.starts_with('/') ? path : current_directory() + '/' + path;
        static std::atomic<const TraceFile*> newest{nullptr};
        for (const auto* file = newest.load(); file != nullptr; file = file->before_) {
            if (file->path_ == whole) return *file;
        }
        std::unique_ptr<TraceFile> file{new TraceFile{whole}};
        file->make();
        file->before_ = newest.load();
        while (!newest.compare_exchange_weak(file->before_, file.get())) {
        }
        return *file.release();
    }

    TraceFile(const TraceFile&) = delete;
    TraceFile& operator=(const TraceFile&) = delete;

    // From the root.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    // Loses them where the file cannot be written to now.
    void add(std::initializer_list<TraceEvent> events) const {
        const Uncancelled uncancelled;
        const auto process = static_cast<std::int64_t>(own_process_number());
        const auto thread = own_thread_number();
        std::string lines;
        if (std::exchange(introduced(), this) != this) {
            append(lines, TraceEvent{TracePhase::description, "process", "thread_name"}
                              .with("name", name_of_this_thread())
                              .text(process, thread));
        }
        for (const auto& event : events) append(lines, event.text(process, thread));
        write(lines);
    }

    // What a process that was killed may have left of a write. Allocates nothing.
    void mend() const noexcept {
        const Locked file{path_.c_str()};
        if (file) static_cast<void>(end_of_events(file.fd()));
    }

private:
    explicit TraceFile(std::string path) : path_(std::move(path)) {}

    // To write is a cancellation point, and a thread must not be unwound from here.
    class Uncancelled {
    public:
        Uncancelled() noexcept { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
        Uncancelled(const Uncancelled&) = delete;
        Uncancelled& operator=(const Uncancelled&) = delete;
        ~Uncancelled() { ::pthread_setcancelstate(before_, nullptr); }

    private:
        int before_ = PTHREAD_CANCEL_ENABLE;
    };

    // The file, locked by this thread. A process that is stopped may hold the lock for ever, and
    // then the others go on without: the first waits for it, the next only look.
    class Locked {
    public:
        explicit Locked(const char* path) noexcept : file_(open_high(path, O_RDWR)) {
            constexpr int most_rounds = 1000;  // of 100 us at least
            for (int round = 0; file_ && ::flock(file_.get(), LOCK_EX | LOCK_NB) != 0; ++round) {
                const bool busy = errno == EWOULDBLOCK || errno == EINTR;
                if (!busy || held_up() || round == most_rounds) {
                    held_up() = busy;
                    file_.reset();
                    return;
                }
                nap(std::chrono::microseconds{50});
            }
            held_up() = false;
        }

        [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(file_); }
        [[nodiscard]] int fd() const noexcept { return file_.get(); }

    private:
        static std::atomic<bool>& held_up() noexcept {
            static std::atomic<bool> last{false};
            return last;
        }

        Descriptor file_;
    };

    static Descriptor open_high(const char* path, int flags) noexcept {
        const int fd = retry([&] { return ::open(path, flags | O_CLOEXEC | O_NOCTTY, 0600); });
        if (fd == -1) return {};
        const int high = Descriptor::copy_high(fd);
        if (high != -1) ::close(fd);
        return Descriptor::known(high != -1 ? high : fd);
    }

    // Which trace knows the name of this thread.
    static const TraceFile*& introduced() noexcept {
        static thread_local const TraceFile* file = nullptr;
        return file;
    }

    static void append(std::string& lines, const std::string& line) {
        if (!lines.empty()) lines += ",\n";
        lines += line;
    }

    static bool write_at(int fd, std::string_view text, ::off_t at) noexcept {
        const auto size = retry([&] { return ::pwrite(fd, text.data(), text.size(), at); });
        return size == static_cast<::ssize_t>(text.size());
    }

    // It appears as a whole, because an empty file is not valid.
    void make() const {
        if (::access(path_.c_str(), F_OK) != 0) make_whole();
        if (!open_high(path_.c_str(), O_RDWR | O_CREAT)) throw_last_error("open " + path_);
        const Locked file{path_.c_str()};
        if (!file) return;  // another process that writes it is stopped
        struct ::stat status {};
        const bool regular = ::fstat(file.fd(), &status) == 0 && S_ISREG(status.st_mode);
        if (regular && status.st_size == 0) static_cast<void>(write_at(file.fd(), empty, 0));
        if (regular && end_of_events(file.fd())) return;
        throw std::system_error(EEXIST, std::system_category(), path_ + " is no trace");
    }

    void make_whole() const noexcept {
#if defined(O_TMPFILE)
        try {
            const auto folder = path_.substr(0, path_.rfind('/') + 1);
            const auto file = open_high(folder.c_str(), O_RDWR | O_TMPFILE);
            if (!file || !write_at(file.get(), empty, 0)) return;
            const auto fresh = "/proc/self/fd/" + std::to_string(file.get());
            ::linkat(AT_FDCWD, fresh.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW);
        } catch (const std::bad_alloc&) {
        }
#endif
    }

    void write(const std::string& lines) const {
        const Locked file{path_.c_str()};
        if (!file) return;
        const auto end = end_of_events(file.fd());
        if (!end) return;
        const auto text = (*end == 1 ? "\n" : ",\n") + lines + std::string{closing};
        if (!may_grow_to(*end + static_cast<::off_t>(text.size()))) return;
        if (write_at(file.fd(), text, *end)) return;
        static_cast<void>(close_at(file.fd(), *end));  // the disk is full
    }

    // Beyond that limit the kernel sends a signal that ends the process.
    static bool may_grow_to(::off_t size) noexcept {
        ::rlimit limit{};
        return ::getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
               static_cast<std::uintmax_t>(size) <= static_cast<std::uintmax_t>(limit.rlim_cur);
    }

    // Where the closing bracket stands. Nothing: this is no trace.
    static std::optional<::off_t> end_of_events(int fd) noexcept {
        constexpr ::off_t least = empty.size();
        struct ::stat status {};
        std::array<char, 2> head{};
        std::array<char, 2> tail{};
        if (::fstat(fd, &status) != 0 || status.st_size < least - 1) return std::nullopt;
        const auto end = status.st_size - 2;
        if (::pread(fd, head.data(), 2, 0) != 2 || ::pread(fd, tail.data(), 2, end) != 2 ||
            std::string_view{head.data(), 2} != empty.substr(0, 2)) {
            return std::nullopt;
        }
        if (std::string_view{tail.data(), 2} == closing) return end;
        return mended(fd, status.st_size);
    }

    // A write was cut: the last line goes, whole or not. Each event is a line, with a comma before
    // it.
    static std::optional<::off_t> mended(int fd, ::off_t size) noexcept {
        std::array<char, 32768> last;
        const auto from = std::max<::off_t>(0, size - static_cast<::off_t>(last.size()));
        const auto read = ::pread(fd, last.data(), last.size(), from);
        if (read != size - from) return std::nullopt;
        const std::string_view text{last.data(), static_cast<std::size_t>(read)};
        const auto comma = text.rfind(",\n");
        if (comma == text.npos && from != 0) return std::nullopt;
        const auto end = comma == text.npos ? 1 : from + static_cast<::off_t>(comma);
        return close_at(fd, end) ? std::optional{end} : std::nullopt;
    }

    static bool close_at(int fd, ::off_t end) noexcept {
        const auto size = end + static_cast<::off_t>(closing.size());
        return write_at(fd, closing, end) && ::ftruncate(fd, size) == 0;
    }

    static constexpr std::string_view empty = "[\n]";
    static constexpr std::string_view closing = "\n]";

    std::string path_;
    const TraceFile* before_ = nullptr;
};

}  // namespace detail
TETHER_NAMESPACE_END
