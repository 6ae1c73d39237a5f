// Tether: everything that can be set about a worker and about a call.
#pragma once

#include <tether/config.hpp>
#include <tether/duration.hpp>
#include <tether/limits.hpp>
#include <tether/logging.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

TETHER_NAMESPACE_BEGIN

/// The way the parent and its worker are connected.
enum class Transport : std::uint8_t {
    automatic,      ///< the first that works: `unix_abstract`, `unix_path`, `socket_pair`
    unix_abstract,  ///< a Unix socket without a file (Linux)
    unix_path,      ///< a Unix socket in a private directory that is removed once connected
    tcp,            ///< a TCP socket on 127.0.0.1
    socket_pair,    ///< a connected pair of sockets, inherited; nothing listens
};

/// The name as it is spelled in the code.
[[nodiscard]] constexpr std::string_view to_string(Transport transport) noexcept {
    switch (transport) {
        case Transport::automatic:
            return "automatic";
        case Transport::unix_abstract:
            return "unix_abstract";
        case Transport::unix_path:
            return "unix_path";
        case Transport::tcp:
            return "tcp";
        case Transport::socket_pair:
            return "socket_pair";
    }
    return "unknown";
}

/// How a worker is ended: a ladder of ever less friendly steps. Each step ends as soon as the
/// process has. Zero skips the wait; `no_timeout` waits for ever. When the program exits, all
/// workers are ended side by side, and 3 s after that began those that are left are killed.
struct StopPolicy {
    /// For the running handler to notice `stop_requested()` and return, and for the handler
    /// object's destructor; then SIGTERM is sent.
    Duration drain = std::chrono::seconds{1};

    /// After SIGTERM; then the worker and everything it started are killed.
    Duration terminate = std::chrono::milliseconds{500};
};

/// When a worker that ended by itself is started again, which happens only at the next call. One
/// that was asked to end (`stop()`, `kill()`, `restart()`, `WorkerOptions::idle_timeout`) does not
/// count as a failure.
struct RestartPolicy {
    /// For `budget`: a crash is nothing special.
    static constexpr unsigned unlimited = std::numeric_limits<unsigned>::max();

    /// Unexpected ends, failed starts included, that are tolerated within `window`. At the next
    /// one, calls fail with `errc::restart_budget_spent` until the window has moved on.
    unsigned budget = 5;

    /// The span of time in which unexpected ends are counted.
    Duration window = std::chrono::minutes{1};

    /// The pause before the second restart within the window; the first has none. It doubles from
    /// one to the next. Calls wait for it, within their own timeout.
    Duration initial_pause = std::chrono::milliseconds{100};

    /// The longest pause.
    Duration max_pause = std::chrono::seconds{5};
};

/// What becomes of a worker whose handler ignores that its call has expired, or that hangs as a
/// whole.
///
/// A call whose timeout passes ends at once; its handler is asked to stop, but may go on, and calls
/// behind it wait. Once `grace` is over too, the worker's guard thread is asked whether that
/// handler still runs: one that waits in line behind a long call without a deadline is not stuck,
/// however long that takes. A worker that is *stopped* (`SIGSTOP`) when a call expires, and still
/// is 200 ms later, is stuck; meanwhile it is not told, since that would continue it. One
/// whose guard thread does not answer for `silence` hangs: no handler, whatever it does or holds,
/// can keep that thread from answering.
///
/// A handler that waits for ever without a deadline looks like one that waits for good reason.
/// Give its calls a timeout, or a `run_timeout`. And a worker that a debugger holds looks like one
/// that hangs: `report` or `keep` let you debug it.
struct StuckPolicy {
    /// What is done with a worker that is stuck or hangs.
    enum class Action : std::uint8_t {
        /// The worker is killed with `errc::worker_stuck`, and the next call starts another. With
        /// `concurrency` above one, and only a handler that is stuck, it takes no more calls, and
        /// is killed when the others that run in it are done.
        replace,
        report,  ///< a line of severity `warning` in the worker's output says so, once for each
                 ///< call, and once when it hangs as a whole
        keep,    ///< nothing: only a call's timeout matters
    };

    /// What is done then.
    Action action = Action::replace;

    /// From the deadline on, for the handler to notice `stop_requested()` and return.
    Duration grace = std::chrono::seconds{2};

    /// For the guard thread to answer when it is asked. A worker that is writing its core has six
    /// times as long.
    Duration silence = std::chrono::seconds{10};

    /// How often a worker that has calls to answer is looked at whether or not one has expired: is
    /// it stopped (twice in 200 ms), and does its guard thread answer? A handler that is merely
    /// busy is left alone. Each look wakes both processes. Off by default: then only the timeouts
    /// of calls matter.
    Duration heartbeat = no_timeout;
};

