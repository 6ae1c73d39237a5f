// Why: what a worker writes into memory that its parent shares survives the worker, whatever ended
// it, and costs no system call.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>

#include <cstddef>
#include <utility>

#include <sys/mman.h>
#include <sys/stat.h>
#if !defined(MFD_CLOEXEC) || defined(TETHER_FORCE_PORTABLE)
#include <array>
#include <atomic>
#include <cstdio>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// Memory of zeros, without a name, shared by the processes that hold the descriptor. None if the
// system refuses it.
inline Descriptor make_shared_memory(std::size_t size) noexcept {
#if defined(MFD_CLOEXEC) && !defined(TETHER_FORCE_PORTABLE)
    Descriptor memory{::memfd_create("tether", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
#else
    static std::atomic<unsigned> last{0};
    std::array<char, 64> name;
    std::snprintf(name.data(), name.size(), "/tether-%ld-%u", static_cast<long>(::getpid()),
                  ++last);
    Descriptor memory{::shm_open(name.data(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (memory) ::shm_unlink(name.data());
#endif
    if (!memory) return {};
    if (retry([&] { return ::ftruncate(memory.get(), static_cast<::off_t>(size)); }) != 0) {
        return {};
    }
#if defined(F_ADD_SEALS) && !defined(TETHER_FORCE_PORTABLE)
    // If one process shrank it, the other would be killed at its next access.
    ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
#endif
    const int high = ::fcntl(memory.get(), F_DUPFD_CLOEXEC, Descriptor::lowest);
    return Descriptor{high};
}

// Whether an inherited descriptor is such memory, rather than a file that took its number.
inline bool is_shared_memory(int fd, std::size_t size) noexcept {
    struct ::stat status {};
    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 0 &&
           status.st_size == static_cast<::off_t>(size);
}

// Such memory in this process' address space. The descriptor need not stay open.
class SharedMemory {
public:
    SharedMemory() noexcept = default;
    SharedMemory(int fd, std::size_t size) noexcept : size_(size) {
        if (fd == -1) return;
        void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (data != MAP_FAILED) data_ = data;
    }
    SharedMemory(SharedMemory&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
    SharedMemory& operator=(SharedMemory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~SharedMemory() {
        if (data_ != nullptr) ::munmap(data_, size_);
    }

    // Null if there is none.
    [[nodiscard]] void* data() const noexcept { return data_; }

private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace detail
TETHER_NAMESPACE_END
