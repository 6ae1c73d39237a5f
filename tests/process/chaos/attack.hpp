#pragma once

// What is done to a worker from outside: signals, and strangers at its door.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "process/chaos/plan.hpp"
#include "process/support/processes.hpp"

namespace tether_test::chaos {

class OwnedFd {
public:
    explicit OwnedFd(int fd = -1) noexcept : fd_(fd) {}
    OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~OwnedFd() {
        if (fd_ != -1) ::close(fd_);
    }
    explicit operator bool() const noexcept { return fd_ != -1; }
    [[nodiscard]] int get() const noexcept { return fd_; }

private:
    int fd_;
};

/// The number of its parent; 0 when it is gone.
[[nodiscard]] inline std::int64_t parent_of(std::int64_t pid) {
    const OwnedFd fd{
        ::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC)};
    char text[512] = {};
    // A file stream would throw when the process ends between the two.
    if (!fd || ::read(fd.get(), text, sizeof text - 1) <= 0) return 0;
    const auto* name_end = std::strrchr(text, ')');
    char state = 0;
    long parent = 0;
    const bool found =
        name_end != nullptr && std::sscanf(name_end, ") %c %ld", &state, &parent) == 2;
    return found ? parent : 0;
}

/// A child of this process, and never another that got its number.
class Victim {
public:
    explicit Victim(std::int64_t pid)
        : pidfd_(pid == 0 ? -1 : static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
        // Whoever has the number by now: signals go to the one of the pidfd, or to nobody.
        if (parent_of(pid) != ::getpid()) pidfd_ = OwnedFd{};
    }

    /// False: it is gone, or not ours.
    bool send(int signal) const noexcept {
        return pidfd_ && ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) == 0;
    }

private:
    OwnedFd pidfd_;
};

struct Address {
    ::sockaddr_storage storage{};
    ::socklen_t size = 0;
};

/// The socket behind a descriptor of a process, as the tables in /proc/net call it.
[[nodiscard]] inline std::string inode_of(std::int64_t pid, int fd) {
    char target[64] = {};
    const auto path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
    if (::readlink(path.c_str(), target, sizeof target - 1) <= 0) return {};
    const std::string text{target};
    if (!text.starts_with("socket:[")) return {};
    return text.substr(8, text.size() - 9);
}

[[nodiscard]] inline std::vector<std::string> row_of(const char* table, std::size_t column,
                                                     const std::string& inode) {
    std::ifstream file{table};
    for (std::string line; std::getline(file, line);) {
        std::istringstream words{line};
        std::vector<std::string> row{std::istream_iterator<std::string>{words}, {}};
        if (row.size() > column && row[column] == inode) return row;
    }
    return {};
}

[[nodiscard]] inline std::optional<Address> unix_listener(const std::string& inode) {
    const auto row = row_of("/proc/net/unix", 6, inode);
    if (row.size() != 8 || row[3] != "00010000") return std::nullopt;  // it does not listen
    auto name = row[7];
    if (name.front() == '@') name.front() = '\0';
    ::sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), std::min(name.size(), sizeof address.sun_path));
    Address result;
    std::memcpy(&result.storage, &address, sizeof address);
    result.size = static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + name.size());
    return result;
}

[[nodiscard]] inline std::optional<Address> tcp_listener(const std::string& inode) {
    const auto row = row_of("/proc/net/tcp", 9, inode);
    if (row.empty() || row[3] != "0A") return std::nullopt;
    ::sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto port = std::stoul(row[1].substr(row[1].find(':') + 1), nullptr, 16);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    Address result;
    std::memcpy(&result.storage, &address, sizeof address);
    result.size = sizeof address;
    return result;
}

/// Where a worker listens; nothing once it has let its parent in.
[[nodiscard]] inline std::optional<Address> listener_of(std::int64_t pid) {
    const auto inode = inode_of(pid, 4);
    if (inode.empty()) return std::nullopt;
    const auto address = unix_listener(inode);
    return address ? address : tcp_listener(inode);
}

/// Those who connect without being invited. Some say nothing, and stay.
class Strangers {
public:
    explicit Strangers(Dice& dice) : dice_(dice) {}

    /// False: there is no door to knock at.
    bool send_to(std::int64_t pid) {
        const auto address = listener_of(pid);
        if (!address) return false;
        const auto count = 1 + dice_.below(dice_.one_in(10) ? 40 : 4);
        for (std::uint64_t i = 0; i < count; ++i) knock(*address);
        return true;
    }

    [[nodiscard]] std::uint64_t connected() const noexcept { return connected_; }

private:
    void knock(const Address& address) {
        OwnedFd fd{
            ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        const auto* generic = reinterpret_cast<const ::sockaddr*>(&address.storage);
        const auto garbage = draw_garbage();
        if (!fd) return;
        if (::connect(fd.get(), generic, address.size) != 0) {
            ::pollfd item{fd.get(), POLLOUT, 0};
            if (errno != EINPROGRESS || ::poll(&item, 1, 20) != 1) return;
        }
        ++connected_;
        static_cast<void>(!::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL));
        silent_.push_back(std::move(fd));
        if (silent_.size() > 64) silent_.pop_front();
    }

    std::string draw_garbage() {
        std::string bytes(dice_.one_in(3) ? 0 : 1 + dice_.below(6000), '\0');
        for (auto& byte : bytes) byte = static_cast<char>(dice_.below(256));
        // Some begin as a hello does: a frame of moderate size, of the first type.
        if (bytes.size() >= 16 && dice_.one_in(2)) {
            bytes.replace(0, 16, std::string("\x40\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 16));
        }
        return bytes;
    }

    Dice& dice_;
    std::deque<OwnedFd> silent_;
    std::uint64_t connected_ = 0;
};

}  // namespace tether_test::chaos
