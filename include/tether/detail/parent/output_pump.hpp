// Why: a worker's output is read on the background thread, and on a thread that waits for the
// worker's end. It is shown by default, and its last lines explain a crash.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/base/held_lock.hpp>
#include <tether/detail/os/os.hpp>
#include <tether/detail/wire/line_splitter.hpp>
#include <tether/detail/wire/relayed_line.hpp>
#include <tether/logging.hpp>
#include <tether/options.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

TETHER_NAMESPACE_BEGIN
namespace detail {

// The parent's side of a worker's stdout and stderr. Not thread-safe: its session locks around it.
class OutputPump {
public:
    struct Stream {
        LogSource source{};
        Descriptor pipe{};
        LineSplitter lines{};
        MarkedLine open{};  // the mark of a line that goes on
        bool is_open = false;
        std::atomic<bool> ended{false};
    };

    explicit OutputPump(Output output)
        : output_(std::move(output)), relayed_(output_.relay_options()) {}

    // Makes what the worker gets as its stdout and stderr.
    DescriptorPair open() {
        if (output_.mode() == Output::Mode::inherit)
            return {copy_of_own_stderr(), copy_of_own_stderr()};
        auto out = make_pipe("pipe for the worker's stdout");
        auto err = make_pipe("pipe for the worker's stderr");
        set_non_blocking(out.first.get(), "pipe for the worker's stdout");
        set_non_blocking(err.first.get(), "pipe for the worker's stderr");
        streams_[0].source = LogSource::standard_output;
        streams_[0].pipe = std::move(out.first);
        streams_[1].source = LogSource::standard_error;
        streams_[1].pipe = std::move(err.first);
        return {std::move(out.second), std::move(err.second)};
    }

    void set_identity(std::string worker, std::int64_t pid) {
        worker_ = std::move(worker);
        pid_ = pid;
        relayed_ = RelayedLine{output_.relay_options(), worker_};
    }

    [[nodiscard]] bool reads_lines() const noexcept {
        return output_.mode() != Output::Mode::inherit;
    }
    // The host wants its lines.
    [[nodiscard]] bool shows_lines() const noexcept {
        return reads_lines() && output_.mode() != Output::Mode::discard;
    }
    // By code of the host's own.
    [[nodiscard]] bool calls_back() const noexcept {
        return output_.mode() == Output::Mode::callback;
    }
    [[nodiscard]] std::array<Stream, 2>& streams() noexcept { return streams_; }
    // The host's callback runs.
    [[nodiscard]] const std::atomic<bool>& calling() const noexcept { return calling_; }
    [[nodiscard]] std::string tail() const { return tail_.text(); }

    // Reads what is there, but not for ever, and not more than the host's stderr can take in time.
    void pump(Stream& stream) {
        std::array<char, std::size_t{16} * 1024> bytes;
        for (int round = 0; stream.pipe && round < 8 && !is_congested(); ++round) {
            const auto size = read_some(stream.pipe.get(), bytes.data(), bytes.size());
            if (size == -1 && would_block()) return;
            if (size <= 0) {
                stream.ended = true;
                return;
            }
            stream.lines.feed(
                {bytes.data(), static_cast<std::size_t>(size)},
                [&](std::string_view text, bool terminated) { give(stream, text, terminated); });
        }
    }

    // Nothing is read any more, since other code has closed the pipes.
    void forsake() noexcept {
        for (auto& stream : streams_) stream.pipe.reset();
    }

    // A line of the parent's own, among those of the worker.
    void say(Severity severity, const std::string& text) {
        if (output_.mode() == Output::Mode::callback && output_.callback()) {
            call_back({worker_, pid_, LogSource::log, severity, text});
        } else if (output_.mode() == Output::Mode::relay) {
            if (!relayed_.is_shown(severity)) return;
            const auto head = relayed_.head({true, severity, {}});
            const auto name = relayed_.names_worker() ? std::string{} : worker_ + ": ";
            StderrSink::instance().add(id_, head, relayed_.text(name + text, true), true);
            flush();
        }
    }

    // What the worker says must wait: it is read on when the host's stderr has taken more.
    [[nodiscard]] bool is_congested() const {
        auto& sink = StderrSink::instance();
        if (output_.mode() != Output::Mode::relay || !sink.is_congested(id_)) return false;
        sink.flush();
        return sink.is_congested(id_);
    }

    // Writes relayed lines as far as the host's stderr takes them. False: some are left.
    bool flush() { return output_.mode() != Output::Mode::relay || StderrSink::instance().flush(); }

    // The worker is gone: reads what is left in the pipes, which other processes may still hold
    // open, and writes all of it to the host's stderr before an error is reported.
    void finish() {
        for (auto& stream : streams_) {
            const auto give_line = [&](std::string_view text, bool terminated) {
                give(stream, text, terminated);
            };
            // Another process may go on writing: read what fits into the pipe, not more.
            for (int round = 0; round < 64 && stream.pipe && !stream.ended; ++round) {
                if (!ready_now(stream.pipe.get())) break;
                pump(stream);
                flush_patiently();
            }
            stream.pipe.reset();
            stream.lines.finish(give_line);
        }
        if (output_.mode() != Output::Mode::relay) return;
        StderrSink::instance().close(id_, relayed_.head({}));
        flush_patiently();
    }

private:
    void flush_patiently() const {
        if (output_.mode() != Output::Mode::relay) return;
        StderrSink::instance().flush_patiently(std::chrono::milliseconds{50});
    }

    void give(Stream& stream, std::string_view text, bool terminated) {
        const auto line = marked(stream, text);
        stream.open = {line.is_log, line.severity, {}};
        stream.is_open = !terminated;
        if (stream.source == LogSource::standard_error) tail_.add(line.text, terminated);
        if (output_.mode() == Output::Mode::relay) {
            if (!relayed_.is_shown(line.severity)) return;
            StderrSink::instance().add(id_, relayed_.head(line),
                                       relayed_.text(line.text, terminated), terminated);
        } else if (output_.mode() == Output::Mode::callback && output_.callback()) {
            call_back({worker_, pid_, line.is_log ? LogSource::log : stream.source, line.severity,
                       line.text});
        }
    }

    // A later piece of a line has the mark of its first.
    static MarkedLine marked(const Stream& stream, std::string_view text) noexcept {
        if (stream.is_open) return {stream.open.is_log, stream.open.severity, text};
        if (stream.source == LogSource::standard_error) return read_mark(text);
        return {false, Severity::info, text};
    }

    void call_back(const LogRecord& record) {
        const Left left;
        calling_ = true;
        try {
            output_.callback()(record);
        } catch (...) {
            calling_ = false;
            throw;
        }
        calling_ = false;
    }

    static std::uint64_t next_id() noexcept {
        static std::atomic<std::uint64_t> last{0};
        return ++last;
    }

    Output output_;
    RelayedLine relayed_;
    std::atomic<bool> calling_{false};
    std::uint64_t id_ = next_id();
    std::string worker_;
    std::int64_t pid_ = 0;
    std::array<Stream, 2> streams_{};
    Tail tail_;
};

}  // namespace detail
TETHER_NAMESPACE_END
