// Tether: the lines that make a program a worker.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/protocol/handler_box.hpp>
#include <tether/detail/worker/serve_as_worker.hpp>
#include <tether/handler.hpp>

#include <array>
#include <concepts>
#include <optional>

TETHER_NAMESPACE_BEGIN

/// Turns this process into a worker if it was started as one; the first line of `main`:
///
///     int main(int argc, char** argv) {
///         if (auto exit_code = tether::serve_if_worker<Linter>(argc, argv)) return *exit_code;
///         // the program itself
///     }
///
/// Otherwise it returns nothing at once, for the price of one `getenv` and one system call. In a
/// worker it constructs
/// the handler whose protocol the parent asked for, serves on this thread until it is stopped or
/// the parent is gone, destroys the handler, and returns the exit code for `main` to return: 0, or
/// 1 when it could not serve, which stderr or the parent's error explains. What stands before this
/// line in `main` runs in every worker as well, and so do the constructors of globals.
///
/// `Handlers` are one or more handlers, each of another protocol; only one of them is constructed.
///
/// **What it does to the process** that is a worker, and to no other:
/// - names its main thread after the worker, and under `TETHER_DEBUG=wait` waits for a debugger;
/// - makes stdout line-buffered;
/// - installs handlers for SIGTERM (an orderly end) and SIGPIPE (nothing), which, unlike ignored
///   signals, programs that it starts do not inherit;
/// - starts one small thread that watches the parent;
/// - becomes a child subreaper (Linux), and at the end kills what the handler started and left
///   running (see `Descendants`). Orphans of what the handler started become its children, and stay
///   in the system's list until then, or until the handler waits for any child;
/// - sets `WorkerOptions::limits`;
/// - takes the environment variable `TETHER_WORKER` away, so that a handler may have workers of its
///   own.
///
/// **Programs in between** (a shell, `env`, `sudo`, Python's `subprocess`) must pass on the
/// descriptors from 3 on, and should pass on the environment. A process that was to be a worker and
/// lost its control channel on the way becomes no host by mistake: this says on stderr what is
/// missing and how to pass it on, and returns 1. A `Worker` there throws `errc::hook_missing`.
///
/// The arguments are not looked at; they are the program's own, as `WorkerOptions::arguments` set
/// them. Throws nothing that comes from a handler: a constructor that throws is reported to the
/// parent as `errc::start_failed`. Throws `std::system_error` where the system has neither a thread
/// nor descriptors for a worker. Call it once, before other threads are started.
template <class... Handlers>
[[nodiscard]] std::optional<int> serve_if_worker([[maybe_unused]] int argc,
                                                 [[maybe_unused]] char** argv) {
    static_assert(sizeof...(Handlers) != 0, "name at least one handler");
    static_assert((detail::check_handler<Handlers>() && ...));
    const std::array types{detail::handler_type<Handlers>()...};
    return detail::serve_as_worker(types);
}

/// The same with handlers that are given what they need: each function makes one and returns a
/// `std::unique_ptr` to it. Only that of the wanted protocol is called, once, on this thread. A
/// null pointer, and what it throws, is reported to the parent as `errc::start_failed`.
///
///     auto make = [&] { return std::make_unique<Linter>(configuration); };
///     if (auto exit_code = tether::serve_if_worker(argc, argv, make)) return *exit_code;
template <class... Factories>
requires(sizeof...(Factories) != 0 && (std::invocable<Factories&> && ...))
    [[nodiscard]] std::optional<int> serve_if_worker([[maybe_unused]] int argc,
                                                     [[maybe_unused]] char** argv,
                                                     Factories... factories) {
    const std::array types{detail::handler_type_by(factories)...};
    return detail::serve_as_worker(types);
}

/// The whole `main` of a program that is nothing but a worker:
///
///     int main() { return tether::serve<Linter>(); }
///
/// `Handlers` and what happens in a worker are as with `serve_if_worker`. Run by hand it says on
/// stderr what it is and what it serves, and returns 2.
template <class... Handlers>
[[nodiscard]] int serve() {
    if (const auto exit_code = serve_if_worker<Handlers...>(0, nullptr)) return *exit_code;
    const std::array types{detail::handler_type<Handlers>()...};
    return detail::refuse_to_be_a_host(types);
}

TETHER_NAMESPACE_END
