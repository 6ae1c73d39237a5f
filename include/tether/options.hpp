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
/// that hangs: `TETHER_DEBUG=1` in the parent's environment lets you debug it (docs/debugging.md).
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

/// How the lines of a worker look on the parent's stderr. An aggregate; name the members you set:
///
///     tether::Output::relay({.show_name = true, .show_severity = true})
///
/// shows what a handler says by `context.log(Severity::warning, "no such file")` as
/// `lint: warning: no such file`. With the defaults a line is shown as it was written, except that
/// it cannot drive the terminal.
struct RelayOptions {
    /// Before each line, as it is.
    std::string prefix{};

    /// Then the worker's name: `lint: `.
    bool show_name = false;

    /// Then the severity of a line of `CallContext::log`: `warning: `. Plain output has none.
    bool show_severity = false;

    /// Lines below this are not shown. Plain output counts as `info`. Whatever this is, the last
    /// lines of stderr are kept for error reports.
    Severity least_severity = Severity::trace;

    /// Shows bytes as they are, with colours and all else that the worker wants of a terminal.
    /// Otherwise control characters except the tab, and bytes that are not UTF-8, are shown as
    /// `\x1b`, and a carriage return at the end of a line is left out: a worker does not know which
    /// terminal it writes to, and what it prints may come from a file that it reads.
    bool raw = false;
};

/// Where the output of a worker goes: what it writes to stdout and stderr, and
/// `CallContext::log`. Nothing is ever written to a file.
///
///     tether::Worker<LintProtocol> worker{{.output = tether::Output::relay({.show_name = true})}};
///
/// In all modes except `inherit`, output is read and passed on in whole lines. What a worker wrote
/// before it ended is passed on before its calls fail, including a last line without a newline.
/// What a handler said by `CallContext::log` is passed on before its call returns or completes,
/// with all that was written before it, unless the call was given up meanwhile. The call waits for
/// a callback, but not beyond its deadline, and for a second at most. It does not wait where the
/// parent's stderr takes nothing now. Output without `log` is passed on before its call ends, or
/// soon after.
///
/// A value: copies share nothing but what a callback refers to.
class Output {
public:
    /// Receives each line. Called on Tether's background thread, or on a thread that is inside
    /// `stop()`, `kill()`, `restart()` or the destructor of the worker; for one worker never from
    /// two threads at once. Must not throw, and must not call the worker. While it runs, the
    /// other workers of the program have to wait, and so has a thread that waits for this one's
    /// end. It should need no lock that is held during a call: calls whose handlers log wait for
    /// it, for a second at most.
    using Callback = std::function<void(const LogRecord&)>;

    /// What `mode()` tells: the name of the function that made it; `callback` for `to`.
    enum class Mode : std::uint8_t { relay, inherit, discard, callback };

    /// Whole lines go to the parent's stderr, each after `prefix`. This is the default.
    ///
    /// Never blocks the parent. A worker that says more than the parent's stderr takes has to wait
    /// as it would without a parent in between. When that stderr takes nothing for a second, the
    /// worker goes on, 1 MiB of its lines is kept, and what is over that is dropped and counted.
    [[nodiscard]] static Output relay(std::string prefix = {}) {
        return relay(RelayOptions{.prefix = std::move(prefix)});
    }

    /// The same, with all that can be said about how the lines look.
    [[nodiscard]] static Output relay(RelayOptions options) {
        return Output{Mode::relay, std::move(options), nullptr};
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

    /// What `relay` was given; the defaults for the others.
    [[nodiscard]] const RelayOptions& relay_options() const noexcept { return relay_; }

    /// The prefix among them.
    [[nodiscard]] const std::string& prefix() const noexcept { return relay_.prefix; }

    /// What `to` was given; empty for the others.
    [[nodiscard]] const Callback& callback() const noexcept { return callback_; }

private:
    Output(Mode mode, RelayOptions options, Callback callback)
        : mode_(mode), relay_(std::move(options)), callback_(std::move(callback)) {}

    Mode mode_ = Mode::relay;
    RelayOptions relay_{};
    Callback callback_{};
};

/// What becomes of the processes that a worker has started, and of those that these start, when the
/// worker ends. Whichever way it ends (asked to, killed, by `exit` or `abort`, by an uncaught
/// exception, by a signal, from outside), they are ended with it.
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
///
/// To debug a worker, set `TETHER_DEBUG=1` in the parent's environment: no time given here, or with
/// a call, ends anything then (docs/debugging.md).
struct WorkerOptions {
    /// What logs, errors and the list of processes call this worker; at most 256 bytes. Empty: the
    /// file name of the program. The worker's main thread has the first 15 bytes as its name, as
    /// `top` shows it, and the handlers' threads have that, too; docs/debugging.md says what `ps`
    /// shows.
    std::string name{};

    /// The program to start. Empty: the running executable, the very file that runs now even when
    /// it was replaced on disk. With a slash: a path, relative to the parent's working directory;
    /// `beside_executable("lint-worker")` gives the path of a program in the folder of the running
    /// executable. Without a slash: looked up in the absolute folders of the parent's `PATH`.
    /// Looked at anew at each start, which fails with `errc::start_failed` and the whole path where
    /// there is no such program. A program in between (a shell, `env`, `sudo`) must pass on the
    /// descriptors from 3 on, and should pass on the environment.
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

