#pragma once

// What a host program's stderr receives: for the length of a test, descriptor 2 of this process is
// something else.

#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

namespace tether_test {

/// Puts another descriptor in the place of stderr.
class RedirectedStderr {
public:
    explicit RedirectedStderr(int fd) : saved_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100)) {
        if (fd == -1) {
            ::close(STDERR_FILENO);
        } else {
            ::dup2(fd, STDERR_FILENO);
        }
    }
    RedirectedStderr(const RedirectedStderr&) = delete;
    RedirectedStderr& operator=(const RedirectedStderr&) = delete;
    ~RedirectedStderr() {
        ::dup2(saved_, STDERR_FILENO);
        ::close(saved_);
    }

private:
    int saved_;
};

/// Reads all that is written to stderr, as a terminal or a log collector does.
class CapturedStderr {
public:
    CapturedStderr() {
        if (::pipe2(pipe_, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
        redirected_ = new RedirectedStderr{pipe_[1]};
        reader_ = std::thread{[this] {
            char bytes[65536];
            for (;;) {
                const auto size = ::read(pipe_[0], bytes, sizeof bytes);
                if (size < 0 && errno == EINTR) continue;
                if (size <= 0) return;
                text_.append(bytes, static_cast<std::size_t>(size));
            }
        }};
    }
    CapturedStderr(const CapturedStderr&) = delete;
    CapturedStderr& operator=(const CapturedStderr&) = delete;
    ~CapturedStderr() { finish(); }

    /// Ends the capture and gives what came. What is written before this call is in it.
    const std::string& finish() {
        if (redirected_ == nullptr) return text_;
        delete redirected_;
        redirected_ = nullptr;
        ::close(pipe_[1]);
        reader_.join();
        ::close(pipe_[0]);
        return text_;
    }

private:
    int pipe_[2]{};
    RedirectedStderr* redirected_ = nullptr;
    std::thread reader_;
    std::string text_;
};

}  // namespace tether_test
