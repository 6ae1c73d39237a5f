// Tether: everything but coroutines as handlers and pools, which have headers of their own.
#pragma once

#include <tether/any_worker.hpp>
#include <tether/beside_executable.hpp>
#include <tether/bytes.hpp>
#include <tether/codec.hpp>
#include <tether/config.hpp>
#include <tether/direct_codec.hpp>
#include <tether/duration.hpp>
#include <tether/errc.hpp>
#include <tether/error.hpp>
#include <tether/exit_status.hpp>
#include <tether/handler.hpp>
#include <tether/limits.hpp>
#include <tether/logging.hpp>
#include <tether/loopback_worker.hpp>
#include <tether/options.hpp>
#include <tether/protocol.hpp>
#include <tether/request.hpp>
#include <tether/serve.hpp>
#include <tether/version.hpp>
#include <tether/worker.hpp>
#include <tether/worker_state.hpp>
