// Tether: the causes that an error of a call can have.
#pragma once

#include <tether/config.hpp>

TETHER_NAMESPACE_BEGIN

/// The causes that a caller can act on. These are *conditions*: compare the code of an error with
/// them, `error.code() == tether::errc::timeout`.
///
/// An error has exactly one cause. Beside it, an error also equals `outcome_unknown` when the
/// request had left for the worker, was not declared `idempotent`, and no answer came: the handler
/// may have run, wholly, partly, or not at all. Where a portable `std::errc` fits, the code equals
/// that too.
enum class errc {
    timeout = 1,        ///< no answer before the call's deadline; equals `std::errc::timed_out`
    cancelled,          ///< the caller cancelled it; equals `std::errc::operation_canceled`
    start_failed,       ///< the worker could not be started; see `CallError::system_code()`
    start_timeout,      ///< started, but not ready within `WorkerOptions::start_timeout`
    protocol_mismatch,  ///< the worker's program speaks another protocol or version of it
    hook_missing,       ///< the program does not call `serve_if_worker` first in `main`
    worker_exited,      ///< the worker ended by itself; see `CallError::report()`
    worker_killed,      ///< a signal ended the worker; see `CallError::report()`
    worker_stuck,       ///< replaced: a handler ignored its deadline, or it hung; see `StuckPolicy`
    outcome_unknown,    ///< no cause of its own: the request may have taken effect
    restart_budget_spent,  ///< it crashed too often, see `RestartPolicy`
    framing,               ///< the connection ended early, or carried what is no message
    message_too_large,     ///< over `max_message_bytes`; equals `std::errc::message_size`
    codec,                 ///< a value could not be encoded or decoded
    handler,               ///< the handler threw; the error is a `RemoteError`
    queue_full,            ///< a pool's queue limit was reached
    would_deadlock,        ///< a blocking call on the thread that would have to answer it
    stopped,               ///< `stop()`, `restart()` or the destructor ended the worker
    forked,                ///< used in a forked copy of the process that owns the worker
};

TETHER_NAMESPACE_END