    /// For calls where neither `CallOptions` nor the request type says one. Long, because it is
    /// only there so that nothing waits for ever.
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

    /// A file for a trace: when this worker was started, called and ended, and what took how long
    /// in both processes, for ui.perfetto.dev (docs/tracing.md). Empty: the file that the variable
    /// `TETHER_TRACE` names, if it is set. Several workers, and several programs, may share a file;
    /// what is in it already stays. One that cannot be written to is reported on stderr, and
    /// nothing is traced. The worker finds the path in its own `TETHER_TRACE`, unless `environment`
    /// says something else of that. For a `Worker`; a `LoopbackWorker` is not traced.
    std::string trace{};

    /// Handlers that run at the same time, from 1 to 1024. With 1, all run on the worker's main
    /// thread; with more, on that many threads, the main one among them, and the handler must be
    /// safe to use from them.
    unsigned concurrency = 1;

    /// Calls that an `AsyncHandler` works on at the same time, on the threads of `concurrency`; at
    /// most 4096. Further ones wait in the worker. 0: 1024. A handler that blocks works on one call
    /// with each thread, whatever this is.
    unsigned calls_in_work = 0;

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

/// What calls have in common that should go to the same worker of a `WorkerPool`, since it keeps
/// something for them: the name of a file, of a project. Made from a text, of which it keeps a
/// hash; two texts with the same hash count as one. Made from an empty text, or from nothing, it
/// says that any worker will do.
class Affinity {
public:
    /// Any worker.
    constexpr Affinity() noexcept = default;
    /// That of this text, which need not live on.
    constexpr Affinity(std::string_view key) noexcept  // NOLINT(google-explicit-constructor)
        : hash_(key.empty() ? 0 : hash_of(key)) {}
    /// The same.
    constexpr Affinity(const char* key) noexcept  // NOLINT(google-explicit-constructor)
        : Affinity(std::string_view{key}) {}
    /// The same.
    Affinity(const std::string& key) noexcept  // NOLINT(google-explicit-constructor)
        : Affinity(std::string_view{key}) {}

    /// 0: any worker.
    [[nodiscard]] constexpr std::uint64_t hash() const noexcept { return hash_; }

private:
    static constexpr std::uint64_t hash_of(std::string_view key) noexcept {  // FNV-1a
        std::uint64_t hash = 14695981039346656037U;
        for (const char c : key) {
            hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
        }
        return hash == 0 ? 1 : hash;
    }

    std::uint64_t hash_ = 0;
};

namespace detail {

// The calls of such a request are more than a request and an answer.
template <class R>
inline constexpr bool has_live_calls = requires {
    typename R::Progress;
}
|| requires { typename R::Item; }
|| requires { typename R::Upload; };

// Stands for a callback that a request without Progress has no use for.
struct NoProgress {};

template <class R>
struct SelectOnProgress {
    using type = NoProgress;
};
template <class R>
requires requires { typename R::Progress; }
struct SelectOnProgress<R> {
    using type = std::function<void(const typename R::Progress&)>;
};

}  // namespace detail

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

    /// In a `WorkerPool`: calls with the same one go to the same worker, while that has time for
    /// them. Without effect elsewhere.
    Affinity affinity{};

    /// In a `WorkerPool`: of calls that wait for a worker, those of higher priority go first; see
    /// `PoolOptions::priority_step`. Without effect elsewhere.
    int priority = 0;
};

/// The same for a request that has a `Progress`, an `Item` or an `Upload`.
template <class Request>
requires(detail::has_live_calls<Request>) struct CallOptions<Request> {
    /// As above. Of a stream: until its response. So a stream that may take longer than
    /// `WorkerOptions::call_timeout` needs another one, such as `no_timeout`.
    std::optional<Duration> timeout{};

    /// As above.
    std::optional<Duration> run_timeout{};

    /// As above.
    std::stop_token stop_token{};

    /// As above.
    Affinity affinity{};

    /// As above.
    int priority = 0;

    /// Where the request has a `Progress`: called with what its handler reports, in order, each
    /// before the answer, and never after the call has ended. Of those that come while one is
    /// handled, only the newest counts. `call` calls it on the thread that waits; `async_call` on
    /// the executor of its completion, never at once with that; a stream on each thread that is
    /// inside one of its blocking members (so on two at once, where one reads and one writes), or
    /// on the executor of its pending operation.
    ///
    /// What it throws ends `call`, whose handler is told to stop. A blocking member of a stream
    /// throws it, and the stream goes on. On an executor it leaves the executor's `run()`, and the
    /// call goes on; on Tether's background thread it ends the program.
    typename detail::SelectOnProgress<Request>::type on_progress{};

    /// Each progress makes `timeout` begin anew, for a request whose time cannot be told. The
    /// handler's `deadline()` is that of `total_timeout` then.
    bool progress_extends = false;

    /// With `progress_extends`, the most that the call may take, however far it comes.
    std::optional<Duration> total_timeout{};

    /// Of a stream: the longest wait for its next item, counted while a thread or `async_next`
    /// waits for it. When it is over the stream ends with `errc::timeout`.
    std::optional<Duration> item_timeout{};
};

TETHER_NAMESPACE_END
