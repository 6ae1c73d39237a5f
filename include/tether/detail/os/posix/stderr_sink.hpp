// Why: the host's stderr may be a stopped terminal, a full pipe or closed, and none of that may
// hold up a thread. It is written without blocking, through an open file description of our own:
// O_NONBLOCK on the host's would change it for all processes that share it, and where poll()
// promises room a terminal may have it for a single byte, or another writer may take it first.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/clock.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/poll.hpp>
#include <tether/detail/os/posix/signals.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include <fcntl.h>
#include <sys/stat.h>

TETHER_NAMESPACE_BEGIN
namespace detail {

// All relayed lines of a process, in the order they came. Thread-safe.
class StderrSink {
public:
    // What one worker may have waiting; beyond that its lines are dropped and counted.
    static constexpr std::size_t max_queued = std::size_t{1} << 20;
    static constexpr std::size_t piece = 4096;  // a pipe with room has room for this much
    // Beyond this a worker has to wait, as long as the host's stderr takes something now and then.
    static constexpr std::size_t comfortable = std::size_t{256} * 1024;
    static constexpr auto slowest_progress = std::chrono::seconds{1};
    static constexpr std::uint64_t own_lines = std::numeric_limits<std::uint64_t>::max();

    // Leaked on purpose: lines may still come in during exit.
    static StderrSink& instance() {
        auto* sink = current().load();
        if (sink != nullptr) return *sink;
        auto fresh = std::make_unique<StderrSink>();
        if (current().compare_exchange_strong(sink, fresh.get())) return *fresh.release();
        return *sink;
    }

    // In a forked copy: the lines are the original's, and the thread that holds the mutex may not
    // exist.
    static void start_over() noexcept { current().store(nullptr); }

    // Queues one line of the worker `source`, or a piece of one that goes on.
    void add(std::uint64_t source, std::string_view prefix, std::string_view text,
             bool terminated) {
        const auto lock = acquire(mutex_);
        auto& account = accounts_[source];
        if (account.queued > max_queued) {
            ++account.dropped;
            if (unfinished_ == source) {  // its next line must not go on where this one was cut
                queue_.push_back({source, "\n"});
                ++account.queued;
                unfinished_ = 0;
            }
            return;
        }
        std::string line;
        if (unfinished_ != source) {
            if (unfinished_ != 0) line += '\n';
            line += prefix;
        }
        line += text;
        if (terminated) line += '\n';
        unfinished_ = terminated ? 0 : source;
        if (queue_.empty()) last_progress_ = Clock::now();
        account.queued += line.size();
        queue_.push_back({source, std::move(line)});
    }

    // Whether the worker `source` should wait before it says more.
    bool is_congested(std::uint64_t source) {
        const auto lock = acquire(mutex_);
        const auto account = accounts_.find(source);
        return account != accounts_.end() && account->second.queued > comfortable &&
               Clock::now() - last_progress_ < slowest_progress;
    }

    // A line of the parent's own.
    void say(const std::string& line) {
        add(own_lines, {}, line, true);
        flush_patiently(std::chrono::milliseconds{50});
        close(own_lines, {});
    }

    // Writes what the host's stderr takes right now. True when nothing is left.
    bool flush() {
        const auto lock = acquire(mutex_);
        if (queue_.empty()) return true;
        const auto own = open_again(STDERR_FILENO);
        while (write_piece(own ? own.get() : STDERR_FILENO)) {
        }
        return queue_.empty();
    }

    // Writes until nothing is left, or nothing could be written for `patience`.
    void flush_patiently(Duration patience) {
        std::size_t before = 0;
        int rounds = 0;  // without progress: poll may promise room that a terminal does not have
        for (auto deadline = deadline_after(Clock::now(), patience); !flush() && rounds < 1000;
             ++rounds) {
            const auto now = written();
            if (now != before) {
                deadline = deadline_after(Clock::now(), patience);
                rounds = 0;
            }
            before = now;
            PollItem item{STDERR_FILENO, POLLOUT, 0};
            if (wait_ready({&item, 1}, deadline) <= 0) return;
        }
    }

    // The worker is gone; mentions what had to be dropped.
    void close(std::uint64_t source, std::string_view prefix) {
        std::uint64_t dropped = 0;
        {
            const auto lock = acquire(mutex_);
            const auto account = accounts_.find(source);
            if (account == accounts_.end()) return;
            dropped = account->second.dropped;
            account->second = {};
        }
        if (dropped != 0) {
            add(source, prefix, std::to_string(dropped) + " lines of output were dropped", true);
        }
        const auto lock = acquire(mutex_);
        accounts_.erase(source);
    }

private:
    struct Account {
        std::size_t queued = 0;
        std::uint64_t dropped = 0;
    };
    struct Line {
        std::uint64_t source;
        std::string text;
    };

    std::size_t written() {
        const auto lock = acquire(mutex_);
        return written_;
    }

    static std::atomic<StderrSink*>& current() noexcept {
        static std::atomic<StderrSink*> sink{nullptr};
        return sink;
    }

    // A non-blocking description of a terminal's or pipe's own. Others need none, or can have none.
    static Descriptor open_again([[maybe_unused]] int fd) noexcept {
#if defined(__linux__)
        struct ::stat status {};
        if (::fstat(fd, &status) == 0 && (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))) {
            const int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
            return Descriptor{::open("/proc/self/fd/2", flags)};
        }
#endif
        return {};
    }

    bool write_piece(int fd) {
        if (queue_.empty() || !ready_now(STDERR_FILENO, POLLOUT)) return false;
        gather();
        auto size = std::min(out_.size(), piece);
        const auto newline = out_.rfind('\n', size - 1);
        if (newline != std::string::npos) size = newline + 1;
        const auto count = write_without_sigpipe(fd, out_.data(), size);
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
        // A closed stderr takes everything.
        take(count < 0 ? out_.size() : static_cast<std::size_t>(count));
        return true;
    }

    // Joins lines to a piece, so that a talkative worker does not cost a system call per line.
    void gather() {
        out_.clear();
        for (const auto& line : queue_) {
            const auto skip = &line == &queue_.front() ? front_written_ : 0;
            out_.append(line.text, skip, piece - out_.size());
            if (out_.size() == piece) return;
        }
    }

    void take(std::size_t size) {
        written_ += size;
        last_progress_ = Clock::now();
        while (size != 0) {
            auto& line = queue_.front();
            const auto part = std::min(size, line.text.size() - front_written_);
            front_written_ += part;
            size -= part;
            if (const auto account = accounts_.find(line.source); account != accounts_.end()) {
                account->second.queued -= std::min(account->second.queued, part);
            }
            if (front_written_ != line.text.size()) continue;
            queue_.pop_front();
            front_written_ = 0;
        }
    }

    std::mutex mutex_;
    std::deque<Line> queue_;
    std::size_t front_written_ = 0;
    std::string out_;
    std::uint64_t unfinished_ = 0;  // the worker whose last line goes on
    std::size_t written_ = 0;
    TimePoint last_progress_{};
    std::unordered_map<std::uint64_t, Account> accounts_;
};

}  // namespace detail
TETHER_NAMESPACE_END
