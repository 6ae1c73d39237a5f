// Why: the one place that chooses the platform. Each offers the same names: Descriptor, PollItem,
// wait_ready, Endpoint, ChildProcess, spawn, StderrSink, ... A port adds a folder beside posix/.
#pragma once

#include <tether/config.hpp>

#if defined(_WIN32)
#error "Tether does not run on Windows yet; a port belongs into tether/detail/os/windows/"
#else
#include <tether/detail/os/posix/cores.hpp>
#include <tether/detail/os/posix/debugger.hpp>
#include <tether/detail/os/posix/descendants.hpp>
#include <tether/detail/os/posix/descriptor.hpp>
#include <tether/detail/os/posix/executable.hpp>
#include <tether/detail/os/posix/features.hpp>
#include <tether/detail/os/posix/memory_events.hpp>
#include <tether/detail/os/posix/pidfd.hpp>
#include <tether/detail/os/posix/poll.hpp>
#include <tether/detail/os/posix/process.hpp>
#include <tether/detail/os/posix/process_hooks.hpp>
#include <tether/detail/os/posix/process_tree.hpp>
#include <tether/detail/os/posix/reactor_descriptor.hpp>
#include <tether/detail/os/posix/self.hpp>
#include <tether/detail/os/posix/shared_memory.hpp>
#include <tether/detail/os/posix/signals.hpp>
#include <tether/detail/os/posix/socket.hpp>
#include <tether/detail/os/posix/spawn.hpp>
#include <tether/detail/os/posix/stderr_sink.hpp>
#include <tether/detail/os/posix/surroundings.hpp>
#include <tether/detail/os/posix/trace_file.hpp>
#include <tether/detail/os/posix/worker_setup.hpp>
#endif
