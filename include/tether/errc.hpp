// Tether: the causes that an error of a call can have.
#pragma once

#include <tether/config.hpp>

TETHER_NAMESPACE_BEGIN

/// The causes that a caller can act on: `CallError::cause()` returns one. They are *conditions*
/// too, so that the code of an error compares with them, `error.code() == tether::errc::timeout`;
/// `<tether/error.hpp>` has what that needs.
///
/// An error has exactly one cause. Beside it, its outcome may be unknown
/// (`CallError::outcome_unknown()`; its code equals `outcome_unknown` too): the request had left
/// for the worker, was not declared `idempotent`, and no answer came. Then the handler may have
/// run, wholly, partly, or not at all. When a worker ends, it is known which requests it had begun;
/// the others never equal this. Where a portable `std::errc` fits, the code equals that too.
///
/// The numbers of the causes are part of the wire protocol.
enum class errc {
    /// No answer before the call's deadline, or its handler had its `CallOptions::run_timeout`. The
    /// worker goes on, unless `StuckPolicy` has it replaced. Equals `std::errc::timed_out`.
    timeout = 1,

    /// The caller cancelled it. Equals `std::errc::operation_canceled`.
    cancelled,

    /// The worker could not be started, or ended before it was ready: a step was refused (see
    /// `CallError::system_code()`), its handler's constructor threw, or it crashed (see
    /// `CallError::report()`). The next call tries again, as `RestartPolicy` allows.
    start_failed,

    /// It was started, but not ready within `WorkerOptions::start_timeout`, and was killed. The
    /// next call tries again. Equals `std::errc::timed_out`.
    start_timeout,

    /// The worker's program serves another protocol, or one of another version, codec or list of
    /// requests; the text says which. Build both programs from one header.
    protocol_mismatch,

    /// The worker's program does not call `serve_if_worker` first in `main`. In the worker itself,
    /// where it uses a `Worker` without having called that: it must not start itself for ever.
    hook_missing,

    /// The worker ended by itself, or was ended after it ran out of memory; see
    /// `CallError::report()`. The next call starts another.
    worker_exited,

    /// A signal ended the worker, or `kill()` did; see `CallError::report()`. The next call starts
    /// another.
    worker_killed,

    /// It was replaced: a handler ignored its deadline, or it hung as a whole; see `StuckPolicy`.
    /// The next call starts another.
    worker_stuck,

    /// Not a cause, see above: may the caller do it again? A `switch` over causes needs no case for
    /// it.
    outcome_unknown,

    /// It crashed too often, see `RestartPolicy`; the text repeats the last time. Calls work again
    /// when the window has moved on, or after `restart()`.
    restart_budget_spent,

    /// The connection ended before the worker did, or carried what is no message. The worker is
    /// replaced. Equals `std::errc::protocol_error`.
    framing,

    /// Over `max_message_bytes` or over 4096 blobs. A request was not sent; a response was not
    /// sent either, but its handler has run. Also a response for which the parent had no memory: it
    /// costs the worker. Equals `std::errc::message_size`.
    message_too_large,

    /// A value could not be encoded or decoded; the text says which. Only that call fails. A
    /// request was not handled then; of a response the handler has run.
    codec,

    /// The handler threw; the error is a `RemoteError`.
    handler,

    /// As many calls as `PoolOptions::queue_limit` allows wait for a worker of the pool. Nothing
    /// was
    /// sent. Equals `std::errc::resource_unavailable_try_again`.
    queue_full,

    /// A blocking call on the thread that would have to answer it, or by the last free handler of a
    /// `LoopbackWorker` to that worker itself; use `async_call` there. Nothing was sent. Equals
    /// `std::errc::resource_deadlock_would_occur`.
    would_deadlock,

    /// `stop()`, `restart()`, the destructor or the program's exit ended the worker. Or the program
    /// closed the descriptors of its workers, as a daemon does; the text says so, and only a new
    /// `Worker` helps. A `LoopbackWorker` goes on with its next call.
    stopped,

    /// Used in a forked copy of the process that owns the worker. Nothing was sent. Make a new
    /// `Worker` there.
    forked,
};

TETHER_NAMESPACE_END
