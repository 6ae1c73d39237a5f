#pragma once

// How a test and a handler in another process wait for each other: two named pipes. The handler
// says that it is there; the test lets it go on.

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tether_test {

/// The handler's side; made from the path that the request brought.
class GateVisitor {
public:
    explicit GateVisitor(const std::string& path)
        : said_(open(path + ".said", O_RDWR)), open_(open(path + ".open", O_RDWR)) {}
    GateVisitor(const GateVisitor&) = delete;
    GateVisitor& operator=(const GateVisitor&) = delete;
    ~GateVisitor() {
        ::close(said_);
        ::close(open_);
    }

    void say(char word) const { static_cast<void>(!::write(said_, &word, 1)); }

    /// Waits until the gate opens for one visitor. False: not within `time`.
    [[nodiscard]] bool wait_open(std::chrono::milliseconds time) const {
        ::pollfd item{open_, POLLIN, 0};
        if (::poll(&item, 1, static_cast<int>(time.count())) != 1) return false;
        char byte = 0;
        return ::read(open_, &byte, 1) == 1;  // another visitor may take it first
    }

private:
    static int open(const std::string& path, int flags) {
        const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK);
        if (fd == -1) throw std::system_error(errno, std::system_category(), "open " + path);
        return fd;
    }

    int said_;
    int open_;
};

/// The test's side.
class Gate {
public:
    /// What handlers say.
    static constexpr char entered = 'E';
    static constexpr char stopped = 'S';

    explicit Gate(std::string path) : path_(std::move(path)) {
        make(path_ + ".said");
        make(path_ + ".open");
        visitor_said_ = ::open((path_ + ".said").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
        open_ = ::open((path_ + ".open").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (visitor_said_ == -1 || open_ == -1) throw std::runtime_error("open a gate");
    }
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;
    ~Gate() {
        ::close(visitor_said_);
        ::close(open_);
        ::unlink((path_ + ".said").c_str());
        ::unlink((path_ + ".open").c_str());
    }

    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    /// Waits for `word` from one visitor.
    [[nodiscard]] bool hear(char word, std::chrono::milliseconds time = std::chrono::seconds{20}) {
        const auto until = std::chrono::steady_clock::now() + time;
        for (;;) {
            char heard = 0;
            if (::read(visitor_said_, &heard, 1) == 1) {
                if (heard == word) return true;
                continue;
            }
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                until - std::chrono::steady_clock::now());
            if (left.count() <= 0) return false;
            ::pollfd item{visitor_said_, POLLIN, 0};
            ::poll(&item, 1, static_cast<int>(left.count()));
        }
    }
    [[nodiscard]] bool hear_entered() { return hear(entered); }

    /// Lets `visitors` go on, now or when they come.
    void open(int visitors = 1) const {
        for (int i = 0; i < visitors; ++i) static_cast<void>(!::write(open_, "o", 1));
    }

private:
    static void make(const std::string& path) {
        if (::mkfifo(path.c_str(), 0600) != 0) {
            throw std::system_error(errno, std::system_category(), "mkfifo " + path);
        }
    }

    std::string path_;
    int visitor_said_ = -1;
    int open_ = -1;
};

}  // namespace tether_test
