#pragma once

// The connection of a worker, behind Tether's back: for workers that write to it what they like.

#include <stdexcept>
#include <string_view>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace tether_test {

[[nodiscard]] inline bool is_connection_of_worker(int fd) {
    struct ::stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
    // The control channel is a socket too; it announces its input by a signal.
    return (::fcntl(fd, F_GETFL) & O_ASYNC) == 0;
}

[[nodiscard]] inline int find_control_of_worker() {
    for (int fd = 3; fd < 4096; ++fd) {
        struct ::stat status {};
        if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) continue;
        if (!is_connection_of_worker(fd)) return fd;
    }
    throw std::runtime_error("the control channel was not found");
}

[[nodiscard]] inline int find_connection_of_worker() {
    for (int fd = 3; fd < 4096; ++fd) {
        if (is_connection_of_worker(fd)) return fd;
    }
    throw std::runtime_error("the connection was not found");
}

}  // namespace tether_test