/// Where the output of a worker goes: what it writes to stdout and stderr, and
/// `CallContext::log`. Nothing is ever written to a file.
///
///     tether::Worker<LintProtocol> worker{{.output = tether::Output::relay("lint: ")}};
///
/// But for `inherit`, output is read and passed on in whole lines. What a worker wrote before it
/// ended is passed on before its calls fail, a last line without a newline included. What a handler
/// said by `CallContext::log` is passed on before its call returns or completes, with all that was
/// written before it, unless the call was given up meanwhile. The call waits for a callback, but
/// not beyond its deadline, and for a second at most; it does not wait where the parent's stderr
/// takes nothing now. Output without `log` comes when it comes: before its call ends, or soon
/// after.
///
/// A value: copies share nothing but what a callback refers to.
class Output {
public:
    /// Receives each line. Called on Tether's background thread, or on a thread that is inside
    /// `stop()`, `kill()`, `restart()` or the destructor of the worker; for one worker never from
    /// two threads at once. Must not throw, and must not call the worker. While it runs, the
    /// other workers of the program have to wait, and so has whoever waits for this one's end. It
    /// should need no lock that is held during a call: calls whose handlers log wait for it, for a
    /// second at most.
    using Callback = std::function<void(const LogRecord&)>;

    /// What `mode()` tells: the name of the function that made it; `callback` for `to`.
    enum class Mode : std::uint8_t { relay, inherit, discard, callback };

    /// Whole lines go to the parent's stderr, each after `prefix`. This is the default.
    ///
    /// Never blocks the parent. A worker that says more than the parent's stderr takes has to wait
    /// as it would without a parent in between; but when that stderr takes nothing for a second,
    /// the worker goes on, 1 MiB of its lines is kept, and what is over that is dropped and
    /// counted.
    [[nodiscard]] static Output relay(std::string prefix = {}) {
        return Output{Mode::relay, std::move(prefix), nullptr};
    }

    /// The worker writes to the parent's stderr itself, both its stdout and its stderr. There is no
    /// stderr tail in error reports.
    [[nodiscard]] static Output inherit() { return Output{Mode::inherit, {}, nullptr}; }

    /// Nothing is shown; the tail of stderr is still kept for error reports.
    [[nodiscard]] static Output discard() { return Output{Mode::discard, {}, nullptr}; }

    /// Each line is given to `callback`, which must not be empty.
    [[nodiscard]] static Output to(Callback callback) {
        return Output{Mode::callback, {}, std::move(callback)};
    }

    /// As `relay()`.
    Output() = default;

    /// Which of the four it is.
    [[nodiscard]] Mode mode() const noexcept { return mode_; }

    /// What `relay` was given; empty for the others.
    [[nodiscard]] const std::string& prefix() const noexcept { return prefix_; }

    /// What `to` was given; empty for the others.
    [[nodiscard]] const Callback& callback() const noexcept { return callback_; }

private:
    Output(Mode mode, std::string prefix, Callback callback)
        : mode_(mode), prefix_(std::move(prefix)), callback_(std::move(callback)) {}

    Mode mode_ = Mode::relay;
    std::string prefix_{};
    Callback callback_{};
};

/// What becomes of the processes that a worker has started, and of those that these start, when the
/// worker ends. Whichever way it ends (asked to, killed, by `exit` or `abort`, by an exception that
/// nobody caught, by a signal, from outside), they are ended with it.
///
/// Not found, so not ended, are: one that is in a session of its own (`setsid`) and whose
/// environment was emptied as well, once its worker has ended by itself; one of another user; and,
/// where the system does not list children (no `/proc`, or one that hides processes), all in a
/// process group of their own. When the parent itself is killed, the worker ends what it has
/// started; when both are killed at once, as by `killall -9` where parent and worker are one
/// program, no process is left to do it: give the worker a program of its own, or put the parent
/// into a control group or a process namespace.
enum class Descendants : std::uint8_t {
    end_all,        ///< all of them
    spare_sessions  ///< those in a session of their own are left alone: for daemons that a handler
                    ///< starts on purpose, such as a cache server or a watcher
};

/// Everything about one worker. An aggregate; name the members you set:
///
///     tether::Worker<LintProtocol> worker{{.name = "lint", .call_timeout = 10s}};
///
/// The worker keeps a copy. Times are `std::chrono` durations of any kind, see `Duration`; one that
/// is too long to ever end never does. What makes no sense, such as a negative time or a null byte
/// in a text, is refused by the constructor with `std::invalid_argument`, which names the member.
struct WorkerOptions {
    /// What logs and errors call this worker; at most 256 bytes. Empty: the file name of the
    /// program.
    std::string name{};

