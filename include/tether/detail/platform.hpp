// Why: the one place that chooses the platform. Each offers the same names: Descriptor, PollItem,
// wait_ready, Endpoint, ChildProcess, spawn, StderrSink, ... A port adds a folder beside posix/.
#pragma once

#include <tether/config.hpp>

#if defined(_WIN32)
#error "Tether does not run on Windows yet; a port belongs into tether/detail/windows/"
#else
#include <tether/detail/posix/descendants.hpp>
#include <tether/detail/posix/descriptor.hpp>
#include <tether/detail/posix/executable.hpp>
#include <tether/detail/posix/features.hpp>
#include <tether/detail/posix/memory_events.hpp>
#include <tether/detail/posix/pidfd.hpp>
#include <tether/detail/posix/poll.hpp>
#include <tether/detail/posix/process.hpp>
#include <tether/detail/posix/process_hooks.hpp>
#include <tether/detail/posix/process_tree.hpp>
#include <tether/detail/posix/reactor_descriptor.hpp>
#include <tether/detail/posix/shared_memory.hpp>
#include <tether/detail/posix/signals.hpp>
#include <tether/detail/posix/socket.hpp>
#include <tether/detail/posix/spawn.hpp>
#include <tether/detail/posix/stderr_sink.hpp>
#include <tether/detail/posix/surroundings.hpp>
#include <tether/detail/posix/watches.hpp>
#include <tether/detail/posix/worker_setup.hpp>
#endif