    /// The program to start. Empty: the running executable, the very file that runs now even when
    /// it was replaced on disk. With a slash: a path, relative to the parent's working directory.
    /// Without one: looked up in the absolute folders of the parent's `PATH`. Looked at anew at
    /// each start. A program in between (a shell, `env`, `sudo`) must pass on the descriptors from
    /// 3 on, and should pass on the environment.
    ///
    /// The running executable is found through `/proc`, or by the name that it was executed by. A
    /// program that a dynamic loader was run by hand for is started in the same way. Where its file
    /// cannot be found the error says so: set this then.
    ///
    /// Each process of a worker has the processors, scheduling policy, nice value, I/O priority and
    /// timer slack of the thread that made the `Worker`, whichever thread restarts it, as far as
    /// the system allows: only a privileged process lowers a nice value.
    std::string program{};

    /// Its arguments, without the program's name. They are visible to other users of the machine.
    std::vector<std::string> arguments{};

    /// Changes to the inherited environment: a value sets a variable, `std::nullopt` removes it.
    std::map<std::string, std::optional<std::string>> environment{};

    /// The worker's working directory. Empty: the parent's.
    std::string working_directory{};

    /// How the two are connected. Ask for one only to rule the others out.
    Transport transport = Transport::automatic;

    /// From the spawn until the handler is constructed and the connection is authenticated. Then
    /// the worker is killed and waiting calls fail with `errc::start_timeout`.
    Duration start_timeout = std::chrono::seconds{60};

    /// For calls whose `CallOptions` and request type say nothing. Long, since it is only there so
    /// that nothing waits for ever.
    Duration call_timeout = std::chrono::minutes{5};

    /// How `stop()`, `restart()` and the destructor end the process.
    StopPolicy stop{};

    /// How long a handler that is running when the parent dies may go on. An idle worker leaves at
    /// once. The handler object's destructor has this time as well.
    Duration orphan_grace = std::chrono::milliseconds{500};

    /// Starting again after a crash.
    RestartPolicy restart{};

    /// What becomes of it when a handler ignores its deadline, or when it hangs as a whole.
    StuckPolicy stuck{};

    /// After this long without a call the worker is stopped; the next call starts another. It may
    /// take up to twice as long, since a call costs nothing here.
    Duration idle_timeout = no_timeout;

    /// What the operating system holds it to.
    Limits limits{};

    /// What becomes of the processes that it has started when it ends.
    Descendants descendants = Descendants::end_all;

    /// Where the worker's output goes.
    Output output{};

    /// Handlers that run at the same time, from 1 to 1024. With 1, all run on the worker's main
    /// thread; with more, on that many threads, the main one among them, and the handler must be
    /// safe to use from them.
    unsigned concurrency = 1;

    /// How long each side looks for the next message before it sleeps: 30 us or so, when calls are
    /// short and there are cores to spare. That saves two wake-ups, most of the time of a small
    /// call (docs/performance.md), and costs a core as long as it lasts; looking in vain is soon
    /// given up, and tried again now and then. Only for blocking calls, and for the worker. At
    /// most 1 ms. Zero: sleep at once.
    Duration spin = Duration::zero();

    /// The largest message either side accepts, blobs included. A larger request fails that one
    /// call with `errc::message_too_large`, before anything is sent; a larger response as well,
    /// when its handler has run. At least 4096.
    std::uint64_t max_message_bytes = std::uint64_t{512} * 1024 * 1024;
};

/// Everything about one call; all optional. An aggregate; name the members you set:
///
///     worker.call(Lint{"a.cpp"}, {.timeout = 5s, .stop_token = token});
///
/// `Request` only ties it to the type of the request that it is given with. The call keeps a copy.
template <class Request>
struct CallOptions {
    /// From the call until its answer, queueing and starting the worker included. Decides before
    /// the request type's `timeout`, which decides before `WorkerOptions::call_timeout`. The
    /// handler is asked to stop then; what happens while it does not, `WorkerOptions::stuck` says.
    /// With zero or less the call fails with `errc::timeout`, and nothing is sent.
    std::optional<Duration> timeout{};

    /// From the start of its handler, however long it waited for that. When it is over, the call
    /// fails with `errc::timeout` and the handler is asked to stop, as after `timeout`. In whole
    /// milliseconds, at least one. The worker keeps this time: while it is stopped or hangs as a
    /// whole, only `timeout` counts.
    std::optional<Duration> run_timeout{};

    /// Cancels the call when a stop is requested, before or while it is made. One that has not left
    /// yet leaves no trace; otherwise the handler's `stop_requested()` becomes true and a late
    /// answer is dropped. The call ends at once with `errc::cancelled`, without waiting for the
    /// handler.
    std::stop_token stop_token{};
};

TETHER_NAMESPACE_END
